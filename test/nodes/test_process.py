"""What a node's process does to itself before it spins."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("reconvla_ros.msg", reason="needs the built workspace")

COUNT = """
import resource, sys
from reconvla_ros.nodes import process
if sys.argv[1] == "kept":
    assert process.keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def frame():
    buffers = [b"x" * 921_600 for _ in range(5)]
frame()
begin = faults()
for _ in range(20):
    frame()
print(faults() - begin)
"""


def page_faults(how: str) -> int:
    """Of twenty frames with five buffers each, 22 500 pages, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, how], capture_output=True, text=True, timeout=60, cwd="/", check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_buffers_of_images_are_used_again() -> None:
    """They went back to the system, and each frame cost thousands of page faults."""
    assert page_faults("kept") < 1000 < page_faults("as glibc does")
