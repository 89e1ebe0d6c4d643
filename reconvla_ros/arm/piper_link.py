"""The SDK's connection to one bus: opened, counted, watched, and opened again after the bus was lost.

What is tamed here (piper_sdk 0.6.2): instances are singletons by name, so each connection makes a new name; sends never
raise, so they are counted where they happen; on a dead bus the SDK's reader spins without a pause and never connects
again, so a failed read sleeps and a thread of our own closes and opens the port; `isOk` counts our own frames, so what
is heard is judged by the stamps of 0x2A1 and 0x2A5 alone.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from piper_sdk import C_PiperInterface_V2, LogLevel

from reconvla_ros.arm import bus as can_bus
from reconvla_ros.arm.link_watch import LinkWatch
from reconvla_ros.arm.socket_filter import drop_ids
from reconvla_ros.errors import ArmError, BusError

_POLL = 0.05  # [s] how often the link is looked at
_SPIN = 0.02  # [s] pause of the SDK's reader after a failed read
_READER_ENDS = 1.2  # [s] the SDK's reader waits up to 1 s for a frame before it sees that it shall end
_FOREIGN = 0.1  # [s] a leader or a host that streams sends about 20 sets of targets in it
_instances = itertools.count()


class Link:
    """One SDK instance and its port.

    Args:
        address: the bus.
        clock: monotonic [ns].

    Attributes:
        sdk: the connected interface; the same object through every reconnection.
        sent: frames sent since it was made.
        watch: what is known of the link.
    """

    def __init__(self, address: can_bus.BusAddress, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._address, self._clock = address, clock
        self.watch = LinkWatch()
        self.sent = 0
        self._send_ok = self._read_ok = True
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        name = f"{address.key}#{next(_instances)}"
        sdk = C_PiperInterface_V2(name, judge_flag=False, can_auto_init=False, logger_level=LogLevel.SILENT)
        try:
            with can_bus.bus_defaults(address):
                sdk.CreateCanBus(address.channel, bustype=address.bus_type, judge_flag=False)
        except ConnectionError as error:
            raise BusError(f"CAN bus {address} ({address.bus_type}): {error}") from error
        self._port = sdk.GetCanBus()
        if self._port.recv_bus is None or self._port.send_bus is None:
            raise BusError(f"CAN bus {address} ({address.bus_type}) could not be opened")
        self._opened()
        self._count_sends()
        self._tame_reads()
        sdk.ConnectPort(piper_init=False)
        self.sdk: Any = sdk

    @property
    def send_ok(self) -> bool:
        """False after a frame could not be sent, until one could or the port was opened anew."""
        return self._send_ok

    def _opened(self) -> None:
        """Our own frames would each wake the SDK's reader; on socketcan the kernel keeps them from it."""
        drop_ids(self._port.recv_bus, min(can_bus.COMMAND_IDS), 0x15F)

    def _count_sends(self) -> None:
        """The SDK logs a failed send and goes on; this is where it is counted and noticed."""
        port, send = self._port, self._port.SendCanMessage

        def counted(*args: Any, **kwargs: Any) -> Any:
            outcome = send(*args, **kwargs)
            self._send_ok = outcome is port.CAN_STATUS.SEND_MESSAGE_SUCCESS
            self.sent += self._send_ok
            return outcome

        port.SendCanMessage = counted

    def _tame_reads(self) -> None:
        port, read = self._port, self._port.ReadCanMessage
        fine = (port.CAN_STATUS.READ_CAN_MSG_OK, port.CAN_STATUS.READ_CAN_MSG_TIMEOUT)

        def tamed() -> Any:
            outcome = read()
            self._read_ok = outcome in fine
            if not self._read_ok:
                time.sleep(_SPIN)
            return outcome

        port.ReadCanMessage = tamed

    def tend(self) -> None:
        """Watch the link in a thread from now on, and open it again when it was lost."""
        self._thread = threading.Thread(target=self._tend, name="can link", daemon=True)
        self._thread.start()

    def _tend(self) -> None:
        while not self._stop.wait(_POLL):
            stamps = (self.sdk.GetArmStatus().time_stamp, self.sdk.GetArmJointMsgs().time_stamp)
            if self.watch.update(self._clock(), stamps, self._read_ok and self._send_ok):
                self._reconnect()

    def _reconnect(self) -> None:
        """Close the port, let the SDK's reader end, open it again; says nothing to the arm."""
        self.sdk.DisconnectPort()
        if self._stop.wait(_READER_ENDS):
            return
        problem = ""
        try:
            can_bus.check_interface(self._address)
            with can_bus.bus_defaults(self._address):
                self.sdk.ConnectPort(can_init=True, piper_init=False)
        except (ArmError, OSError, ValueError) as error:
            problem = str(error)
        if self._port.recv_bus is None or self._port.send_bus is None:
            self.sdk.DisconnectPort()  # else its reader goes on with nothing to read
            problem = problem or f"CAN bus {self._address} cannot be opened"
        else:
            self._opened()
            self._send_ok = self._read_ok = True
        self.watch.tried(self._clock(), problem)

    def foreign(self) -> tuple[int, ...] | None:
        """Ids of commands that somebody else sends on this bus; None when they cannot be told from our own.

        The SDK's socket on socketcan does not loop back, so what is heard there is not ours; on the other types it is heard.
        """
        before = self.sent
        try:
            heard = can_bus.listen(self._address, _FOREIGN)
        except BusError:
            return None
        if self._address.bus_type != "socketcan" and self.sent != before:
            return None
        return tuple(sorted(i for i in heard if i in can_bus.COMMAND_IDS))

    def close(self) -> None:
        """End the watch and leave the bus; the arm stays as it is."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=_READER_ENDS + 1.0)
        self.sdk.DisconnectPort()
