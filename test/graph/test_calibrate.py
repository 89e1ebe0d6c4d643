"""`reconvla calibrate --auto` through the running graph: the arm visits views, both cameras are found where they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from running import Graph

from reconvla_ros.calibration.geometry import apart
from reconvla_ros.calibration.simulated import truth
from reconvla_ros.cli import calibrate
from reconvla_ros.sim.scenes import make
from reconvla_ros.sim.world import World

pytestmark = [pytest.mark.graph, pytest.mark.timeout(240)]
SEED = 2  # both cameras sit elsewhere than tf says


def test_the_arm_calibrates_its_cameras(graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph.start("simulator", "driver", "camera_base", "camera_wrist", scene="calibration", seed=str(SEED))
    graph.wait(lambda: graph.ear.joints()[1] > 0.5 and graph.ear.still(0.3), "the arm is ready", 60.0)
    output, found = tmp_path / "calibration.yaml", tmp_path / "found.json"
    assert calibrate.main(["--auto", "8", "--yes", "--output", str(output), "--json", str(found)]) == 0
    model = World(make("calibration", SEED)).model
    cameras = {c["camera"]: c for c in json.loads(found.read_text())["cameras"]}
    # One place of the board says less of the camera at the base than of the one at the wrist.
    for camera, most_mm, most_deg in (("camera_wrist", 2.0, 0.3), ("camera_base", 6.0, 0.6)):
        far, turn = apart(np.array(cameras[camera]["transform"]), truth(model, camera))
        assert far * 1e3 < most_mm and np.degrees(turn) < most_deg, (camera, far, turn)
    assert cameras["camera_base"]["serial"] == "simulated"
    capsys.readouterr()
    assert calibrate.main(["--check", "--output", str(output)]) == 0, capsys.readouterr().out
