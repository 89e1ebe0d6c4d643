"""What a person should look at while the arm runs: warm motors, an odd supply, large torques. Warnings only, no faults."""

from __future__ import annotations

from reconvla_ros.arm.protocol import ArmReport
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.types import ArmState

# Largest torque of a joint [N m]: the ranges of the MIT frame (S-V1.8-2 and before execute 32 on joints 1 to 3). The
# sheet of the arm gives none, so this is what the protocol can ask for, not what a joint may bear.
LARGEST_EFFORT = (32.0,) * 3 + (8.0,) * 3


def warnings(report: ArmReport, state: ArmState, config: DriverConfig) -> tuple[str, ...]:
    """Each in words with its bound; an arm that does not say a value is not warned about it."""
    found = []
    temperatures = (*report.motor_temperatures, *report.driver_temperatures)
    if max(temperatures) >= config.temperature_warm:
        place = temperatures.index(max(temperatures))
        part = "motor" if place < 6 else "driver"
        found.append(
            f"{part} of joint{place % 6 + 1} has {max(temperatures):.0f} C (warm from {config.temperature_warm:g}, "
            f"held from {config.temperature_hot:g})"
        )
    if (
        any(report.voltages)
        and not config.voltage_low <= min(report.voltages) <= max(report.voltages) <= config.voltage_high
    ):
        found.append(
            f"supply {min(report.voltages):.1f}..{max(report.voltages):.1f} V, expected "
            f"{config.voltage_low:g}..{config.voltage_high:g}"
        )
    for joint, (effort, most) in enumerate(zip(state.effort.tolist(), LARGEST_EFFORT, strict=True)):
        if abs(effort) > config.effort_share * most:
            found.append(f"joint{joint + 1} bears {effort:.1f} N m, more than {config.effort_share:g} of {most:g}")
    if config.command_mode == "end_pose":
        found.append(END_POSE)
    return tuple(found)


def values(report: ArmReport, state: ArmState) -> dict[str, object]:
    """Currents [A], torques [N m], temperatures [C], voltages [V] and error bits of joint1..joint6, for diagnostics."""

    def row(numbers: tuple[float, ...], form: str) -> str:
        return " ".join(form % number for number in numbers)

    return {
        "motor_current_A": row(report.currents, "%.2f"),
        "motor_effort_Nm": row(tuple(state.effort.tolist()), "%.2f"),
        "motor_temperature_C": row(report.motor_temperatures, "%.0f"),
        "driver_temperature_C": row(report.driver_temperatures, "%.0f"),
        "motor_voltage_V": row(report.voltages, "%.1f"),
        "motor_bits": " ".join(f"{bits:#04x}" for bits in report.motor_bits),
        "bus_losses": report.losses,
        "bus": report.link or "ok",
    }


END_POSE = (
    "command_mode end_pose: the arm solves the pose itself, its joint limits do not hold and it may take another branch"
)
