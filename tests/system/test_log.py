"""Whatever the log does, the daemon serves and stops: a pipe that nothing reads, a reader that is gone, a full disk."""

import fcntl
import os
import re
import signal
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from select import select
from socket import AF_INET, AF_UNIX, SHUT_WR, inet_aton
from threading import Thread

import pytest

from echoup.upper import IMPLEMENTATION
from tests.support.addresses import Address, receiveAll
from tests.support.authorities import Certificates
from tests.support.commands import COMMANDS, listenTLS
from tests.support.daemon import Daemon, foreground
from tests.support.ending import ending
from tests.support.peers import isListening
from tests.support.waiting import eventually

MANY = 1000
"""Connections whose log lines are more than the daemon's queue and a pipe take."""
PIPE = 65536
"""What the pipes of these tests take, in bytes."""
SOME = 200
"""Connections whose log lines are more than a pipe takes, and less than the queue."""
AUTHORITY, UNIQUE_ID, TLS, TLS_VERSION, TLS_CN, TLS_CIPHER = 0x02, 0x05, 0x20, 0x21, 0x22, 0x23
_NOTICE = re.compile(r"dropped (\d+) lines? of the log here")
_PEER = re.compile(r"connection .* peer=192\.0\.2\.1:(\d+)")
_LISTENING = re.compile(rb'(?:listening on |"address": ")127\.0\.0\.1:(\d+)')


def field(kind: int, value: bytes) -> bytes:
    """Return a TLV of a PROXY header."""
    return struct.pack("!BH", kind, len(value)) + value


def header(number: int) -> bytes:
    """Return a PROXY header whose client has the port `number`, and whose log line has some 1400 characters."""
    long = b"\x01" * 128
    tls = b"".join(field(kind, long) for kind in (TLS_VERSION, TLS_CN, TLS_CIPHER))
    fields = field(AUTHORITY, long) + field(UNIQUE_ID, long) + field(TLS, b"\x01\0\0\0\0" + tls)
    addresses = inet_aton("192.0.2.1") * 2 + struct.pack("!HH", number, 80)
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(addresses + fields)) + addresses + fields


class Piped(Daemon):
    """A daemon whose stdout and stderr are a pipe, which is read only when a test says so."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        super().__init__(process, Path(os.devnull))
        assert process.stdout
        self._output = process.stdout
        self.output = b""
        while not (found := _LISTENING.search(self.output)):
            self.read()
        eventually(lambda: self.isRunning)
        self.to = Address(AF_INET, ("127.0.0.1", int(found[1])))

    def read(self) -> None:
        """Read on."""
        assert select([self._output], [], [], 60)[0], self.output
        more = os.read(self._output.fileno(), PIPE)
        assert more, self.output
        self.output += more

    def readAll(self) -> str:
        """Read to the end, which comes when all of its processes have ended, and return all that it wrote."""
        return (self.output + self._output.read()).decode()

    def readToNotice(self) -> str:
        """Read until it says how many lines are missing, and return all that it wrote by then."""
        while not (_NOTICE.search(self.output.decode()) and self.output.endswith(b"\n")):
            self.read()
        return self.output.decode()

    def hangUp(self) -> None:
        """Close the pipe."""
        self._output.close()

    def serve(self, *numbers: int) -> None:
        """Check that clients with these numbers are answered, one after the other."""
        for number in numbers:
            with self.to.connect() as connection:
                connection.sendall(header(number) + b"hello")
                connection.shutdown(SHUT_WR)
                assert receiveAll(connection) == b"HELLO"


@contextmanager
def piped(*options: str, command: Sequence[str] = ()) -> Iterator[Piped]:
    """Run a daemon that logs connections into a pipe, as `command` or on the test's reactor."""
    echoup = ["echoup", "--listen=127.0.0.1:0", "--proxy-from=127.0.0.0/8", "--log-connections", *options]
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    process = subprocess.Popen([*(command or foreground()), *echoup], stdout=writing, stderr=writing)
    os.close(writing)
    process.stdout = os.fdopen(reading, "rb")
    with ending(process):
        yield Piped(process)


RUNNERS = {
    "twist": [str(COMMANDS / "twist"), "--log-format=text"],
    "twist, JSON": [str(COMMANDS / "twist"), "--log-format=json"],
    "python -m twisted": [str(COMMANDS / "python"), "-m", "twisted", "--log-format=text"],
}


@pytest.mark.parametrize("workers", [1, 2])
def test_everyLineIsForOperators(reactor: str, tmp_path: Path, certificates: Certificates, workers: int) -> None:
    """A start, a session, a reload and a stop are logged in words that need no knowledge of Twisted's classes."""
    listen = ["127.0.0.1:0", f"unix:@{tmp_path}", f"unix:{tmp_path}/socket", listenTLS(certificates.server)]
    options = [f"--workers={workers}", "--udp=127.0.0.1:0", "--max-connections=100", "--log-connections"]
    with Daemon.start(tmp_path, *options, listen=listen) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"
        eventually(lambda: daemon.connections)
        daemon.signal(signal.SIGHUP)
        eventually(lambda: "reloaded" in daemon.text)
        assert daemon.stop() == 143
        lines = [line.partition("] ")[2] for line in daemon.text.splitlines()]
    if "Main loop terminated." in lines:  # not every reactor logs that
        lines.remove("Main loop terminated.")
    connection = rf"id={'[12][.]1' if workers > 1 else 1} listener=127\.0\.0\.1:0 peer=127\.0\.0\.1:\d+ bytes=5"
    expected = [
        r"settings: listen=127\.0\.0\.1:0,.* log-connections=yes log-format=text",
        r"twistd \S+ \(.*\) starting up\.",
        r"reactor class: \S+\.",
        r"listening on 127\.0\.0\.1:\d+",
        rf"listening on unix:@{tmp_path}",
        rf"listening on unix:{tmp_path}/socket",
        r"listening on tls:127\.0\.0\.1:\d+",
        r"listening on udp:127\.0\.0\.1:\d+",
        rf"certificate {certificates.server}: .*, valid until \S+ \(\d+ days\)",
        rf"upper-casing in {IMPLEMENTATION}",
        rf"connection {connection} seconds=\d\.\d{{3}} reason=done",
        rf"reloaded the certificate in {certificates.server}",
        r"Received SIGTERM, shutting down\.",
        r"served 1 connection, 5 bytes",
        r"Server Shut Down\.",
    ]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line


@pytest.mark.parametrize("workers", [1, 2])
def test_unreadLogIsCut(reactor: str, workers: int) -> None:
    """While nothing reads the log, all clients are answered; when it is read, it says how many lines are missing.

    With a limit to each peer the supervisor is asked about each connection, so it doesn't lag behind with their lines.
    """
    with piped(f"--workers={workers}", "--max-connections-per-peer=100") as daemon:
        daemon.serve(*range(1, MANY + 1))
        with daemon.to.connect() as last:
            last.sendall(header(MANY + 1) + b"hello")
            assert last.recv(5) == b"HELLO"  # so the process has logged those that it served before
            text = daemon.readToNotice()
            (missing,) = map(int, _NOTICE.findall(text))
            logged = [int(number) for number in _PEER.findall(text)]
        daemon.signal(signal.SIGTERM)
        rest = daemon.readAll().removeprefix(text)
        assert daemon.wait() == 143
    late = [int(number) for number in _PEER.findall(rest)]
    assert len(logged) + missing + len(late) == MANY + 1
    if workers == 1:  # with more, their lines come together in any order
        assert logged == [*range(1, len(logged) + 1)]
        assert late == [MANY + 1]
    assert f"served {MANY + 1} connections" in rest
    assert rest.splitlines()[-1].endswith("Server Shut Down.")


@pytest.mark.parametrize("workers", [1, 2])
def test_unreadLogDoesNotPreventTheEnd(reactor: str, workers: int) -> None:
    """A daemon whose log is full and isn't read ends on the second SIGTERM, while a connection is open."""
    with piped(f"--workers={workers}", "--drain-timeout=600") as daemon, daemon.to.connect() as connection:
        connection.sendall(header(1) + b"hello")
        assert connection.recv(5) == b"HELLO"
        daemon.serve(*range(2, SOME))
        daemon.signal(signal.SIGTERM)
        while connection.recv(5):  # the stop ends a quiet connection, which its client may keep
            pass
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 143


@pytest.mark.portable
@pytest.mark.parametrize("runner", RUNNERS)
def test_unreadLogOfOtherRunners(runner: str) -> None:
    """The same holds for `twist` in both of its formats, and `python -m twisted`."""
    with piped(command=RUNNERS[runner]) as daemon:
        daemon.serve(*range(1, SOME))
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 143


@pytest.mark.parametrize("workers", [1, 2])
def test_healthyLogIsWhole(reactor: str, workers: int) -> None:
    """A log that is read lacks nothing, up to its last line."""
    with piped(f"--workers={workers}") as daemon:
        lines: list[str] = []
        reader = Thread(target=lambda: lines.extend(daemon.readAll().splitlines()))
        reader.start()
        daemon.serve(*range(1, SOME + 1))
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 143
        reader.join()
    assert sorted(map(int, _PEER.findall("\n".join(lines)))) == [*range(1, SOME + 1)]
    last = [line.partition("] ")[2] for line in lines[-3:]]
    if "Main loop terminated." in last:  # not every reactor logs that
        last.remove("Main loop terminated.")
    assert last[-2:] == [f"served {SOME} connections, {SOME * 5} bytes", "Server Shut Down."]


def test_goneReaderOfTheLog(reactor: str) -> None:
    """A daemon whose log's reader has gone serves, and stops as usual."""
    with piped() as daemon:
        daemon.hangUp()
        daemon.serve(*range(1, SOME))
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 143


def test_fullDisk(reactor: str, tmp_path: Path) -> None:
    """A daemon whose log is on a full disk serves, and stops as usual."""
    address = Address(AF_UNIX, f"{tmp_path}/socket")
    command = [*foreground(), "echoup", f"--listen={address.target}", "--log-connections"]
    with Path("/dev/full").open("wb") as full, ending(subprocess.Popen(command, stdout=full, stderr=full)) as process:
        eventually(lambda: isListening(address))
        for _ in range(100):
            assert address.echo(b"hello") == b"HELLO"
        process.terminate()
        assert Daemon(process, Path(os.devnull)).wait() == 143


def test_suspendedSupervisor(reactor: str) -> None:
    """Workers serve while the supervisor, which reads their logs, is suspended; no line is lost."""
    with piped("--workers=2") as daemon:
        daemon.signal(signal.SIGSTOP)
        daemon.serve(*range(1, 80))
        daemon.signal(signal.SIGCONT)
        while len(_PEER.findall(daemon.output.decode())) < 79:  # a worker that ends waits a second for its log
            daemon.read()
        daemon.signal(signal.SIGTERM)
        text = daemon.readAll()
        assert daemon.wait() == 143
    assert sorted(map(int, _PEER.findall(text))) == [*range(1, 80)]
