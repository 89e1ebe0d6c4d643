"""Where the gripper goes to take a thing and to put it down: ways of the TCP for each kind of goal. Pure geometry, base_link.

The tool leans outwards: joint 5 allows a vertical one only close to the table (reach in a spike). A lean grows with the height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, pi, radians, sin

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.sim.goals import Goal, Thing, Things
from reconvla_ros.sim.things import CUP, KINDS, SMALL_BOWL
from reconvla_ros.types import Pose

Float = NDArray[np.float64]

OPEN = 0.068  # [m] opening before a thing; a policy knows only open and closed
ABOVE, LIFT = 0.095, 0.118  # [m] heights of the TCP
OVER, RELEASE = 0.125, 0.092  # [m] above the bowl; where its load is let go
GRASP_LEAN, WIDE_LEAN, CARRY_LEAN = radians(12.0), radians(8.0), radians(28.0)
SLOTS = ((0.0, 0.0), (0.026, 0.0), (-0.013, 0.0225), (-0.013, -0.0225))  # [m] in the bowl; the first when it is alone
RIM_DEPTH = 0.016  # [m] of the TCP below the rim of a bowl that is pinched
CUP_LEAN, CUP_BACK = radians(42.0), 0.020  # of the tool at a lying cup; [m] from its middle towards its mouth
CUP_SPOT, CUP_HEADING = (0.40, 0.0), radians(31.0)  # where a cup is set down, and how far off the radial line
INSIDE = 0.11  # [rad] from the joint limits, a little more than the driver's margin
CUP_ROLLS = (pi / 3, 2 * pi / 3, pi)  # the turn of a cup about the tool, in parts so that its sense is certain


@dataclass(frozen=True, eq=False)
class Way:
    """One stop: TCP there, then the gripper opening [m], then a pause [s]; speed [m/s]."""

    pose: Pose
    opening: float
    pause: float = 0.0
    speed: float = 0.09
    what: str = ""


def tool(place: Sequence[float] | Float, lean: float, heading: float, roll: float = 0.0) -> Pose:
    """The TCP at `place` with the tool leaning by `lean` towards `heading`, turned by `roll` about itself [rad].

    With roll 0 the fingers close horizontally, across the heading.
    """
    z = np.array([sin(lean) * cos(heading), sin(lean) * sin(heading), -cos(lean)])
    y = np.array([-sin(heading), cos(heading), 0.0])
    turn = Rotation.from_matrix(np.stack((np.cross(y, z), y, z), axis=1)) * Rotation.from_euler("z", roll)
    return Pose(np.asarray(place, dtype=np.float64), turn.as_quat())


def lean_at(height: float, lowest: float) -> float:
    """How far the tool leans at a height of the TCP [m]: `lowest` at the table, CARRY_LEAN from 0.11 m up."""
    share = min(max((height - 0.03) / 0.08, 0.0), 1.0)
    return lowest + share * (CARRY_LEAN - lowest)


def azimuth(place: Float) -> float:
    """Direction of a place seen from the arm [rad]."""
    return atan2(float(place[1]), float(place[0]))


def _wrapped(angle: float, period: float) -> float:
    """The angle in (-period / 2, period / 2]."""
    return (angle + period / 2) % period - period / 2


# --- a loose thing into the bowl ---------------------------------------------------------------------------------------
def take_thing(name: str, thing: Thing, offset: Float) -> list[Way]:
    """Above it, down, close. `offset` (3,) is the error of the hand [m], for demonstrations that differ."""
    kind, here = KINDS[name], thing.position + offset
    heading, long = azimuth(here), thing.rotation[:, 0]
    if kind.shape == "box" and abs(long[2]) > 0.7:
        long = thing.rotation[:, 1]
    lies = kind.symmetry > 0.0 and abs(long[2]) < 0.7
    roll = _wrapped(heading - atan2(long[1], long[0]), kind.symmetry) if lies else 0.0
    lowest = WIDE_LEAN if abs(roll) > 0.8 else GRASP_LEAN
    depth = max(0.016, min(float(here[2]) - 0.008, 0.026))
    ways = []
    for height, opening, pause, speed, what in (
        (ABOVE, OPEN, 0.1, 0.09, "above"),
        (depth, OPEN, 0.25, 0.07, "down"),
        (depth, 0.0, 0.7, 0.07, "close"),
    ):
        pose = tool((here[0], here[1], height), lean_at(height, lowest), heading, roll)
        ways.append(Way(pose, opening, pause, speed, what))
    return ways


def put_in_bowl(tcp: Pose, bowl: Thing, slot: tuple[float, float]) -> list[Way]:
    """Up, over the bowl, down a little, open, up; the fingers keep their turn about the tool."""
    begin = azimuth(tcp.position)
    roll = roll_of(tcp, begin)
    spot = bowl.position[:2] + np.array(slot)
    heading = azimuth(spot)
    lifted = tool((*tcp.position[:2], LIFT), CARRY_LEAN, begin, roll)
    over, low = (tool((*spot, h), CARRY_LEAN, heading, roll) for h in (OVER, RELEASE))
    return [
        Way(lifted, 0.0, 0.0, 0.09, "lift"),
        Way(over, 0.0, 0.1, 0.09, "over"),
        Way(low, 0.0, 0.1, 0.07, "lower"),
        Way(low, OPEN, 0.8, 0.07, "open"),
        Way(tool((*spot, OVER + 0.01), CARRY_LEAN, heading, roll), OPEN, 0.3, 0.09, "up"),
    ]


def roll_of(tcp: Pose, heading: float) -> float:
    """How far the tool is turned about itself, against `tool` with roll 0 [rad]."""
    z = Rotation.from_quat(tcp.quaternion).as_matrix()[:, 2]
    lean = atan2(float(np.hypot(z[0], z[1])), float(-z[2]))
    plain = Rotation.from_quat(tool((0.0, 0.0, 0.0), lean, heading).quaternion)
    left = (plain.inv() * Rotation.from_quat(tcp.quaternion)).as_matrix()
    return atan2(float(left[1, 0] - left[0, 1]), float(left[0, 0] + left[1, 1]))


# --- a bowl onto a bowl ------------------------------------------------------------------------------------------------
def _rim(centre: Float, height: float) -> tuple[Float, float]:
    """Where the TCP pinches the near wall of a small bowl whose foot is at `centre`, at this height of the foot; heading."""
    heading, depth = azimuth(centre), SMALL_BOWL.height - RIM_DEPTH
    radius = SMALL_BOWL.foot + (SMALL_BOWL.rim - SMALL_BOWL.foot) * depth / SMALL_BOWL.height
    out = np.array([cos(heading), sin(heading)])
    return np.array([*(centre[:2] - radius * out), height + depth]), heading


def take_bowl(thing: Thing, offset: Float) -> list[Way]:
    """Pinch the near wall, the tool along it; a vertical pinch would let the bowl swing."""
    place, heading = _rim(thing.position + offset * (1.0, 1.0, 0.0), 0.0)
    pinch = tool(place, SMALL_BOWL.lean, heading, pi / 2)
    axis = Rotation.from_quat(pinch.quaternion).as_matrix()[:, 2]
    back = Pose(place - 0.055 * axis, pinch.quaternion)
    return [
        Way(back, OPEN, 0.15, 0.09, "above"),
        Way(pinch, OPEN, 0.25, 0.06, "down"),
        Way(pinch, 0.0, 0.6, 0.06, "close"),
    ]


def put_on_bowl(tcp: Pose, thing: Thing, bottom: Thing) -> list[Way]:
    """Up, over the other bowl, down into it, open, back along the tool."""
    over, heading = _rim(bottom.position, 0.070)
    low, _ = _rim(bottom.position, 0.016)
    # What the pinch is off from where it should be stays so: the middle of the bowl decides.
    lean, begin = SMALL_BOWL.lean, azimuth(thing.position)
    lifted = tool(tcp.position + np.array([0.0, 0.0, 0.070]), lean, begin, pi / 2)
    down = tool(low, lean, heading, pi / 2)
    axis = Rotation.from_quat(down.quaternion).as_matrix()[:, 2]
    return [
        Way(lifted, 0.0, 0.0, 0.07, "lift"),
        Way(tool(over, lean, heading, pi / 2), 0.0, 0.3, 0.07, "over"),
        Way(down, 0.0, 0.3, 0.05, "lower"),
        Way(down, OPEN, 0.8, 0.05, "open"),
        Way(Pose(down.position - 0.06 * axis, down.quaternion), OPEN, 0.3, 0.07, "up"),
    ]


# --- a cup upright -----------------------------------------------------------------------------------------------------
def take_cup(thing: Thing, offset: Float, kinematics: Kinematics) -> list[Way]:
    """Across its side near the mouth, the tool leaning towards its foot."""
    axis = thing.rotation[:, 2]  # foot to mouth
    heading = atan2(-axis[1], -axis[0])
    place = thing.position + (CUP.height / 2 + CUP_BACK) * axis + offset * (1.0, 1.0, 0.0)
    place[2] = max(0.024, float(thing.position[2]))
    roll = _side(place, heading, kinematics)
    grasp = tool(place, CUP_LEAN, heading, roll)
    z = Rotation.from_quat(grasp.quaternion).as_matrix()[:, 2]
    back = Pose(place - 0.07 * z, grasp.quaternion)
    return [
        Way(back, OPEN, 0.15, 0.09, "above"),
        Way(grasp, OPEN, 0.25, 0.06, "down"),
        Way(grasp, 0.0, 0.7, 0.06, "close"),
    ]


def _side(place: Float, heading: float, kinematics: Kinematics) -> float:
    """Roll 0 or pi: the one that the wrist reaches without going over its singularity, joint 5 positive as on the way there."""
    found: dict[float, float] = {}
    for roll in (0.0, pi):
        for joints in kinematics.branches(tool(place, CUP_LEAN, heading, roll)):
            inside = float(kinematics.limit_distance(joints).min()) > INSIDE
            if inside and joints[4] > 0.0:
                found[roll] = min(abs(float(joints[5])), found.get(roll, pi))
    return min(found, key=lambda roll: found[roll], default=0.0)


def stand_cup(tcp: Pose, thing: Thing, joint6: float) -> list[Way]:
    """Up, to the spot, half a turn about the tool away from the end of joint 6, down, open, back along the tool."""
    heading = atan2(*reversed(Rotation.from_quat(tcp.quaternion).as_matrix()[:2, 2].tolist()))
    roll = roll_of(tcp, heading)
    sense = -1.0 if joint6 > 0 else 1.0
    off = np.sign(_wrapped(heading - azimuth(tcp.position), 2 * pi)) or 1.0
    at, aim = np.array(CUP_SPOT), off * CUP_HEADING
    # Along its axis, the cup is held so far from the foot.
    held = float(np.linalg.norm(tcp.position - thing.position))
    turn = [tool((*at, 0.15), CUP_LEAN, aim, roll + sense * part) for part in (0.0, *CUP_ROLLS)]
    down = tool((*at, held + 0.004), CUP_LEAN, aim, roll + sense * pi)
    z = Rotation.from_quat(down.quaternion).as_matrix()[:, 2]
    return [
        Way(tool(tcp.position + np.array([0.0, 0.0, 0.10]), CUP_LEAN, heading, roll), 0.0, 0.0, 0.09, "lift"),
        *(Way(pose, 0.0, 0.0, 0.09, "turn") for pose in turn),
        Way(down, 0.0, 0.3, 0.06, "lower"),
        Way(down, OPEN, 0.8, 0.06, "open"),
        Way(Pose(down.position - 0.07 * z, down.quaternion), OPEN, 0.3, 0.07, "up"),
    ]


def take(goal: Goal, things: Things, offset: Float, kinematics: Kinematics) -> list[Way]:
    """Ways to take what the goal is about."""
    thing = things[goal.thing]
    if goal.kind == "in":
        return take_thing(goal.thing, thing, offset)
    return take_bowl(thing, offset) if goal.kind == "on" else take_cup(thing, offset, kinematics)


def put(goal: Goal, things: Things, tcp: Pose, joint6: float, slot: tuple[float, float]) -> list[Way]:
    """Ways to put it where the goal wants it."""
    if goal.kind == "in":
        return put_in_bowl(tcp, things[goal.place], slot)
    if goal.kind == "on":
        return put_on_bowl(tcp, things[goal.thing], things[goal.place])
    return stand_cup(tcp, things[goal.thing], joint6)
