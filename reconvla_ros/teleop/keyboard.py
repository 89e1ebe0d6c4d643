"""The keyboard as a device: a key moves the arm while it repeats, and no longer.

A terminal does not say when a key is let go. Its repeat is the dead-man: without a key for `hold` the reading is not
held any more. Terminals wait about half a second before the first repeat, so a tap is a short step and a held key a
step, a pause, and then motion; `xset r rate 200 30` makes the pause short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconvla_ros.teleop.protocol import Act, Reading

_X, _Y, _Z, _RX, _RY, _RZ = range(6)
# key -> (axis, direction)
MOTIONS: dict[str, tuple[int, float]] = {
    "w": (_X, 1.0), "s": (_X, -1.0), "a": (_Y, 1.0), "d": (_Y, -1.0), "e": (_Z, 1.0), "c": (_Z, -1.0),
    "u": (_RX, 1.0), "o": (_RX, -1.0), "i": (_RY, 1.0), "k": (_RY, -1.0), "j": (_RZ, 1.0), "l": (_RZ, -1.0),
    "up": (_X, 1.0), "down": (_X, -1.0), "left": (_Y, 1.0), "right": (_Y, -1.0),
}  # fmt: skip
GRIPS = {"m": 1.0, "n": -1.0}
ACTS = {
    "enter": Act.ENGAGE, "h": Act.HAND_OVER, "space": Act.STOP, "x": Act.CLEAR_STOP, "r": Act.RECORD, "t": Act.FAILED,
    "backspace": Act.DISCARD, "1": Act.SLOW, "2": Act.MEDIUM, "3": Act.FAST, "Q": Act.QUIT,
}  # fmt: skip
HELP = (
    "move  w s forward back | a d left right | e c up down | u o, i k, j l turn | m n gripper open close\n"
    "keys  space STOP | x clear stop | 1 2 3 speed | r record, again: keep as success | t keep as failure | "
    "backspace discard\n"
    "      h hand over to the policy | enter engage a leader arm | Q quit"
)


_AT_ONCE = 3  # different keys between two readings; more are no fingers


def pasted(keys: Sequence[str]) -> bool:
    """Whether this is text that was pasted, not keys that were pressed."""
    return len(set(keys)) > _AT_ONCE


def acts_of(keys: Sequence[str]) -> tuple[Act, ...]:
    """What the keys ask for besides motion; of pasted text only a stop."""
    if pasted(keys):
        return (Act.STOP,) if "space" in keys else ()
    return tuple(ACTS[key] for key in keys if key in ACTS)


class Keyboard:
    """A `Device` over a source of keys.

    Args:
        keys: gives the names of the keys pressed since its last call, as `Terminal.keys` does.
        hold: a key counts as held this long after it came last [s].
        begin, end: take and give back the terminal.
    """

    name, toggles = "keyboard", False

    def __init__(
        self,
        keys: Callable[[], Sequence[str]],
        hold: float = 0.15,
        begin: Callable[[], None] = lambda: None,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._keys, self._hold_ns, self._begin, self._end = keys, int(hold * 1e9), begin, end
        self._key, self._at = "", 0

    def open(self) -> None:
        """See `Device.open`."""
        self._begin()
        self._key = ""

    def read(self, now_ns: int) -> Reading:
        """See `Device.read`. The last motion key counts: terminals repeat only that one."""
        keys = self._keys()
        acts = acts_of(keys)
        for key in [] if pasted(keys) else keys:
            if key in MOTIONS or key in GRIPS:
                self._key, self._at = key, now_ns
            elif key == "space":
                self._key = ""
        if not self._key or now_ns - self._at > self._hold_ns:
            self._key = ""
            return Reading(acts=acts)
        twist = [0.0] * 6
        if self._key in MOTIONS:
            axis, direction = MOTIONS[self._key]
            twist[axis] = direction
        return Reading(True, tuple(twist), GRIPS.get(self._key, 0.0), acts=acts)

    def close(self) -> None:
        """See `Device.close`."""
        self._end()
