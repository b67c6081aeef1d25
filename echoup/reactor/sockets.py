"""A stream's socket: its addresses and options. uvloop reads, writes and closes it."""

import os
import socket
import struct
from enum import Enum, auto
from errno import ENOTCONN
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress


class StreamState(Enum):
    """How close a stream is to its end: it moves down this list, never up."""

    OPEN = auto()
    CLOSING = auto()  # loseConnection was called: what was written is sent first
    ABORTING = auto()  # abortConnection was called: a reset
    LOST = auto()


OPEN, CLOSING, ABORTING, LOST = StreamState  # in Python 3.11 a look-up in the class costs 0.1 us


class StreamSocket:
    """A stream as its socket: the addresses, the options and the descriptor."""

    _family: int  # AF_INET, AF_INET6 or AF_UNIX
    _state = OPEN
    _uv: Any = None  # uvloop's transport, from connection_made on
    _handle: socket.socket | None = None
    _peer: Any = None  # kept, because the kernel no longer has it after a reset

    @property
    def connected(self) -> bool:
        """Whether the connection has begun and isn't lost."""
        return self._uv is not None and self._state is not LOST

    @property
    def disconnected(self) -> bool:
        """Whether the connection is lost."""
        return self._state is LOST

    def getHandle(self) -> socket.socket:
        """Return the connection's socket, for its options; only uvloop may read, write or close it."""
        return self._socket()

    def _socket(self) -> socket.socket:  # Twisted's startTLS puts pyOpenSSL's getHandle in place of ours
        if self._handle is None:
            if not self.connected:  # the descriptor may be another file's by now
                raise OSError(ENOTCONN, os.strerror(ENOTCONN))
            self._handle = socket.socket(
                self._family, socket.SOCK_STREAM, 0, self._uv.get_extra_info("socket").fileno()
            )
        return self._handle

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 while there is no connection."""
        return self._socket().fileno() if self.connected else -1

    def getPeer(self) -> Any:
        """Return the other end's address."""
        return self._peer

    def getHost(self) -> Any:
        """Return this end's address."""
        return addressOf(self._family, self._uv.get_extra_info("sockname"))

    def getTcpNoDelay(self) -> bool:
        """Return whether the kernel sends at once, without waiting for acknowledgements (RFC 896)."""
        return self._family != socket.AF_UNIX and bool(
            self._socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        )

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Set whether the kernel sends at once; a Unix socket always does."""
        if self._family != socket.AF_UNIX:
            self._socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return whether the kernel probes a silent peer (RFC 9293, 3.8.4)."""
        return bool(self._socket().getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Set whether the kernel probes a silent peer."""
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def _reset(self) -> None:
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._uv.abort()


def addressOf(family: int, name: Any) -> Any:
    """Return Twisted's address for the socket address `name` of `family`.

    A link-local host names its interface (RFC 4007, 11), as in Twisted.
    """
    if family == socket.AF_UNIX:
        return UNIXAddress(name or None)
    if family == socket.AF_INET:
        return IPv4Address("TCP", *name)
    _, _, _, scope = name
    host = socket.getnameinfo(name, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0] if scope else name[0]
    return IPv6Address("TCP", host, *name[1:])


def placeOf(address: Any) -> Any:
    """Return the port or the path of `address`, for log lines."""
    return os.fsdecode(address.name or b"") if isinstance(address, UNIXAddress) else address.port
