"""Listening sockets of ours, from when they are opened to when a reactor accepts at them."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.unix import Port as UNIXPort

from echoup.addresses import describeAddress, joinAddress

_LEAST_HOPS = {socket.AF_INET: (socket.IPPROTO_IP, 21), socket.AF_INET6: (socket.IPPROTO_IPV6, 73)}
"""IP_MINTTL and IPV6_MINHOPCOUNT, which Linux has and Python doesn't: of packets with less, nothing is received."""


@dataclass(frozen=True)
class Opening:
    """An address that is listened on, where nobody accepts yet."""

    address: str
    """As people write it."""
    sockets: Sequence[socket.socket]
    """One for each process that is to accept, or one for all of them."""
    close: Callable[[], None]
    """Close the sockets, and leave nothing behind; those that other processes have stay open."""


def prepare(listening: socket.socket) -> None:
    """Set what a TCP connection is to have from its first byte on: it inherits all this from its listening socket."""
    listening.setblocking(False)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Without this an urgent byte is taken out of the stream and missing in the echo (RFC 6093, 2.2).
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    if listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stopHandshakes(listening: socket.socket) -> None:
    """Let nobody begin to connect any more: whoever is in the queue when it closes is reset, and believed in it.

    As if from too far away, the kernel drops the first segment of a TCP handshake, which the client sends again after a
    second. What has begun comes into the queue, and inherits this (see `allowPackets`).
    """
    _setLeastHops(listening, 255)


def allowPackets(connected: socket.socket) -> None:
    """Let a connection receive, which may have come after its port has turned others away."""
    _setLeastHops(connected, 0)


def _setLeastHops(connected: socket.socket, hops: int) -> None:
    if connected.family in _LEAST_HOPS:
        with suppress(OSError):  # where there is no such option
            connected.setsockopt(*_LEAST_HOPS[connected.family], hops)


def openTCP(count: int, backlog: int, family: socket.AddressFamily, address: Any) -> Opening:
    """Listen on `address` with `count` sockets, among which the kernel spreads the connections (SO_REUSEPORT).

    With that option anybody of the same user could listen there as well, and take a part of the connections: so the
    first socket gets it only when it listens, and that fails if anybody else does.
    """
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            listening = socket.socket(family, socket.SOCK_STREAM)
            opened.append(listening)
            prepare(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Otherwise [::] would take IPv4 as well, and leave none of it for 0.0.0.0 (Twisted #8484).
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if len(opened) > 1:
                opened[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                address = opened[0].getsockname()  # where the port was 0, all have the same
            listening.bind(address)
            listening.listen(backlog)
    except BaseException:
        _closeEach(opened)
        raise
    return Opening(describeSocket(opened[0]), opened, lambda: _closeEach(opened))


def describeSocket(listening: socket.socket) -> str:
    """Return the address of `listening`, as people write it."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return describeAddress(UNIXAddress(name if isinstance(name, bytes) else os.fsencode(name)))
    return joinAddress(*name[:2])


def _closeEach(sockets: Sequence[socket.socket]) -> None:
    for opened in sockets:
        opened.close()


def adopt(reactor: PosixReactorBase, factory: IProtocolFactory, listening: socket.socket) -> IListeningPort:
    """Accept at `listening`, of which the port that is returned has a copy; others may have theirs.

    With a Unix socket this does what `reactor.adoptStreamPort` does, but leaves the socket and its file to whoever
    opened it. That one makes the file writable for everybody, and in the end removes it, and shuts the socket down for
    everybody. A port whose name isn't in the file system knows of no file, and asks the socket itself whenever the name
    matters.
    """
    if listening.family != socket.AF_UNIX:
        return cast("IListeningPort", reactor.adoptStreamPort(listening.fileno(), listening.family, factory))
    port = UNIXPort(b"\0inherited", factory, reactor=reactor)
    port._preexistingSocket = _ListeningAlready(fileno=os.dup(listening.fileno()))
    port._shouldShutdown = False
    port.startListening()
    return cast("IListeningPort", port)


def adoptEach(
    reactor: PosixReactorBase, factory: IProtocolFactory, openings: Iterable[Opening]
) -> Iterator[IListeningPort]:
    """Accept at each of `openings`, which have one socket each, and yield the port when it does."""
    for opening in openings:
        try:
            port = adopt(reactor, factory, opening.sockets[0])
        finally:
            opening.close()
        yield port


class _ListeningAlready(socket.socket):
    """A socket that listens already."""

    def listen(self, backlog: int = 0, /) -> None:
        """Do nothing: Twisted's port for Unix sockets would set the length of the queue."""
