"""Listening sockets, from when they are opened to when a reactor accepts at them."""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from typing import Any, TypeVar, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.base import BasePort
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from echoup.addresses import describeAddress, encodeHost, hostOf, joinAddress, unmapHost
from echoup.server.platform.socketoptions import isMultipath, prepare, stopHandshakes
from echoup.server.platform.twistedports import closeSilently, leaveOpen, silenced

P = TypeVar("P")


@dataclass(frozen=True)
class ListeningAddress:
    """An address with listening sockets; nothing accepts there until `accept` or another process does."""

    sockets: Sequence[socket.socket]
    """One for each process that accepts, or one for all of them."""
    close: Callable[[], None]
    """Close the sockets and remove what was made with them; other processes keep their descriptors."""
    isInherited: bool = False
    """Whether the socket outlives this process, because another process, such as systemd, holds it as well."""
    backlog: int = socket.SOMAXCONN
    """The length of a Unix socket's queue, which the kernel doesn't report; the default is the longest."""

    @property
    def address(self) -> str:
        """The address, as people write it."""
        name = self.sockets[0].getsockname()
        if self.sockets[0].family == socket.AF_UNIX:
            return describeAddress(UNIXAddress(os.fsencode(name)))
        return joinAddress(unmapHost(hostOf(name)), name[1])

    @property
    def weakness(self) -> str:
        """What is not promised here, in words; empty where the socket has all options that it needs."""
        if not isMultipath(self.sockets[0]):
            return ""
        urgent = "if a TCP client begins with several urgent bytes, only the last may be echoed"
        return urgent if self.isInherited else f"{urgent}; a client that connects during a shutdown may be reset"

    def stopHandshakes(self) -> None:
        """Stop TCP handshakes at sockets that close with this process; see `socketoptions.stopHandshakes`."""
        if not self.isInherited:
            for listening in self.sockets:
                stopHandshakes(listening)


def openTCP(count: int, backlog: int, family: socket.AddressFamily, address: Any) -> ListeningAddress:
    """Listen on `address` with `count` sockets, among which the kernel spreads the connections (SO_REUSEPORT).

    With that option any process of the same user can listen there as well and take part of the connections. The
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
        return ListeningAddress(sockets, opened.pop_all().close)


def openEach(
    host: str | None,
    port: int,
    kind: socket.SocketKind,
    openOne: Callable[[socket.AddressFamily, Any], P],
    close: Callable[[P], object],
    family: socket.AddressFamily = socket.AF_UNSPEC,
) -> list[P]:
    """Call `openOne` with family and socket address for each address of `host`, and return the results.

    `host` None is every address of this machine. An address that this machine lacks (often IPv6) is skipped if there is
    another one. `family` restricts them, unless it is AF_UNSPEC. If one can't be opened, `close` the others, and raise
    OSError.
    """
    name = None if host is None else encodeHost(host).encode()  # a text needs a codec, which a chroot lacks
    found = socket.getaddrinfo(name, port, family, kind, flags=socket.AI_PASSIVE)
    missing: OSError | None = None
    results: list[P] = []
    with ExitStack() as opened:
        for own, address in dict.fromkeys((own, address) for own, _, _, _, address in found):
            try:
                results.append(openOne(own, address))
            except OSError as error:
                if error.errno not in (EADDRNOTAVAIL, EAFNOSUPPORT):
                    raise
                missing = error
            else:
                opened.callback(close, results[-1])
        if missing and not results:
            raise missing
        opened.pop_all()
    return results


def accept(reactor: PosixReactorBase, factory: IProtocolFactory, listening: ListeningAddress) -> Port:
    """Return a port that accepts at a duplicate of the first socket of `listening`; close it before `listening`."""
    with silenced():
        port = _adopt(reactor, factory, listening)
    closeSilently(port)
    return port


def _adopt(reactor: PosixReactorBase, factory: IProtocolFactory, listening: ListeningAddress) -> Port:
    own = listening.sockets[0]
    if own.family != socket.AF_UNIX:
        return cast("Port", reactor.adoptStreamPort(own.fileno(), own.family, factory))
    # For a Unix socket, adoptStreamPort makes the file writable for every user, and removes it at the end. So the port
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
