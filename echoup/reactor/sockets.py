"""A connection's socket: its addresses and options. Its bytes are uvloop's business."""

import os
import struct
from errno import ENOTCONN
from socket import (
    AF_INET,
    AF_UNIX,
    IPPROTO_TCP,
    NI_NUMERICHOST,
    NI_NUMERICSERV,
    SO_KEEPALIVE,
    SO_LINGER,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    getnameinfo,
    socket,
)
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress


class Connection:
    """A TCP or Unix connection that uvloop transports."""

    connected = False
    _uv: Any = None  # uvloop's transport, as soon as there is one
    _handle: socket | None = None

    def __init__(self, family: int) -> None:
        """`family` is the socket's: AF_INET, AF_INET6 or AF_UNIX."""
        self._family = family

    def getHandle(self) -> socket:
        """Return the connection's socket, for its options; to read, write or close it is uvloop's business."""
        return self._socket()

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 when the connection is gone."""
        return self._socket().fileno() if self.connected else -1

    def getPeer(self) -> Any:
        """Return the other end's address."""
        return addressOf(self._family, self._uv.get_extra_info("peername"))

    def getHost(self) -> Any:
        """Return this end's address."""
        return addressOf(self._family, self._uv.get_extra_info("sockname"))

    def getTcpNoDelay(self) -> bool:
        """Is what is written sent at once, also when the peer hasn't acknowledged all?"""
        return self._family != AF_UNIX and bool(self._socket().getsockopt(IPPROTO_TCP, TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Say whether what is written is sent at once; a Unix socket always does."""
        if self._family != AF_UNIX:
            self._socket().setsockopt(IPPROTO_TCP, TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Does the kernel look whether a silent peer is there?"""
        return bool(self._socket().getsockopt(SOL_SOCKET, SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Say whether the kernel looks if a silent peer is there."""
        self._socket().setsockopt(SOL_SOCKET, SO_KEEPALIVE, enabled)

    def _reset(self) -> None:
        self._socket().setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self._uv.abort()

    def _socket(self) -> socket:
        if self._handle is None:
            if not self.connected:  # the descriptor may be somebody else's by now
                raise OSError(ENOTCONN, os.strerror(ENOTCONN))
            self._handle = socket(self._family, SOCK_STREAM, 0, self._uv.get_extra_info("socket").fileno())
        return self._handle


def addressOf(family: int, name: Any) -> Any:
    """Return Twisted's address for a socket address of `family`.

    That of a link-local host names the interface in it (RFC 4007, 11), as Twisted writes it.
    """
    if family == AF_UNIX:
        return UNIXAddress(name or None)
    if family == AF_INET:
        return IPv4Address("TCP", *name)
    _, _, _, scope = name
    host = getnameinfo(name, NI_NUMERICHOST | NI_NUMERICSERV)[0] if scope else name[0]
    return IPv6Address("TCP", host, *name[1:])
