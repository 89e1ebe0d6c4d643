"""Many python-can datagrams in one system call: half the cost of a `sendto` for each of 3040 frames a second.

Linux `sendmmsg` through ctypes; `Datagrams` sends one by one where there is none. The bytes are exactly those that
python-can's udp_multicast bus would send, so any python-can bus on the port reads them.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

import can
from can.interfaces.udp_multicast.utils import pack_message

_DATA_MARK = b"\xa4data\xc4\x08"  # msgpack: the key "data" and a binary of eight bytes


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    _fields_ = [("header", _Header), ("sent", ctypes.c_uint)]


class Datagrams:
    """Sends the CAN ids `can_ids` (each below 0xFFFF and above 0xFF), always all of them and in this order.

    Only the eight data bytes of each change from call to call. IPv4 multicast `group` and `port`.
    """

    def __init__(self, sock: socket.socket, group: str, port: int, can_ids: Sequence[int]):
        self._socket, self._target, self._count = sock, (group, port), len(can_ids)
        one = [pack_message(can.Message(arbitration_id=i, data=bytes(8), is_extended_id=False)) for i in can_ids]
        self._size, self._at = len(one[0]), one[0].index(_DATA_MARK) + len(_DATA_MARK)
        self._bytes = bytearray(b"".join(one))
        self._view = memoryview(self._bytes)
        self._call = getattr(ctypes.CDLL(None, use_errno=True), "sendmmsg", None)
        if self._call is not None:
            self._keep = self._prepare(group, port)

    def _prepare(self, group: str, port: int) -> tuple[object, ...]:
        whole = (ctypes.c_char * len(self._bytes)).from_buffer(self._bytes)
        start = ctypes.addressof(whole)
        address = ctypes.create_string_buffer(
            struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton(group)), 16
        )
        vectors = (_Vector * self._count)(*[_Vector(start + i * self._size, self._size) for i in range(self._count)])
        self._messages = (_Message * self._count)()
        for message, vector in zip(self._messages, vectors, strict=True):
            message.header.name, message.header.name_length = ctypes.addressof(address), 16
            message.header.vectors, message.header.vector_count = ctypes.addressof(vector), 1
        return whole, address, vectors

    def send(self, block: bytes) -> None:
        """Send; `block` holds the eight data bytes of each id in turn.

        Raises:
            OSError: the socket refuses.
        """
        for i in range(self._count):
            at = i * self._size + self._at
            self._view[at : at + 8] = block[8 * i : 8 * i + 8]
        done = 0
        if self._call is not None:
            done = self._call(self._socket.fileno(), self._messages, self._count, 0)
        for i in range(max(done, 0), self._count):  # what was not taken in one go, or all of it without sendmmsg
            self._socket.sendto(self._view[i * self._size : (i + 1) * self._size], self._target)
