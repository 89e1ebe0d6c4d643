from __future__ import annotations

from reconvla_ros.observation.silence import CameraSilence


def test_the_camera_that_is_silent_for_longest_is_named_with_bound_and_value() -> None:
    silence = CameraSilence(("base", "wrist"), 0.4, now=10.0)
    assert silence.why(10.375) == ""
    silence.heard("base", 10.3)
    assert silence.why(10.5) == "camera wrist silent: no image for 0.500 s, allowed 0.4"
    silence.heard("wrist", 10.5)
    assert silence.why(10.6) == ""
    assert "camera base silent: no image for 0.450 s" in silence.why(10.75)
