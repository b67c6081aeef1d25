"""Listening sockets, from when they are opened to when a reactor accepts at them."""

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.base import BasePort
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from echoup.addresses import describeAddress, joinAddress
from echoup.server.twistedports import leaveOpen

_LEAST_HOPS = {socket.AF_INET: (socket.IPPROTO_IP, 21), socket.AF_INET6: (socket.IPPROTO_IPV6, 73)}
"""IP_MINTTL and IPV6_MINHOPCOUNT, which Linux has and Python doesn't: packets with fewer hops left are dropped."""


@dataclass(frozen=True)
class ListeningAddress:
    """An address that is listened on; nothing accepts there until `accept` or another process does."""

    address: str
    """As people write it."""
    sockets: Sequence[socket.socket]
    """One for each process that is to accept, or one for all of them."""
    opened: ExitStack
    """Closes the sockets and removes what was made with them."""
    isInherited: bool = False
    """Whether the socket outlives this process, because systemd or the parent of a worker holds it, too."""
    backlog: int = socket.SOMAXCONN
    """The length of a Unix socket's queue, which the kernel doesn't tell; the default is the longest."""

    def close(self) -> None:
        """Close the sockets and remove what was made with them; other processes keep their descriptors."""
        self.opened.close()


def prepare(listening: socket.socket) -> None:
    """Set what a TCP connection needs from its first byte on: it inherits these options from its listening socket."""
    listening.setblocking(False)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Without this an urgent byte is taken out of the stream and missing in the echo (RFC 6093, 2.2).
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    if listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stopHandshakes(listening: socket.socket) -> None:
    """Have the kernel drop the first segment of new TCP handshakes, as if it came from too many hops away.

    Closing the socket resets the clients in its queue, which believe that they are connected; so no client may enter
    the queue before that. A client sends the segment again after a second. A handshake that has begun is completed,
    and its connection inherits the option (see `allowPackets`).
    """
    _setLeastHops(listening, 255)


def allowPackets(connected: socket.socket) -> None:
    """Let a connection receive, although its listening socket may have been through `stopHandshakes`."""
    _setLeastHops(connected, 0)


def _setLeastHops(connected: socket.socket, hops: int) -> None:
    if connected.family in _LEAST_HOPS:
        with suppress(OSError):  # where there is no such option
            connected.setsockopt(*_LEAST_HOPS[connected.family], hops)


def openTCP(count: int, backlog: int, family: socket.AddressFamily, address: Any) -> ListeningAddress:
    """Listen on `address` with `count` sockets, among which the kernel spreads the connections (SO_REUSEPORT).

    With that option any process of the same user can listen there as well and take a part of the connections. The
    first socket gets it only after it listens, which fails where another process does.
    """
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for _ in range(count):
            listening = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            prepare(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Otherwise [::] takes IPv4 as well, and 0.0.0.0 can't have the same port (twisted#8484).
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if sockets:
                sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                address = sockets[0].getsockname()  # where the port was 0, all have the same
            listening.bind(address)
            listening.listen(backlog)
            sockets.append(listening)
        return ListeningAddress(describeSocket(sockets[0]), sockets, opened.pop_all())


def describeSocket(listening: socket.socket) -> str:
    """Return the address of `listening`, as people write it."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return describeAddress(UNIXAddress(name if isinstance(name, bytes) else os.fsencode(name)))
    return joinAddress(*name[:2])


def accept(reactor: PosixReactorBase, factory: IProtocolFactory, listening: ListeningAddress) -> Port:
    """Accept at the first socket of `listening`; the port that is returned has a duplicate of it.

    Close `listening` after the port is closed.
    """
    own = listening.sockets[0]
    if own.family != socket.AF_UNIX:
        return cast("Port", reactor.adoptStreamPort(own.fileno(), own.family, factory))
    # For a Unix socket adoptStreamPort makes the file writable for every user and in the end removes it. So the port
    # is made for a socket without a file, and its descriptor is then turned into a duplicate of this one.
    with socket.socket(socket.AF_UNIX) as withoutFile:
        withoutFile.bind("")
        withoutFile.listen()
        port = cast("Port", reactor.adoptStreamPort(withoutFile.fileno(), socket.AF_UNIX, factory))
    port.stopReading()
    os.dup2(own.fileno(), port.fileno(), inheritable=False)
    leaveOpen(port)
    port.backlog = listening.backlog  # uvloop listens again with that
    port.startReading()
    return port


def closePort(port: BasePort) -> None:
    """Close a port at once; `stopListening` closes it in a later turn of the reactor, which may not run."""
    port.connectionLost(Failure(CONNECTION_DONE))
