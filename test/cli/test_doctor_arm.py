"""`reconvla doctor --arm` against a simulated arm."""

from __future__ import annotations

import can
import pytest
from simulated import free_address, simulated  # type: ignore[import-not-found]

from reconvla_ros.arm.bus import BusAddress, open_bus
from reconvla_ros.arm.preflight import Level
from reconvla_ros.cli import doctor_arm
from reconvla_ros.cli.main import main

VIRTUAL = BusAddress("virtual", "x")


def test_go_asks_only_and_leaves_the_arm_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, heard = free_address(), set()
    with simulated(address) as sim:
        receive = sim.firmware.receive

        def listen(can_id: int, data: bytes) -> None:
            heard.add(can_id)
            receive(can_id, data)

        monkeypatch.setattr(sim.firmware, "receive", listen)
        assert main(["doctor", "--arm", "--sim-port", str(address.port)]) == 0
        assert not any(m.enabled for m in sim.firmware.motors) and sim.firmware.word.ctrl_mode == 0
    shown = capsys.readouterr().out
    assert "ok    joint_limits" in shown and "GO" in shown and "NO-GO" not in shown
    assert heard <= {0x472, 0x477, 0x4AF}


def test_no_go_names_the_checks_and_their_remedies(capsys: pytest.CaptureFixture[str]) -> None:
    address = free_address()
    with simulated(address) as sim:
        sim.firmware.flash.gripper_range = 100
        sim.firmware.word.ctrl_mode = 2
        assert main(["doctor", "--arm", "--sim-port", str(address.port)]) == 1
    shown = capsys.readouterr().out
    assert "NO-GO: mode, gripper" in shown and "remedy: leave teaching" in shown and "gripper_range: 0.1" in shown


def test_a_missing_interface_is_no_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--arm", "can_port:=can9"]) == 1
    assert "can9 does not exist" in capsys.readouterr().out


def test_a_wrong_word_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--arm", "can_prt:=can0"]) == 2
    assert "did you mean 'can_port'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ({0x2A1: 60, 0x155: 60}, "command frames of another host"),
        ({0x151: 60, 0x155: 60}, "leader mode"),
        ({0x700: 1}, "no status 0x2A1"),
    ],
)
def test_who_speaks_on_the_bus(heard: dict[int, int], words: str) -> None:
    check = doctor_arm.judge_sender(heard)
    assert check.level is Level.FAIL and words in check.finding and check.remedy


@pytest.mark.parametrize(("heard", "words"), [({}, "nothing is heard"), ({0x2B1: 60}, "shifted")])
def test_what_is_wrong_with_the_bus(heard: dict[int, int], words: str) -> None:
    check = doctor_arm.judge_bus(VIRTUAL, heard)
    assert check.level is Level.FAIL and words in check.finding


def test_a_leader_on_the_bus_gets_no_frame(capsys: pytest.CaptureFixture[str]) -> None:
    address = free_address()
    bus, ear = open_bus(address), open_bus(address)
    task = bus.send_periodic(can.Message(arbitration_id=0x155, data=bytes(8), is_extended_id=False), 0.02)
    try:
        assert main(["doctor", "--arm", "--sim-port", str(address.port)]) == 1
        task.stop()
        seen = set()
        while (message := ear.recv(0.1)) is not None:
            seen.add(message.arbitration_id)
        assert seen == {0x155}
    finally:
        task.stop()
        bus.shutdown()
        ear.shutdown()
    assert "leader mode" in capsys.readouterr().out
