"""Own frames do not wake us: a socket filter for python-can's udp_multicast bus, where every socket hears every frame.

On socketcan the kernel already keeps a sender's frames from it, so there is nothing to do.
"""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import struct

import can
from can.interfaces.udp_multicast import UdpMulticastBus
from can.interfaces.udp_multicast.utils import pack_message

LOG = logging.getLogger(__name__)
_SO_ATTACH_FILTER = 26  # linux/asm-generic/socket.h


def drop_ids(bus: can.BusABC, low: int, high: int) -> bool:
    """Let the kernel drop datagrams whose CAN id is in `low`..`high` (above 0xFF): a classic BPF program.

    Only a saving: True when it is in force; False on another kind of bus, or where the system refuses it.
    """
    if not isinstance(bus, UdpMulticastBus):
        return False
    example = pack_message(can.Message(arbitration_id=low, data=bytes(8), is_extended_id=False))
    at = 8 + example.index(b"arbitration_id\xcd") + len(b"arbitration_id")  # behind the UDP header; 0xCD: 16 bit number
    program = [
        (0x30, 0, 0, at),  # load the byte at `at`
        (0x15, 0, 4, 0xCD),  # not a 16 bit number: keep
        (0x28, 0, 0, at + 1),  # load the id
        (0x35, 0, 2, low),  # below: keep
        (0x25, 1, 0, high),  # above: keep
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # keep
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    with socket.socket(fileno=os.dup(bus.fileno())) as sock:
        try:
            sock.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
            )
        except OSError as error:
            LOG.info("no socket filter here (%s): own frames are skipped one by one", error)
            return False
    return True
