"""On the PYTHONPATH of one side: its ROS clock is off by what the file RECONVLA_TEST_CLOCK_SHIFT says [s]; no clock is set."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

FILE = os.environ.get("RECONVLA_TEST_CLOCK_SHIFT", "")
_PERIOD = 0.2  # [s] how often it is read


class _Shift:
    """What the file says."""

    def __init__(self) -> None:
        self._read, self._ns = -1.0, 0

    def ns(self) -> int:
        if (now := time.monotonic()) - self._read > _PERIOD:
            self._read = now
            with contextlib.suppress(OSError, ValueError):  # it is being written
                self._ns = round(float(Path(FILE).read_text()) * 1e9)
        return self._ns


class _Shifter(MetaPathFinder, Loader):
    """Lets rclpy.clock load as ever, then shifts what its clocks say."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "rclpy.clock":
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None and spec.loader is not None
        self._loader = spec.loader
        spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        from rclpy.duration import Duration

        now, shift = module.Clock.now, _Shift()
        module.Clock.now = lambda clock: now(clock) + Duration(nanoseconds=shift.ns())


if FILE:
    sys.meta_path.insert(0, _Shifter())
