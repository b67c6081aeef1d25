"""PROXY headers and TLS handshakes: unfinished, forged and broken ones, limits, reload, and stops meanwhile."""

import re
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from socket import SHUT_WR, socket
from ssl import MemoryBIO, SSLContext, SSLError, SSLWantReadError, TLSVersion
from struct import pack
from typing import Self

import pytest
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from echoup.proxyheader import encodeProxyHeader
from tests.support.addresses import Address, endSending, receiveAll
from tests.support.authorities import TLS_1_2, TLS_1_3, Certificates
from tests.support.chance import randomBytes
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.live import living
from tests.support.loads import Growth, isCut, load
from tests.support.sizes import MIB
from tests.support.sockets import reset
from tests.support.tls import CLOSE_NOTIFY, TLSConnection
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("reactor")

PROXY = "127.0.0.2"
"""The address from which connections with a header come."""


def headerOf(host: str, version: int = 1, port: int = 4242) -> bytes:
    """Return the header of a client at `host`."""
    return encodeProxyHeader(version, IPv4Address("TCP", host, port), IPv4Address("TCP", "192.0.2.254", 443))


def withTLVs(source: IAddress, *tlvs: tuple[int, bytes]) -> bytes:
    """Return a header of version 2 of a client at `source`, with these TLVs."""
    header = encodeProxyHeader(2, source, source)
    block = header[16:] + b"".join(pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    return header[:14] + pack("!H", len(block)) + block


def clientHello(context: SSLContext) -> bytes:
    """Return the first message of a TLS client."""
    incoming, outgoing = MemoryBIO(), MemoryBIO()
    with pytest.raises(SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def watch(connections: dict[socket, float], dripping: dict[socket, bytes], seconds: float) -> list[float]:
    """Return the seconds that `connections` lived, since the times in it, until the server aborted them.

    The server has `seconds`, in which the bytes of `dripping` are sent one by one.
    """
    poll = select.poll()
    waiting = {connection.fileno(): began for connection, began in connections.items()}
    for descriptor in waiting:
        poll.register(descriptor, select.POLLRDHUP)
    lived = []
    dripped = 0
    deadline = time.monotonic() + seconds
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} are still there"
        for descriptor, _ in poll.poll(250):
            poll.unregister(descriptor)
            lived.append(time.monotonic() - waiting.pop(descriptor))
        for connection, data in dripping.items():
            if connection.fileno() in waiting:
                with suppress(ConnectionError):  # aborted just now: the next poll sees it
                    connection.send(data[dripped : dripped + 1])
        dripped += 1
    return lived


@pytest.mark.slow
def test_unfinishedHandshakesAndHeadersAreAborted(
    tmp_path: Path, certificates: Certificates, figure: Callable[[str], None]
) -> None:
    """100 unfinished TLS handshakes and 100 unfinished headers are aborted in time, and don't delay other clients.

    Some handshakes have sent nothing, some half of a ClientHello, and some all of it. Half of the headers, of both
    versions, are sent up to the middle at once, and half byte by byte.
    """
    timeout = 3
    hello = clientHello(certificates.context())
    header = {version: headerOf("192.0.2.1", version) for version in (1, 2)}
    options = (f"--handshake-timeout={timeout}", f"--proxy-from={PROXY}", "--log-connections")
    with (
        Daemon.start(tmp_path, *options, listen=[listenTLS(certificates.server)]) as daemon,
        ExitStack() as opened,
    ):
        proxied = replace(daemon.address, source=PROXY)
        none = daemon.descriptors
        with living(daemon.address) as latency:
            before = daemon.descriptors
            connections, dripping = {}, {}
            for i in range(200):
                began = time.monotonic()
                connection = opened.enter_context((proxied if i % 2 else daemon.address).connect())
                connections[connection] = began
                if i % 2:
                    data = header[1 + i // 2 % 2]
                    connection.sendall(data[: len(data) // 2 * (i // 4 % 2)])
                    if not i // 4 % 2:
                        dripping[connection] = data
                else:
                    connection.sendall(hello[: len(hello) * (i // 2 % 3) // 2])
                time.sleep(0.005)
            lived = watch(connections, dripping, 60)
            after = eventually(lambda: daemon.descriptors == before and before)
        eventually(lambda: daemon.descriptors == none)
        eventually(lambda: len(daemon.connections) == 201)
        assert [one["reason"] for one in daemon.connections].count("handshake") == 200
        assert daemon.connections[-1]["bytes"] == str(latency.answers * 64)
    figure(
        f"200 dropped after {min(lived):.2f} to {max(lived):.2f} s, with a timeout of {timeout} s; "
        f"descriptors {before}, {after}; {latency}"
    )
    assert len(lived) == 200
    assert min(lived) >= timeout - 0.1
    assert latency.p99 < 1000 * timeout  # the time for which one of them could delay it


TOO_MANY = 21


class Crowd:
    """Clients that connect at the same time, send a word, and stay until they are sent away."""

    def __init__(self, addresses: Iterable[Address], context: SSLContext, together: bool = False) -> None:
        """`context` is for those of `addresses` that speak TLS; for `together` see `TLSConnection`."""
        self.served: list[Address] = []
        self.refused: list[Address] = []
        self._context = context
        self._together = together
        self._leave = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._visit, args=[address]) for address in addresses]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _visit(self, address: Address) -> None:
        try:
            with address.connect() as connection:
                tls = TLSConnection(connection, self._context, self._together) if address.isTLS else None
                connection.sendall(tls.seal(b"hello") if tls else b"hello")
                if (tls.receive() if tls else connection.recv(5)) != b"HELLO":
                    raise ConnectionError
                self.served.append(address)
                self._leave.acquire(timeout=60)
        except (OSError, SSLError):
            self.refused.append(address)

    def hasServed(self, count: int) -> bool:
        """Return whether at least `count` were served."""
        return len(self.served) >= count

    def send(self, count: int) -> None:
        """Send away `count` of the clients that were served."""
        self._leave.release(count)

    def end(self) -> None:
        """Send all clients away and wait for their threads."""
        self.send(len(self._threads))
        for thread in self._threads:
            thread.join(60)


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("isTLS", [False, True])
def test_arrivalsBeyondMaximumWait(
    tmp_path: Path, certificates: Certificates, figure: Callable[[str], None], isTLS: bool, version: int
) -> None:
    """Clients beyond the maximum wait and are then served, through TLS and through a proxy."""
    listen = listenTLS(certificates.server) if isTLS else "127.0.0.1:0"
    options = ("--max-connections=10", f"--proxy-from={PROXY}", "--log-connections", "--handshake-timeout=60")
    with Daemon.start(tmp_path, *options, listen=[listen]) as daemon:
        before = daemon.descriptors
        header = headerOf("192.0.2.1", version) if version else b""
        address = replace(daemon.address, source=PROXY if version else "", header=header)
        served = []
        with Crowd([address] * TOO_MANY, certificates.context()) as crowd:
            for expected in (10, 20, 21):
                eventually(partial(crowd.hasServed, expected))
                time.sleep(0.2 if expected < TOO_MANY else 0)
                served.append(len(crowd.served))
                assert daemon.descriptors <= before + 10
                crowd.send(10)
        after = eventually(lambda: daemon.descriptors == before and before)
        eventually(lambda: len(daemon.connections) == TOO_MANY)
        assert not crowd.refused
    figure(f"{TOO_MANY} clients at a maximum of 10: served {served}, descriptors {before}, {after}")
    assert served == [10, 20, 21]


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("isTLS", [False, True])
def test_maximumPerPeerCountsClientsBehindProxy(
    tmp_path: Path, certificates: Certificates, isTLS: bool, version: int
) -> None:
    """Five of 21 clients from one address are served, and all from another, also behind a proxy."""
    listen = listenTLS(certificates.server) if isTLS else "127.0.0.1:0"
    options = ("--max-connections-per-peer=5", f"--proxy-from={PROXY}", "--log-connections")
    with Daemon.start(tmp_path, *options, listen=[listen]) as daemon:
        before = daemon.descriptors
        if version:
            many, few = (
                replace(daemon.address, source=PROXY, header=headerOf(host, version))
                for host in ("192.0.2.1", "192.0.2.2")
            )
        else:
            many, few = (replace(daemon.address, source=host) for host in ("127.0.0.3", "127.0.0.4"))
        with Crowd([many] * TOO_MANY + [few] * 3, certificates.context()) as crowd:
            eventually(lambda: len(crowd.served + crowd.refused) == TOO_MANY + 3)
            assert (crowd.served.count(many), crowd.served.count(few)) == (5, 3)
            eventually(lambda: daemon.descriptors == before + 8)
        eventually(lambda: daemon.descriptors == before)
        with Crowd([many] * 5, certificates.context()) as again:
            eventually(lambda: len(again.served) == 5)
        eventually(lambda: daemon.descriptors == before)
    assert daemon.textBeforeStop.count("--max-connections-per-peer") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_admissionAfterWaitLosesNothing(tmp_path: Path, certificates: Certificates, workers: int) -> None:
    """A connection that waits for a slot, or for the parent's answer, loses none of its data.

    With several ports, or processes, an accepted connection may wait for a slot; with a limit to each peer the parent
    is asked.
    """
    listen = ["127.0.0.1:0", listenTLS(certificates.server)] * 2
    limits = ("--max-connections=1", "--max-connections-per-peer=100")
    options = (f"--workers={workers}", *limits, f"--proxy-from={PROXY}", "--log-connections")
    with Daemon.start(tmp_path, *options, listen=listen) as daemon:
        addresses = daemon.addresses
        for version in (1, 2):
            header = headerOf("192.0.2.1", version)
            addresses += [replace(address, source=PROXY, header=header) for address in daemon.addresses]
        for _ in range(5):
            with Crowd(addresses, certificates.context()) as crowd:
                pass
            assert not crowd.refused
            assert len(crowd.served) == len(addresses)
        eventually(lambda: len(daemon.connections) == 5 * len(addresses))
        assert {one["reason"] for one in daemon.connections} == {"done"}


@pytest.mark.portable
@pytest.mark.parametrize("version", [1, 2])
def test_headerFromOtherNetworksIsData(tmp_path: Path, certificates: Certificates, version: int) -> None:
    """A header from outside the networks is data, in clear and inside TLS, and before TLS an error."""
    header = headerOf("192.0.2.1", version)
    listen = ["127.0.0.1:0", listenTLS(certificates.server)]
    with Daemon.start(tmp_path, f"--proxy-from={PROXY}", "--log-connections", listen=listen) as daemon:
        plain, secured = daemon.addresses
        assert plain.echo(header + b"hello") == (header + b"hello").upper()
        with TLSConnection.to(secured, certificates.context()) as tls:
            assert tls.ask(header + b"hello") == (header + b"hello").upper()
        with (
            pytest.raises((OSError, SSLError)),
            TLSConnection.to(replace(secured, header=header), certificates.context()),
        ):
            pass
        connections = eventually(lambda: len(daemon.connections) == 3 and daemon.connections)
        assert [one["peer"].startswith("127.0.0.1:") and "via" not in one for one in connections] == [True] * 3
        assert [one["reason"] for one in connections] == ["done", "done", "tls"]


NASTY = b"\x1b[31m\"' x=y\r\n2026-11-22T00:00:00+0000 [-] forged\x00\x07\xff\xe2\x80\xae\\n"


@pytest.mark.parametrize("isTLS", [False, True])
def test_headerCannotForgeLog(tmp_path: Path, certificates: Certificates, isTLS: bool) -> None:
    """The values of a header bring no control character, no line and no field into the log."""
    ssl = pack("!BI", 7, 0) + b"".join(pack("!BH", kind, len(NASTY)) + NASTY for kind in (0x21, 0x22, 0x23))
    headers = [
        withTLVs(IPv4Address("TCP", "192.0.2.1", 4242), (0x02, NASTY), (0x05, NASTY), (0x20, ssl)),
        withTLVs(UNIXAddress(NASTY)),
        b"PROXY TCP4 " + NASTY + b" 192.0.2.2 1 2\r\n",
        NASTY,
    ]
    listen = listenTLS(certificates.server) if isTLS else "127.0.0.1:0"
    with Daemon.start(tmp_path, f"--proxy-from={PROXY}", "--log-connections", listen=[listen]) as daemon:
        lines = daemon.text.count("\n")
        for header in headers:
            with replace(daemon.address, source=PROXY, header=header).connect() as connection:
                try:
                    tls = TLSConnection(connection, certificates.context()) if isTLS else None
                    connection.sendall(tls.seal(b"hello") if tls else b"hello")
                    assert (tls.receive() if tls else connection.recv(5)) == b"HELLO"
                except ConnectionError:
                    assert header in headers[2:]
        eventually(lambda: len(daemon.connections) == len(headers))
        log = daemon.log.read_bytes()
        assert log.count(b"\n") == lines + len(headers)
        assert all(byte == 10 or 32 <= byte < 127 for byte in log)
        first, second, *others = daemon.connections
        names = [
            "id",
            "listener",
            "peer",
            "bytes",
            "seconds",
            "reason",
            "via",
            "authority",
            "tls",
            "tls_cipher",
            "tls_cn",
            "tls_verified",
        ]
        ours = ["tls_version", "server_name"] if isTLS else []
        assert list(first) == [*names, "unique_id", *ours]
        assert list(second) == [*names[:7], *ours]
        assert [(one["reason"], list(one)) for one in others] == [("header", [*names[:6], "error"])] * 2


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00" + bytes(2**16)], ids=["HTTP", "zeros"]
)
def test_otherProtocolThanTLSGetsAlert(tmp_path: Path, certificates: Certificates, first: bytes) -> None:
    """A client that doesn't speak TLS gets an alert and a line in the log, and is open until the handshake timeout."""
    options = ("--handshake-timeout=1", "--log-connections")
    with Daemon.start(tmp_path, *options, listen=[listenTLS(certificates.server)]) as daemon:
        before = daemon.descriptors
        daemon.signal(signal.SIGSTOP)  # so all of it is there when the handshake timeout begins
        with daemon.address.connect() as connection:
            connection.sendall(first)
            daemon.signal(signal.SIGCONT)
            alert = receiveAll(connection)
            assert alert[:1] in (b"\x15", b"")
            eventually(lambda: daemon.connections)
        assert daemon.connections[0]["reason"] == "tls"
        eventually(lambda: daemon.descriptors == before)


def test_reloadUnderLoadLosesNoConnection(
    tmp_path: Path, certificates: Certificates, figure: Callable[[str], None]
) -> None:
    """After SIGHUP old connections go on, new ones get the new certificate, and none is lost."""
    file = tmp_path / "server.pem"
    contents = [Path(certificates.issue(f"reloaded{i}", "localhost")).read_bytes() for i in range(5)]
    serials = [load_pem_x509_certificate(content).serial_number for content in contents]
    file.write_bytes(contents[0])
    context = certificates.context()
    reloads: list[bytes] = []
    seen: list[tuple[int, int]] = []
    data = randomBytes(5000)

    def session() -> None:
        before = len(reloads)
        with TLSConnection.to(daemon.address, context) as tls:
            certificate = tls.tls.getpeercert()
            assert certificate
            tls.finish(data)
            assert tls.receiveAll() == data.upper()
            seen.append((before, int(str(certificate["serialNumber"]), 16)))

    def sinceReload() -> list[int]:
        return [serial for before, serial in list(seen) if before == len(reloads)]

    def reload(content: bytes) -> None:
        lines = daemon.text.count("\n")
        new = tmp_path / "new.pem"
        new.write_bytes(content)
        new.replace(file)
        daemon.signal(signal.SIGHUP)
        eventually(lambda: re.search("reload(ed)? the certificate", "\n".join(daemon.text.split("\n")[lines:])))
        reloads.append(content)
        eventually(lambda: len(sinceReload()) >= 30)

    listen = [f"ssl:0:interface=127.0.0.1:privateKey={file}"]
    with Daemon.start(tmp_path, "--log-connections", listen=listen) as daemon, ExitStack() as stack:
        old = [stack.enter_context(TLSConnection.to(daemon.address, context)) for _ in range(5)]
        with load(session, 4) as outcomes:
            for content, serial in [*zip(contents, serials, strict=True), (b"nonsense", serials[-1])]:
                reload(content)
                assert set(sinceReload()) == {serial}
                assert [tls.ask(b"hello") for tls in old] == [b"HELLO"] * len(old)
        for tls in old:
            tls.finish(b"bye")
            assert tls.receiveAll() == b"BYE"
        eventually(lambda: len(daemon.connections) == len(outcomes) + len(old))
    assert [one["reason"] for one in daemon.connections] == ["done"] * (len(outcomes) + len(old))
    assert daemon.text.count(f"cannot reload the certificate in {file}; the old one stays in use: {file}: ") == 1
    failed = [outcome for outcome in outcomes if outcome]
    figure(f"{len(outcomes)} sessions, {len(failed)} failed, over {len(contents) + 1} signals")
    assert not failed


def offer(tls: TLSConnection, size: int, patience: float, look: Callable[[], None] = lambda: None) -> int:
    """Send up to `size` bytes, until none can be sent for `patience` seconds, and return the number sent.

    `look` is called before each send.
    """
    tls.socket.settimeout(patience)
    sent = 0
    while sent < size:
        look()
        try:
            tls.socket.sendall(tls.seal(b"x" * 2**16))
        except TimeoutError:
            break
        sent += 2**16
    return sent


@pytest.mark.slow
def test_peerThatNeverReadsIsBoundedAndAborted(
    tmp_path: Path, certificates: Certificates, figure: Callable[[str], None]
) -> None:
    """Over TLS too, a peer that never reads costs little memory and no CPU time, and is aborted."""
    options = ("--stall-timeout=6", "--log-connections")
    with Daemon.start(tmp_path, *options, listen=[listenTLS(certificates.server)]) as daemon:
        before = daemon.descriptors
        with TLSConnection.to(daemon.address, certificates.context()) as tls:
            assert tls.ask(b"warm") == b"WARM"
            memory = daemon.memory
            growth = Growth(tls.socket)
            sent = offer(tls, 600 * MIB, 1.5, growth.look)
            growth.look()
            cpu, began = daemon.cpu, time.monotonic()
            time.sleep(2)
            busy = (daemon.cpu - cpu) / (time.monotonic() - began)
            grown = daemon.memory - memory
            eventually(lambda: isCut(tls.socket))
            stalled = time.monotonic() - growth.before
        eventually(lambda: "reason=stalled" in daemon.text)
        eventually(lambda: daemon.descriptors == before)
    figure(
        f"took {sent / MIB:.1f} of 600 MiB, memory grew by {grown / MIB:.1f} MiB, CPU {busy:.2%}, "
        f"aborted {stalled:.1f} s after the last byte of progress, with a stall timeout of 6 s"
    )
    assert sent < 600 * MIB
    assert grown <= 4 * MIB
    assert busy <= 0.02
    assert stalled >= 5.9


def test_peerThatDoesNotReadAfterItsEndIsAborted(tmp_path: Path, certificates: Certificates) -> None:
    """A peer that has sent its end and reads nothing is aborted after the stall timeout."""
    options = ("--stall-timeout=1", "--log-connections")
    with Daemon.start(tmp_path, *options, listen=[listenTLS(certificates.server)]) as daemon:
        before = daemon.descriptors
        with TLSConnection.to(daemon.address, certificates.context()) as tls:
            with suppress(ConnectionError):  # without a processor for a second, this process is too late
                offer(tls, 600 * MIB, 0.3)
                endSending(tls.socket)
            connections = eventually(lambda: daemon.connections)
            assert connections[0]["reason"] == "stalled"
        eventually(lambda: daemon.descriptors == before)


def test_idleConnectionIsEnded(tmp_path: Path, certificates: Certificates) -> None:
    """An idle connection gets a close_notify and a FIN, and may end its own side later."""
    options = ("--idle-timeout=3", "--stall-timeout=60", "--log-connections")
    with Daemon.start(tmp_path, *options, listen=[listenTLS(certificates.server)]) as daemon:
        before = daemon.descriptors
        with TLSConnection.to(daemon.address, certificates.context()) as tls:
            assert tls.ask(b"hello") == b"HELLO"
            assert tls.receiveAll() == b""
            assert tls.ended == CLOSE_NOTIFY
            assert tls.socket.recv(1) == b""
            time.sleep(0.5)
            assert daemon.descriptors == before + 1
            tls.finish(b"too late")
            eventually(lambda: daemon.descriptors == before)
        eventually(lambda: daemon.connections)  # the line follows the closing of the descriptor
        assert [(one["reason"], one["bytes"]) for one in daemon.connections] == [("idle", "5")]


def test_peerThatSendsAfterTheEndIsAborted(tmp_path: Path, certificates: Certificates) -> None:
    """After the daemon's end, data is discarded and the connection aborted."""
    options = ("--idle-timeout=0.5", "--stall-timeout=1", "--log-connections")
    with Daemon.start(tmp_path, *options, listen=[listenTLS(certificates.server)]) as daemon:
        before = daemon.descriptors
        with TLSConnection.to(daemon.address, certificates.context()) as tls:
            assert tls.receiveAll() == b""

            def sendMore() -> bool:
                try:
                    tls.socket.send(tls.seal(b"more"))
                except (ConnectionResetError, BrokenPipeError):
                    return True
                return False

            eventually(sendMore)
        eventually(lambda: daemon.descriptors == before)
        eventually(lambda: daemon.connections)
        assert [(one["reason"], one["bytes"]) for one in daemon.connections] == [("idle", "0")]


def test_resetsInEveryStateLeaveNothingBehind(tmp_path: Path, certificates: Certificates) -> None:
    """Resets before, in and after the handshake and the header leave no descriptor and no traceback."""
    hello = clientHello(certificates.context())
    header = headerOf("192.0.2.1", 2)
    listen = [listenTLS(certificates.server)]
    with (
        Daemon.start(tmp_path, f"--proxy-from={PROXY}", "--log-connections", listen=listen) as daemon,
        TLSConnection.to(daemon.address, certificates.context()) as other,
    ):
        assert other.ask(b"hello") == b"HELLO"
        before = daemon.descriptors
        proxied = replace(daemon.address, source=PROXY)
        beginnings = [b"", header[:20], header, header + hello[:50], header + hello, header + b"nonsense", b"nonsense"]
        for beginning in beginnings * 10:
            with proxied.connect() as connection:
                connection.sendall(beginning)
                for _ in range(3):  # turns of the reactor: uvloop doesn't log a connection reset before its protocol
                    assert other.ask(b"hello") == b"HELLO"
                reset(connection)
        for _ in range(10):
            with TLSConnection.to(daemon.address, certificates.context()) as tls:
                tls.socket.sendall(tls.seal(b"hello"))
                reset(tls.socket)
        eventually(lambda: daemon.descriptors == before)
        eventually(lambda: len(daemon.connections) == len(beginnings) * 10 + 10)


@pytest.mark.usefixtures("manyConnections")
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_idleConnectionCostsLittleMemory(
    tmp_path: Path, certificates: Certificates, figure: Callable[[str], None], version: TLSVersion
) -> None:
    """An idle TLS connection costs at most 32 KiB of memory."""
    context = certificates.context(version)
    with Daemon.start(tmp_path, listen=[listenTLS(certificates.server)]) as daemon, ExitStack() as stack:
        with TLSConnection.to(daemon.address, context) as tls:
            assert tls.ask(b"warm") == b"WARM"
        before = daemon.memory
        connections = [stack.enter_context(TLSConnection.to(daemon.address, context)) for _ in range(1000)]
        for tls in connections:
            assert tls.ask(b"hello") == b"HELLO"
        each = (daemon.memory - before) / len(connections)
        figure(f"{each / 1024:.1f} KiB for each of 1000 idle TLS connections")
        assert each <= 32 * 1024


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_stopEndsClientThatKeepsSending(tmp_path: Path, certificates: Certificates, version: TLSVersion) -> None:
    """A stop ends a client that never stops sending: it gets the echo of all that was received, then a close_notify.

    The client has a fifth of the deadline to read the rest. When it has no processor for a while then, the attempt is
    repeated.
    """
    deadline = 8.0
    options = (f"--drain-timeout={deadline:g}", "--log-connections")
    data = randomBytes(2**20)
    expected = data.upper() * 64
    for _ in range(5):
        received, longest, quick = 0, 0.0, 0.0
        with (
            Daemon.start(tmp_path, *options, listen=[listenTLS(certificates.server)]) as daemon,
            TLSConnection.to(daemon.address, certificates.context(version)) as tls,
        ):
            wire = [tls.seal(data) for _ in range(64)]
            sent = threading.Event()

            def send() -> None:
                with suppress(OSError):  # at the deadline the daemon has ended
                    for records in wire:  # noqa: B023  # the thread ends before the next attempt
                        if sent.is_set():  # noqa: B023
                            break
                        tls.socket.sendall(records)
                    tls.socket.shutdown(SHUT_WR)

            sending = threading.Thread(target=send)
            sending.start()
            try:
                with suppress(ConnectionError):  # the connection was aborted at the deadline
                    began = time.monotonic()
                    while more := tls.receive():
                        assert more == expected[received : received + len(more)]
                        if not received:
                            daemon.signal(signal.SIGTERM)
                            quick = time.monotonic() + 0.85 * deadline  # the daemon ends busy connections just before
                        received += len(more)
                        now = time.monotonic()
                        if now > quick:
                            longest = max(longest, now - began)
                        # 64 MiB last longer than the stop at this rate, and little is left at its end.
                        pause = len(more) / (2**22 if now < quick else 2**26)
                        began = now + pause
                        time.sleep(pause)
            finally:
                longest = max(longest, time.monotonic() - began)  # also if it was aborted meanwhile
                sent.set()
                sending.join(60)
            daemon.wait(60)
        if tls.ended == CLOSE_NOTIFY or longest < 0.1:
            break
    assert tls.ended == CLOSE_NOTIFY
    assert [(one["bytes"], one["reason"]) for one in daemon.connections] == [(str(received), "stopping")]


def test_stopServesArrivals(tmp_path: Path, certificates: Certificates, figure: Callable[[str], None]) -> None:
    """A stop loses no data in flight, through TLS and through a proxy.

    100 clients with a header wait in the kernel's queue, 20 with TLS are connecting, one reads 4 MiB slowly, ten are
    idle and get a close_notify, and ten don't finish the header or the handshake.
    """
    data = randomBytes(4 * MIB)
    context = certificates.context()
    listen = ["127.0.0.1:0", listenTLS(certificates.server)]
    # The stop waits for unfinished handshakes, five seconds by default, in which the others are served.
    options = ("--drain-timeout=600", f"--proxy-from={PROXY}", "--log-connections")
    with Daemon.start(tmp_path, *options, listen=listen) as daemon, ExitStack() as stack:
        plain, secured = daemon.addresses
        queue = rf" 0100007F:{secured.address[1]:04X} 0500007F:\S+ 01 "  # in /proc/net/tcp: established from 127.0.0.5
        proxied = replace(plain, source=PROXY, header=headerOf("192.0.2.1"))
        idle = [stack.enter_context(TLSConnection.to(secured, context)) for _ in range(10)]
        hanging = [stack.enter_context(secured.connect()) for _ in range(5)]
        hanging += [stack.enter_context(replace(proxied, header=b"PROX").connect()) for _ in range(5)]
        slow = stack.enter_context(
            TLSConnection.to(replace(secured, source=PROXY, header=headerOf("192.0.2.2", 2)), context)
        )
        received: list[bytes] = []

        def readSlowly() -> None:
            while more := slow.receive():
                received.append(more)
                time.sleep(0.01)

        wire = slow.seal(data, CLOSE_NOTIFY)
        reading = threading.Thread(target=readSlowly)
        reading.start()
        stack.callback(reading.join, 60)
        slow.socket.sendall(wire)
        endSending(slow.socket)
        daemon.signal(signal.SIGSTOP)
        queued = [stack.enter_context(proxied.connect()) for _ in range(100)]
        for connection in queued:
            connection.sendall(b"hello")
            connection.shutdown(SHUT_WR)
        # Their word comes with the end of the handshake: between the two the stop might find them quiet.
        crowd = stack.enter_context(Crowd([replace(secured, source="127.0.0.5")] * 20, context, together=True))
        eventually(lambda: len(re.findall(queue, Path("/proc/net/tcp").read_text())) >= 20)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGCONT)
        served = sum(receiveAll(connection) == b"HELLO" for connection in queued)
        ended = [(tls.receiveAll(), tls.ended, tls.socket.recv(1)) for tls in idle]
        crowd.end()
        for tls in idle:
            tls.finish()
        code = daemon.wait(60)
        stopped = time.monotonic() - began
        reading.join()
    echo = b"".join(received)
    figure(
        f"{served} of 100 behind a proxy and {len(crowd.served)} of 20 with TLS served, {len(echo)} of {len(data)} "
        f"bytes read slowly, exit code {code} after {stopped:.2f} s"
    )
    assert (served, len(crowd.served)) == (100, 20)
    assert echo == data.upper()
    assert ended == [(b"", CLOSE_NOTIFY, b"")] * 10
    assert code == 143
