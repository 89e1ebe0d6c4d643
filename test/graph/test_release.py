"""`arm/release` with `back_off` through the real driver, seen on the bus."""

from __future__ import annotations

import numpy as np
import pytest
from running import Graph

pytestmark = [pytest.mark.graph, pytest.mark.timeout(240)]


def test_a_person_is_freed_backwards_and_a_stop_ends_it(graph: Graph) -> None:
    from reconvla_ros.srv import Release
    from std_srvs.srv import Trigger

    graph.start("simulator", "driver")
    graph.wait(lambda: graph.ear.joints()[1] > 0.5 and graph.ear.still(0.3), "the arm is ready", 60.0)
    end = graph.ear.targets()  # the path leads here from the rest pose
    answer = graph.client.call(Release, "arm/release", Release.Request(mode="back_off"))
    assert answer.success, answer.message
    assert "back along its last path" in answer.message and "0.1 m" in answer.message
    graph.wait(lambda: end[1] - graph.ear.joints()[1] > 0.02, "the arm goes back towards the rest pose", 10.0)
    assert graph.client.call(Trigger, "arm/stop", Trigger.Request()).success
    graph.wait(lambda: graph.ear.still(0.3), "the arm stands")
    held = graph.ear.targets()
    assert held[1] > end[1] / 2  # ended by the stop, far from the path's other end
    graph.wait(lambda: graph.monitor.arm is not None and graph.monitor.arm.stop_latched, "the stop is latched")
    assert graph.client.call(Trigger, "arm/clear_stop", Trigger.Request()).success
    assert graph.ear.still(0.5)
    assert np.array_equal(graph.ear.targets(), held)
