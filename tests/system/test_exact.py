"""The promise Exact: every byte comes back in upper case, and then the end."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from socket import MSG_OOB, SHUT_WR

import pytest

from tests.support.addresses import receiveAll
from tests.support.authorities import TLS_1_2, TLS_1_3, Certificates
from tests.support.chance import randomBytes
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.reactors import MULTIPLEXERS, REACTORS
from tests.support.tls import ENDS
from tests.support.waiting import eventually
from tests.support.ways import HEADERS, Way

pytestmark = pytest.mark.usefixtures("reactor")

TRANSPORTS = ("plain", "TLS", "PROXY", "PROXY and TLS")
CELLS = [
    (reactor, transport)
    for reactor in MULTIPLEXERS
    for transport in TRANSPORTS
    if reactor in REACTORS or "PROXY" not in transport  # a header is read before a multiplexer matters
]
SIZES = {0: 5, 1: 5, 1000: 5, 65535: 5, 65536: 5, 65537: 5, 2**20: 3, 16 * 2**20: 1}
"""Sizes of the data, and how often each is sent."""
AT_A_TIME = 4
"""Sessions that are open at the same time: a late reader mostly waits."""


@contextmanager
def served(transport: str, folder: Path, certificates: Certificates) -> Iterator[tuple[Daemon, list[Way]]]:
    """Run a daemon, and yield it with all ways to it with `transport`, one of TRANSPORTS."""
    options = ["--log-connections"]
    listen = ["127.0.0.1:0", "[::1]:0", f"unix:{folder}/socket"]
    if "PROXY" in transport:
        options.append("--proxy-from=127.0.0.0/8")
        listen = listen[:1]
    if "TLS" in transport:
        listen = [listenTLS(certificates.server)]
    with Daemon.start(folder, *options, listen=listen) as daemon:
        addresses = daemon.addresses
        if "PROXY" in transport:
            addresses = [replace(daemon.address, header=header) for header in HEADERS.values()]
        if "TLS" in transport:
            contexts = [certificates.context(version) for version in (TLS_1_2, TLS_1_3)]
            yield daemon, [Way(*way) for way in product(addresses, contexts, ENDS)]
        else:
            yield daemon, [Way(address) for address in addresses]


def exchange(data: bytes, session: tuple[Way, bool, int]) -> bytes:
    """Return the echo of `data` in a session: its way, whether it reads late, and its number."""
    way, late, repetition = session
    return way.exchange(data, late, together=repetition % 2 == 0)


@pytest.mark.slow
@pytest.mark.parametrize(("reactor", "transport"), CELLS, indirect=["reactor"])
def test_halfCloseLosesNothing(
    tmp_path: Path, certificates: Certificates, figure: Callable[[str], None], transport: str
) -> None:
    """A half-close loses nothing: every size, early and late reader, every transport and every kind of end.

    Plain: TCP over IPv4 and IPv6, and Unix. TLS: 1.2 and 1.3, ended by a close_notify in one segment with data, by one
    before a FIN, or by a FIN alone; the daemon always ends its side with a close_notify. PROXY: version 1 and 2.
    """
    lost = sessions = 0
    with served(transport, tmp_path, certificates) as (daemon, ways), ThreadPoolExecutor(AT_A_TIME) as pool:
        before = daemon.descriptors
        for size, repetitions in SIZES.items():
            data = randomBytes(size)
            expected = data.upper()
            for received in pool.map(partial(exchange, data), product(ways, (False, True), range(repetitions))):
                sessions += 1
                lost += size - len(received)
                assert received == expected
        ended = eventually(lambda: daemon.text.count("reason=done") == sessions and daemon.text)
        after = eventually(lambda: daemon.descriptors == before and before)
    figure(
        f"{sessions} sessions, {lost} bytes lost, {ended.count('reason=done')} closed, descriptors {before}, {after}"
    )
    assert ended.count("peer=192.0.2.1:4242 ") == sessions * ("PROXY" in transport)


@pytest.mark.portable
def test_shortSessionsAreExact(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """2000 short sessions are exact."""
    with Daemon.start(tmp_path) as daemon:
        wrong = sum(daemon.address.echo(b"hello") != b"HELLO" for _ in range(2000))
    figure(f"2000 sessions, {wrong} wrong")
    assert wrong == 0


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:{}/socket"])
def test_urgentByteIsEchoed(tmp_path: Path, listen: str) -> None:
    """An urgent byte is echoed in its place in the stream."""
    with Daemon.start(tmp_path, listen=[listen.format(tmp_path)]) as daemon, daemon.address.connect() as connection:
        connection.sendall(b"before")
        connection.send(b"!", MSG_OOB)
        connection.sendall(b"after")
        connection.shutdown(SHUT_WR)
        assert receiveAll(connection) == b"BEFORE!AFTER"


def test_urgentBytesBeforeTheAcceptAreEchoed(tmp_path: Path) -> None:
    """Urgent bytes are echoed in their places also if they came before the connection was accepted."""
    with Daemon.start(tmp_path, listen=["127.0.0.1:0", "tcp:0:interface=127.0.0.1"]) as daemon:
        daemon.signal(signal.SIGSTOP)
        connections = [address.connect() for address in daemon.addresses]
        for connection in connections:
            connection.send(b"a", MSG_OOB)
            connection.send(b"b", MSG_OOB)
            connection.shutdown(SHUT_WR)
        daemon.signal(signal.SIGCONT)
        for connection in connections:
            with connection:
                assert receiveAll(connection) == b"AB"


@pytest.mark.portable
def test_portAloneIsEveryAddress(tmp_path: Path) -> None:
    """A port alone, and `*:PORT`, mean every address, IPv4 and IPv6 side by side."""
    with Daemon.start(tmp_path, listen=["0", "*:0"]) as daemon:
        assert [address.address[0] for address in daemon.addresses] == ["0.0.0.0", "::"] * 2  # noqa: S104
        assert [address.echo(b"hello") for address in daemon.addresses] == [b"HELLO"] * 4


@pytest.mark.portable
def test_endpointStringsListen(tmp_path: Path) -> None:
    """The daemon listens on Twisted's endpoint strings, with a Unix socket's options."""
    path = tmp_path / "socket"
    listen = ["tcp:0:interface=127.0.0.1", "tcp6:0:interface=\\:\\:1", f"unix:{path}:mode=600:lockfile=1"]
    with Daemon.start(tmp_path, listen=listen) as daemon:
        assert [address.echo(b"hello") for address in daemon.addresses] == [b"HELLO"] * 3
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.is_socket()
