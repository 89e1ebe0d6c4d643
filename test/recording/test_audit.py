"""Every fault of a stream is found, in time, and nothing is found in sound ones."""

from __future__ import annotations

from reconvla_ros.recording.audit import AuditLimits, Auditor

BASE, WRIST, JOINTS = "base/color", "wrist/color", "joint_states"
MS = 1_000_000
T0 = 1_700_000_000_000 * MS


def auditor() -> Auditor:
    audit = Auditor((BASE, WRIST), (JOINTS,), (BASE, WRIST), begin=0)
    for camera in (BASE, WRIST):
        audit.expect(camera, 30.0)
    return audit


def play(audit: Auditor, begin: int, end: int, *, skip: tuple[str, ...] = (), base_period: float = 1000 / 30,
         shift: float = 0.0, age: float = 3.0, finite: bool = True) -> None:  # fmt: skip
    """Sound streams from `begin` to `end` [ms]; shift and age in [ms]."""
    due = [(begin + k * base_period, BASE) for k in range(round((end - begin) / base_period))]
    due += [(begin + k * 1000 / 30, WRIST) for k in range(round((end - begin) * 30 / 1000))]
    due += [(begin + k * 5.0, JOINTS) for k in range(int((end - begin) / 5))]
    for at, topic in sorted(due):
        if topic not in skip:
            stamp = T0 + round((at + (shift if topic == WRIST else 0.0)) * MS)
            received = stamp + round((age if topic == JOINTS else 3.0) * MS)
            audit.note(topic, stamp, received, round(at * MS), finite or topic != JOINTS)


def codes(audit: Auditor, at: float) -> set[str]:
    return {f"{finding.code} {finding.topic}".strip() for finding in audit.findings(round(at * MS))}


def test_sound_streams_raise_nothing() -> None:
    audit = auditor()
    play(audit, 0, 3000)
    assert codes(audit, 3001) == set()
    quality = audit.quality()
    assert quality["flags"] == []
    assert quality["topics"][BASE]["rate_hz"] == 30.0
    assert quality["topics"][JOINTS]["expected_hz"] == 200.0


def test_a_camera_that_stops_is_told_within_half_a_second() -> None:
    audit = auditor()
    play(audit, 0, 1000)
    play(audit, 1000, 1500, skip=(BASE,))
    assert codes(audit, 1200) == set()
    assert codes(audit, 1300) == {f"silent {BASE}"}  # the look comes every 0.1 s: told by 0.4 s
    assert "silent" in audit.quality()["flags"]


def test_a_stream_that_never_comes_is_missing() -> None:
    audit = auditor()
    play(audit, 0, 400, skip=(WRIST,))
    assert codes(audit, 400) == {f"missing {WRIST}"}
    assert audit.quality()["flags"] == ["missing"]


def test_one_lost_frame_is_a_gap() -> None:
    audit = auditor()
    play(audit, 0, 1000)
    play(audit, 1034, 1500)  # one picture of each camera, 34 ms of joints
    assert codes(audit, 1100) >= {f"gap {BASE}", f"gap {WRIST}", f"gap {JOINTS}"}
    figures = audit.quality()["topics"][BASE]
    assert (figures["gaps"], figures["missed"]) == (1, 1)
    assert audit.gaps()[JOINTS] == 1
    assert codes(audit, 2600) == {f"silent {t}" for t in (BASE, WRIST, JOINTS)}  # once told, it fades


def test_a_camera_slower_than_its_parameter_says_is_slow_from_the_start() -> None:
    audit = auditor()
    play(audit, 0, 500, base_period=50.0)
    assert codes(audit, 500) == {f"slow {BASE}"}
    text = next(f.detail for f in audit.findings(500 * MS))
    assert text == "20.0 Hz, expected 30.0"


def test_skew_between_the_cameras() -> None:
    """Cameras 12 ms apart are fine; a camera whose stamps are 60 ms late has partners 6.7 ms off, and is not seen here:
    the capture stamps are all the audit has. A camera that delivers late in stamps and slow in rate is."""
    audit = Auditor((BASE, WRIST), (), (BASE, WRIST), AuditLimits(skew=0.01))
    for k in range(20):
        audit.note(BASE, T0 + k * 33 * MS, T0 + k * 33 * MS, k * 33 * MS)
        audit.note(WRIST, T0 + (k * 33 + 12) * MS, T0 + (k * 33 + 12) * MS, (k * 33 + 12) * MS)
    found = [finding for finding in audit.findings(640 * MS) if finding.code == "skew"]
    assert [finding.detail for finding in found] == ["cameras 0.012 s apart, allowed 0.01"]
    assert audit.quality()["skew_worst_s"] == 0.012


def test_stale_joint_states_stamps_that_go_back_and_figures_that_are_none() -> None:
    audit = auditor()
    play(audit, 0, 500)
    play(audit, 500, 600, age=150.0, finite=False)
    assert codes(audit, 600) == {f"stale {JOINTS}", f"nan {JOINTS}"}
    audit.note(BASE, T0, T0 + 3 * MS, 610 * MS)
    assert f"backwards {BASE}" in codes(audit, 620)
    assert audit.quality()["flags"] == ["stale", "backwards", "nan"]
    assert audit.quality()["topics"][JOINTS]["worst_age_s"] == 0.15


def test_losses_are_told_once_each() -> None:
    audit = auditor()
    play(audit, 0, 300)
    audit.lost({BASE: 2, "unknown": 5}, 300 * MS)
    assert codes(audit, 301) == {f"lost {BASE}"}
    audit.lost({BASE: 2}, 2000 * MS)
    assert f"lost {BASE}" not in codes(audit, 2001)
