"""Clients of all kinds of sessions, which count what the metrics of the daemon should say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from os import getpid
from pathlib import Path
from socket import SHUT_WR, SO_RCVBUF, SOL_SOCKET, socket
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLError

from twisted.internet.address import IPv4Address

from echoup.proxyheader import encodeProxyHeader
from tests.support.addresses import Address, receiveAll
from tests.support.authorities import TLS_1_2, TLS_1_3, Certificates
from tests.support.chance import randomBytes
from tests.support.daemon import Daemon
from tests.support.datagrams import client, ports
from tests.support.sockets import reset
from tests.support.tally import Tally
from tests.support.tls import TLSConnection
from tests.support.ways import Way

PLAIN, SIX, RESETS, STALLS, BROKEN = "127.0.0.1:0", "[::1]:0", "127.0.0.3:0", "127.0.0.4:0", "127.0.0.5:0"
TLS = "tls:127.0.0.1:0"
LISTENERS = (PLAIN, SIX, RESETS, STALLS, BROKEN, TLS)
UDP = "udp:127.0.0.1:0"
PROXY = "127.0.0.2"
"""The address of the proxy, whose connections begin with a PROXY header; all of SIX come through a proxy, too."""
CROWD = "127.9.9.9"
"""The address of the peer that opens more connections than one may."""

PER_PEER = 40
RATE, BURST = 50, 2
"""Datagrams a second and address that are answered, and the seconds for which it can save them up."""


class Clients:
    """All kinds of sessions with one daemon; each has a client address of its own, because a peer has a limit."""

    def __init__(self, daemon: Daemon, certificates: Certificates, folder: Path) -> None:
        self.tally = Tally()
        self.unix = f"unix:{folder}/socket"
        self.addresses = dict(zip((*LISTENERS, self.unix), daemon.addresses, strict=True))
        self.udp = ports(daemon)[0]
        self._versions = {"TLSv1.2": certificates.context(TLS_1_2), "TLSv1.3": certificates.context(TLS_1_3)}
        self._numbers = count(1)

    @property
    def kinds(self) -> list[Callable[[int], None]]:
        """The kinds of sessions; each takes its size."""
        return [
            self.plain,
            self.onUnix,
            self.secured("TLSv1.2"),
            self.secured("TLSv1.3"),
            self.proxied(PLAIN, 1),
            self.proxied(PLAIN, 2),
            self.proxied(TLS, 2),
            self.proxied(SIX, 2),
            self.badHeader,
            self.noHeader,
            self.noTLS,
            self.noHello,
            self.distrust,
            self.resetAfterEcho,
            self.resetAmidData,
            self.datagrams,
        ]

    def _other(self) -> str:
        """Return an address that the clients of other test processes don't have: one might have the port there."""
        number = getpid() << 12 | next(self._numbers) & 0xFFF
        return f"127.{128 | number >> 16 & 63}.{number >> 8 & 255}.{number & 255}"

    def _at(self, listener: str) -> Address:
        return replace(self.addresses[listener], source=self._other())

    def _echo(self, way: Way, size: int) -> None:
        data = randomBytes(size)
        assert way.exchange(data, together=bool(size % 2)) == data.upper(), way

    def plain(self, size: int) -> None:
        """Exchange some bytes."""
        self._echo(Way(self._at(PLAIN)), size)
        self.tally.connection(PLAIN, "done", size)

    def onUnix(self, size: int) -> None:
        """Exchange some bytes on a Unix socket."""
        self._echo(Way(self.addresses[self.unix]), size)
        self.tally.connection(self.unix, "done", size)

    def secured(self, version: str) -> Callable[[int], None]:
        """Return a session with TLS."""

        def session(size: int) -> None:
            self._echo(Way(self._at(TLS), self._versions[version]), size)
            self.tally.connection(TLS, "done", size)
            self.tally.handshake(TLS, version, "ok")

        return session

    def proxied(self, listener: str, version: int) -> Callable[[int], None]:
        """Return a session with a PROXY header."""

        def session(size: int) -> None:
            source = IPv4Address("TCP", self._other(), 4242)
            header = encodeProxyHeader(version, source, source)
            address = replace(self.addresses[listener], header=header, source="" if listener == SIX else PROXY)
            self._echo(Way(address, self._versions["TLSv1.3"] if listener == TLS else None), size)
            self.tally.connection(listener, "done", size)
            self.tally.header(listener, str(version), "ok")
            if listener == TLS:
                self.tally.handshake(TLS, "TLSv1.3", "ok")

        return session

    def badHeader(self, size: int) -> None:
        """Send what is no PROXY header."""
        with replace(self.addresses[PLAIN], source=PROXY).connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: echo\r\n\r\n")
            self.end(connection)
        self.tally.connection(PLAIN, "header")
        self.tally.header(PLAIN, "unknown", "invalid")

    def noHeader(self, size: int) -> None:
        """End the stream before the PROXY header."""
        with replace(self.addresses[PLAIN], source=PROXY).connect() as connection:
            connection.sendall(b"PROXY TCP4 "[: size % 11])
            connection.shutdown(SHUT_WR)
            self.end(connection)
        self.tally.connection(PLAIN, "lost")
        self.tally.header(PLAIN, "unknown", "lost")

    def noTLS(self, size: int) -> None:
        """Send plain text where TLS is expected."""
        with self._at(TLS).connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: echo\r\n\r\n")
            connection.shutdown(SHUT_WR)
            self.end(connection)
        self.tally.connection(TLS, "tls")
        self.tally.handshake(TLS, "unknown", "failed")

    def noHello(self, size: int) -> None:
        """End the stream before the TLS handshake."""
        with self._at(TLS).connect() as connection:
            connection.shutdown(SHUT_WR)
            self.end(connection)
        self.tally.connection(TLS, "lost")
        self.tally.handshake(TLS, "unknown", "lost")

    def distrust(self, size: int) -> None:
        """Refuse the certificate."""
        with self._at(TLS).connect() as connection:
            with suppress(SSLError):
                TLSConnection(connection, SSLContext(PROTOCOL_TLS_CLIENT))
            connection.shutdown(SHUT_WR)
            self.end(connection)
        self.tally.connection(TLS, "tls")
        self.tally.handshake(TLS, "unknown", "failed")

    def resetAfterEcho(self, size: int) -> None:
        """Reset the connection when everything has come back."""
        data = randomBytes(size + 1)
        with self._at(RESETS).connect() as connection:
            connection.sendall(data)
            assert _receive(connection, len(data)) == data.upper()
            reset(connection)
        self.tally.connection(RESETS, "lost", len(data))

    def resetAmidData(self, size: int) -> None:
        """Reset the connection while data goes both ways; it can't stall, because there is room for all of it."""
        with self._at(BROKEN).connect(receiveBuffer=1 << 18) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"X"
            connection.setblocking(False)
            self.tally.atMost(BROKEN, 1 + connection.send(bytes(100_000)))
            reset(connection)
        self.tally.connection(BROKEN, "lost")

    def datagrams(self, size: int) -> None:
        """Exchange datagrams of which some aren't answered, because they come from the daemon's own port."""
        with self._sender() as port:
            for number in range(3):
                self._ask(port, b"%d " % number + randomBytes(size))
        with client(self.udp, (self._other(), self.udp[1])) as port:
            port.send(b"hello")
        self.tally.add("datagrams_received", listener=UDP)
        self.tally.add("datagrams_dropped", listener=UDP, reason="own_port")
        self.tally.add("received_bytes", 5, listener=UDP)

    def _ask(self, port: socket, data: bytes) -> None:
        port.send(data)
        assert port.recv(65536) == data.upper()
        self.tally.add("datagrams_received", listener=UDP)
        self.tally.add("datagrams_answered", listener=UDP)
        self.tally.bytes(UDP, len(data))

    def stall(self) -> socket:
        """Send and read nothing; the daemon has to end it."""
        connection = self._at(STALLS).connect(receiveBuffer=4096)
        connection.sendall(bytes(50_000))
        self.tally.connection(STALLS, "stalled")
        self.tally.atMost(STALLS, 50_000)
        return connection

    def crowd(self) -> list[socket]:
        """Open as many connections as a peer may, and some that are refused; return the open ones."""
        address = replace(self.addresses[PLAIN], source=CROWD)
        held = []
        for _ in range(PER_PEER):
            connection = address.connect()
            connection.sendall(b"hello")
            assert _receive(connection, 5) == b"HELLO"
            self.tally.add("connections_opened", listener=PLAIN)
            self.tally.bytes(PLAIN, 5)
            held.append(connection)
        for _ in range(10):
            with suppress(ConnectionError), address.connect() as connection:
                assert connection.recv(1) == b""
            self.tally.connection(PLAIN, "refused")
            self.tally.add("connections_refused", listener=PLAIN, reason="peer")
        return held

    @contextmanager
    def _sender(self) -> Iterator[socket]:
        """Open a UDP socket at an address of its own, with another port than the daemon's."""
        while True:
            with client(self.udp, (self._other(), 0)) as opened:
                if opened.getsockname()[1] != self.udp[1]:
                    yield opened
                    return

    def overRate(self) -> None:
        """Send more datagrams than one address may."""
        with self._sender() as port, self._sender() as other:
            port.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20)
            sent, answers = [b"datagram %d" % number for number in range(3 * BURST * RATE)], []
            for data in sent:
                port.send(data)
            self._ask(other, b"the last of the queue")  # all other answers have come before this one
            port.setblocking(False)
            with suppress(BlockingIOError):
                while answer := port.recv(65536):
                    answers.append(answer)
        assert {*answers} <= {data.upper() for data in sent}
        self.tally.add("datagrams_received", len(sent), listener=UDP)
        self.tally.add("datagrams_answered", len(answers), listener=UDP)
        self.tally.add("datagrams_dropped", len(sent) - len(answers), listener=UDP, reason="rate")
        self.tally.add("received_bytes", sum(map(len, sent)), listener=UDP)
        self.tally.add("sent_bytes", sum(map(len, answers)), listener=UDP)

    @staticmethod
    def end(connection: socket) -> None:
        """Wait for the end of a connection, or for its reset."""
        with suppress(ConnectionError):
            receiveAll(connection)


def start(folder: Path, certificates: Certificates, *options: str) -> Daemon:
    """Start a daemon with all listeners."""
    listen = (*LISTENERS, f"unix:{folder}/socket")
    more = (
        "--status=0",
        "--udp=127.0.0.1:0",
        f"--tls-cert={certificates.server}",
        f"--proxy-from={PROXY}",
        "--proxy-from=::1",
    )
    return Daemon.start(folder, *more, *options, listen=listen)


def _receive(connection: socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = connection.recv(65536)
        assert data, "the daemon ended it"
        received += data
    return received
