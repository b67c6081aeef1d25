"""A port accepts at a listening socket and leaves it as it is."""

import os
import socket
from contextlib import ExitStack
from errno import EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path
from stat import S_IMODE
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.protocols.wire import Echo

from echoup.reactor.ports import Port, UNIXPort
from echoup.server.listening.inherited import InheritedListener
from echoup.server.listening.listeners import Listener, parseListener
from echoup.server.listening.sockets import ListeningAddress, accept, closePort, openEach
from tests.support.descriptors import keepsDescriptors
from tests.support.doubles import ReactorTestCase, raised
from tests.support.recorders import ServerOf
from tests.support.sockets import multipath
from tests.support.uvlooptests import UvloopTestCase, onReactor


class AcceptTests(ReactorTestCase):
    """`accept` gives a port a duplicate of a socket; only `ListeningAddress.close` removes what `open` made."""

    def setUp(self) -> None:
        """Make a directory for Unix sockets, which is removed after the reactor is closed."""
        self.path = Path(self.enterContext(TemporaryDirectory()), "socket")
        super().setUp()

    def open(self, description: str) -> ListeningAddress:
        """Return the one address that is described, which is open until the end of the test."""
        (listening,) = parseListener(description).open()
        self.addCleanup(listening.close)
        return listening

    def test_severalPorts(self) -> None:
        """Closing one of two ports on a socket leaves the other one accepting, and the file where it is."""
        listening = self.open(f"unix:{self.path}:mode=600")
        first, second = (accept(self.reactor, Factory.forProtocol(Echo), listening) for _ in range(2))
        closePort(first)
        assert S_IMODE(self.path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))
            client.sendall(b"hello")
            self.reactor.turn()
            assert client.recv(5) == b"hello"
        closePort(second)
        listening.close()
        assert list(self.path.parent.iterdir()) == []

    def test_portsLogNothing(self) -> None:
        """Twisted's lines about a port that opens or closes, with names of classes in them, are not logged."""
        factory = Factory.forProtocol(Echo)
        factory.noisy = False
        for description in ("127.0.0.1:0", f"unix:{self.path}", f"unix:@{self.path}"):
            with capturedLogs() as events:
                closePort(accept(self.reactor, factory, self.open(description)))
            assert events == []

    def test_descriptors(self) -> None:
        """After the port and the address are closed no descriptor is left, also if that is said twice."""
        closePort(accept(self.reactor, Factory(), self.open("127.0.0.1:0")))  # with it, Twisted opens one for later
        for description in ("127.0.0.1:0", f"unix:{self.path}"):
            with keepsDescriptors():
                listening = self.open(description)
                closePort(accept(self.reactor, Factory.forProtocol(Echo), listening))
                for _ in range(2):
                    listening.close()


class MultipathTests(ReactorTestCase):
    """Sockets become MPTCP's below mptcpize(8), or because systemd makes them so."""

    def mptcpize(self) -> None:
        """Make each TCP socket that is opened one of MPTCP, as mptcpize does."""
        original = socket.socket

        def make(family: int = -1, kind: int = -1, protocol: int = -1, fileno: int | None = None) -> socket.socket:
            if fileno is None and family in (socket.AF_INET, socket.AF_INET6) and kind == socket.SOCK_STREAM:
                protocol = socket.IPPROTO_MPTCP
            return original(family, kind, protocol, fileno)

        multipath(socket.AF_INET).close()
        self.patch(socket, "socket", make)

    def test_ownSockets(self) -> None:
        """They are opened, one for each process, and it is told what isn't promised there."""
        self.mptcpize()
        for description in ("127.0.0.1:0", "[::1]:0"):
            (listening,) = parseListener(description).open(2)
            self.addCleanup(listening.close)
            assert len({own.getsockname() for own in listening.sockets}) == 1
            assert "urgent bytes" in listening.weakness
            assert "may be reset" in listening.weakness

    def test_inheritedSocket(self) -> None:
        """A stop resets no client of a socket that outlives the process, so only urgent bytes are told of."""
        other = multipath(socket.AF_INET)
        self.addCleanup(other.close)
        other.bind(("127.0.0.1", 0))
        other.listen()
        (listening,) = InheritedListener("systemd:...", "INET", os.dup(other.fileno())).open()
        self.addCleanup(listening.close)
        assert "urgent bytes" in listening.weakness
        assert "reset" not in listening.weakness

    def test_otherSocketsHaveNoWeakness(self) -> None:
        """There is nothing to tell of TCP and of Unix sockets."""
        for description in ("127.0.0.1:0", f"unix:{self.enterContext(TemporaryDirectory())}/socket"):
            (listening,) = parseListener(description).open()
            self.addCleanup(listening.close)
            assert listening.weakness == ""


class OpenEachTests(ReactorTestCase):
    """`openEach` opens every address of a host, or leaves none open."""

    def test_failure(self) -> None:
        """When one can't be opened those before it are closed, and none of those that were passed over."""
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{i}", 0)) for i in range(4)]
        self.patch(socket, "getaddrinfo", lambda *_, **__: found)
        errors = {"192.0.2.1": EADDRNOTAVAIL, "192.0.2.3": EADDRINUSE}
        closed: list[str] = []

        def openOne(family: socket.AddressFamily, address: Any) -> str:
            if address[0] in errors:
                raise OSError(errors[address[0]], os.strerror(errors[address[0]]))
            return str(address[0])

        error = raised(OSError, openEach, "host", 0, socket.SOCK_STREAM, openOne, closed.append)
        assert error is not None
        assert error.errno == EADDRINUSE
        assert sorted(closed) == ["192.0.2.0", "192.0.2.2"]

    def test_nameIsAskedForInASCII(self) -> None:
        """A name in another script is looked up as IDNA 2008 encodes it, without a codec of Python's."""
        asked: list[bytes | None] = []

        def getaddrinfo(host: bytes | None, *_: object, **__: object) -> list[object]:
            asked.append(host)
            return []

        self.patch(socket, "getaddrinfo", getaddrinfo)
        for host in ("faß.example", "::1", None):
            openEach(host, 0, socket.SOCK_STREAM, lambda *_: None, lambda _: None)
        assert asked == [b"xn--fa-hia.example", b"::1", None]


class UvloopTests(UvloopTestCase):
    """On the uvloop reactor, too, a port accepts at a socket and leaves it as it is."""

    async def accepts(self, listener: Listener, kind: type[Port | UNIXPort]) -> socket.socket:
        """Check that a port of `kind` serves a client; return a descriptor of the listening socket."""
        with ExitStack() as opened:
            (listening,) = listener.open()
            opened.callback(listening.close)
            port = accept(self.reactor, ServerOf(Echo()), listening)
            assert type(port) is kind
            own = listening.sockets[0]
            copy = own.dup()
            with socket.socket(own.family) as client:
                await self.inThread(client.connect, own.getsockname())
                await self.inThread(client.sendall, b"hello")
                assert await self.inThread(client.recv, 5) == b"hello"
            await port.stopListening()
        return copy

    @onReactor
    async def test_kind(self) -> None:
        """A port is of the reactor's own kind, and its socket goes on listening for other processes."""
        for description, kind in (("127.0.0.1:0", Port), (f"unix:{self.path()}", UNIXPort)):
            with await self.accepts(parseListener(description), kind) as copy:
                assert copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)

    @onReactor
    async def test_queue(self) -> None:
        """The queue of a Unix socket is as long as its listener says: it takes one client more than that."""
        path = self.path()
        (listening,) = parseListener(f"unix:{path}:backlog=2").open()
        self.addCleanup(listening.close)
        port = accept(self.reactor, ServerOf(), listening)
        port.stopReading()
        clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for client in clients:
            self.addCleanup(client.close)
            client.setblocking(False)
        assert [bool(client.connect_ex(path)) for client in clients] == [False] * 3 + [True] * 2
        await port.stopListening()
