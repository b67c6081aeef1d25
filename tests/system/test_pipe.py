"""`echoup connect` with a pipe, a file or nothing as standard input."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.addresses import Address
from tests.support.chance import randomBytes
from tests.support.commands import CONNECT, connect
from tests.support.daemon import Daemon, residentMemory
from tests.support.descriptors import unread
from tests.support.ending import ending
from tests.support.servers import serving
from tests.support.sizes import MIB
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon on IPv4, IPv6 and a Unix socket."""
    folder = tmp_path_factory.mktemp("daemon")
    with Daemon.start(folder, listen=["127.0.0.1:0", "[::1]:0", f"unix:{folder}/socket"]) as daemon:
        yield daemon


@pytest.mark.portable
def test_readmeExample(daemon: Daemon) -> None:
    """The example of the README: the input comes out in upper case, with any address."""
    for address in daemon.addresses:
        ended = connect(address.target, b"hello\nworld")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"HELLO\nWORLD", b"")


@pytest.mark.portable
def test_moduleIsSameCommand(daemon: Daemon) -> None:
    """`python -m echoup` is the same command."""
    command = [sys.executable, "-m", "echoup", "connect", daemon.address.target]
    assert subprocess.check_output(command, input=b"hello", timeout=60) == b"HELLO"


def test_nameIsResolved(daemon: Daemon) -> None:
    """A name is resolved, and the address that answers is used."""
    assert connect(f"localhost:{daemon.address.address[1]}", b"hello").stdout == b"HELLO"


@pytest.mark.portable
def test_everyByteComesBack(daemon: Daemon) -> None:
    """All bytes but a to z come back unchanged."""
    data = bytes(range(256)) * 1000
    assert connect(daemon.address.target, data).stdout == data.upper()


def test_filesAreStreams(daemon: Daemon, tmp_path: Path) -> None:
    """Standard input and output can be files."""
    source, sink = tmp_path / "source", tmp_path / "sink"
    data = randomBytes(3 * MIB)
    source.write_bytes(data)
    with source.open("rb") as stdin, sink.open("wb") as stdout:
        subprocess.run([*CONNECT, daemon.address.target], stdin=stdin, stdout=stdout, check=True, timeout=60)
    assert sink.read_bytes() == data.upper()


def test_emptyInputIsRight(daemon: Daemon) -> None:
    """With /dev/null, or no standard input at all, the connection is made and ended, and that is right."""
    ended = connect(daemon.address.target, stdin=subprocess.DEVNULL)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    closed = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *CONNECT, daemon.address.target], check=False, timeout=60)
    assert closed.returncode == 0


def test_inputIsSentAtOnce(daemon: Daemon) -> None:
    """Bytes are sent, and come back, before the input has ended."""
    command = [*CONNECT, daemon.address.target]
    with ending(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as client:
        assert client.stdin
        assert client.stdout
        for _ in range(3):
            client.stdin.write(b"ping")
            client.stdin.flush()
            assert client.stdout.read(4) == b"PING"
        client.stdin.close()
        assert client.wait(60) == 0


@pytest.mark.slow
def test_constantMemory(daemon: Daemon, figure: Callable[[str], None]) -> None:
    """1 GiB goes through in constant memory, exactly."""
    measure = (
        "import resource, subprocess, sys;"
        "print(int(subprocess.check_output(['bash', '-o', 'pipefail', '-c', *sys.argv[1:]])),"
        "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    pipeline = "head -c 1073741824 /dev/zero | tr '\\0' a | \"$@\" | tr -d A | wc -c"
    command = [sys.executable, "-c", measure, pipeline, "bash", *CONNECT, daemon.address.target]
    output = subprocess.check_output(command, timeout=170)
    wrong, peak = map(int, output.split())
    figure(f"1 GiB, {wrong} bytes wrong, peak memory {peak / 1024:.0f} MiB")
    assert wrong == 0
    assert peak < 100 * 1024


def test_unreadOutputStopsInput(daemon: Daemon, figure: Callable[[str], None]) -> None:
    """While the output isn't read, no more input is read, memory stays bounded, and nothing times out."""
    command = [*CONNECT, "--timeout=3", daemon.address.target]  # enough for the daemon's answer, under load too
    with ending(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as client:
        assert client.stdin
        assert client.stdout
        os.set_blocking(client.stdin.fileno(), False)
        chunk, sent, quiet = b"x" * 65536, 0, time.monotonic()
        while time.monotonic() - quiet < 5:
            try:
                sent += os.write(client.stdin.fileno(), chunk)
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        memory = residentMemory(client.pid) / MIB
        figure(f"took {sent / MIB:.1f} MiB of an endless input while its output wasn't read, memory {memory:.0f} MiB")
        assert client.poll() is None
        assert memory < 100
        client.stdin.close()
        assert client.stdout.read() == b"X" * sent
        assert client.wait(60) == 0


def test_closedOutputEndsQuietly(daemon: Daemon) -> None:
    """When the reader of the output exits it ends without a message, with the exit code of a broken pipe."""
    script = '(yes | "$@"; echo $? >&2) | head -1'
    ended = subprocess.run(
        ["bash", "-c", script, "bash", *CONNECT, daemon.address.target], capture_output=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == (b"Y\n", b"141\n")


def test_fullDiskIsReported(daemon: Daemon) -> None:
    """When the output can't be written, that is reported, and is a failure."""
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*CONNECT, daemon.address.target],
            input=b"hello",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (141, b"echoup: the output can't be written\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("openSink", [os.pipe, os.openpty])
def test_streamsKeepBlocking(daemon: Daemon, number: int, openSink: Callable[[], tuple[int, int]]) -> None:
    """Other processes that share its standard streams find them unchanged, while it runs and when it was killed."""
    (source, feed), (drain, sink) = os.pipe(), openSink()
    with ExitStack() as stack:
        for descriptor in (source, feed, drain, sink):
            stack.callback(os.close, descriptor)
        os.write(feed, b"hello")
        command = [*CONNECT, daemon.address.target]
        client = stack.enter_context(ending(subprocess.Popen(command, stdin=source, stdout=sink)))
        assert os.read(drain, 5) == b"HELLO"
        assert os.get_blocking(source)
        assert os.get_blocking(sink)
        client.send_signal(number)
        assert client.wait(60) in (130, -9)
        assert os.get_blocking(source)
        assert os.get_blocking(sink)


def test_sharedPipeLosesNothing(daemon: Daemon) -> None:
    """What another process writes to the same pipe isn't lost, however late it is read."""
    drain, sink = os.pipe()
    command = [*CONNECT, daemon.address.target]
    with (
        os.fdopen(drain, "rb") as output,
        ending(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sink)) as client,
    ):
        assert client.stdin
        client.stdin.write(b"hello")
        client.stdin.flush()
        assert output.read(5) == b"HELLO"
        with ending(subprocess.Popen(["seq", "20000"], stdout=sink)) as other:
            os.close(sink)
            eventually(lambda: other.poll() is not None or unread(output) == 65536)
            client.stdin.close()
            assert output.read() == b"".join(b"%d\n" % number for number in range(1, 20001))
            assert (other.wait(60), client.wait(60)) == (0, 0)


@pytest.mark.parametrize("server", ["tutorial", "netcat"])
def test_otherServersAnswer(server: str) -> None:
    """It works with other servers that uppercase: a tutorial's, and netcat with `tr` behind it."""
    data = b"hello\nworld" * 10_000
    with serving(server) as address:
        ended = connect(address.target, data)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, data.upper(), b"")


FAULTS = [
    ("unchanged", 1, b": unchanged: the bytes came back as they were sent, so something in between answered\n"),
    (
        "corrupting",
        1,
        (
            b": corrupted: byte 1000 of the reply is not the upper case of the one sent: "
            b'expected "HELLHELL", got "IELLHELL"\n'
        ),
    ),
    (
        "chatty",
        1,
        (
            b": corrupted: byte 0 of the reply is not the upper case of the one sent; "
            b'it begins with "\\x1b[31mWELCOME\\r\\nHELLHELLHE", expected "HELLHELL"\n'
        ),
    ),
    ("silent", 5, b": timed out: nothing came back in 3 s\n"),
    ("endless", 5, b": timed out: all 4000 bytes came back, but the server did not close the connection within 3 s\n"),
    ("short", 7, b": the server closed the connection, 3 of 4000 bytes came back\n"),
    ("resetting", 7, b": the server reset the connection, 3 of 4000 bytes came back\n"),
]


@pytest.mark.parametrize(("server", "code", "message"), FAULTS)
def test_faultIsReported(server: str, code: int, message: bytes) -> None:
    """Each fault of a server has its exit code, and one line that says what is wrong and where."""
    with serving(server) as address:
        ended = connect(address.target, b"hell" * 1000, f"--timeout={3 if code == 5 else 30}")
        assert (ended.returncode, ended.stderr) == (code, b"echoup: " + address.target.encode() + message)


def test_addressFollowsName() -> None:
    """Of a server with a name, the address that was reached is reported too."""
    with serving("unchanged") as address:
        name = f"localhost:{address.address[1]}"
        ended = connect(name, b"hello")
        why = "unchanged: the bytes came back as they were sent, so something in between answered"
        assert (ended.returncode, ended.stderr.decode()) == (1, f"echoup: {name} ({address.target}): {why}\n")


@contextmanager
def talking(target: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run `echoup connect` in a pipe that stays open, and check that it works."""
    command = [*CONNECT, target]
    with ending(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ) as client:
        assert client.stdin
        assert client.stdout
        client.stdin.write(b"hello")
        client.stdin.flush()
        assert client.stdout.read(5) == b"HELLO"
        yield client


def test_closedDuringInputIsShort(tmp_path: Path) -> None:
    """A server that stops in the middle of the input makes it short."""
    with Daemon.start(tmp_path) as daemon, talking(daemon.address.target) as client:
        daemon.signal(signal.SIGTERM)
        assert client.wait(60) == 7
        assert client.stderr
        assert client.stderr.read().endswith(b": the server closed the connection, 5 of 5 bytes came back\n")


CONNECT_FAULTS = [
    ("no.such.name.invalid", 3, "cannot resolve no.such.name.invalid: no address found"),
    ("no_such.invalid:1", 3, "cannot resolve no_such.invalid: no address found"),
    ("127.0.0.1:1", 4, "cannot connect to 127.0.0.1:1: Connection refused"),
    ("localhost:1", 4, "cannot connect to localhost:1 (127.0.0.1:1): Connection refused"),
    ("unix:/no/such/socket", 4, "cannot connect to unix:/no/such/socket: No such file or directory"),
    (
        "8081",
        2,
        "Invalid value for TARGET: '8081' is a port without a host",
    ),
    ("http://localhost:8081", 2, "Invalid value for TARGET: 'http://localhost:8081' is a URL"),
    ("two\nlines", 2, "Invalid value for TARGET: 'two\\nlines' is not an address"),
]
"""Three mistakes of usage among them: the tests of tests/client prove the words for all others."""


@pytest.mark.parametrize(("target", "code", "message"), CONNECT_FAULTS)
def test_connectFaultIsReported(target: str, code: int, message: str) -> None:
    """A target that can't be parsed, resolved or connected to has its exit code, and one line that says why."""
    ended = connect(target, b"hello")
    assert ended.returncode == code
    assert ended.stderr.decode().startswith(f"echoup: {message}")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("target", "timeout", "told"), [("{}", 1, "timed out after 1 s"), ("tcp:{}:timeout=1", 30, "timed out")]
)
def test_unansweredConnectTimesOut(target: str, timeout: int, told: str) -> None:
    """A connection that isn't made in time is given up: here the queue of the listening socket is full."""
    with serving("silent") as address:
        waiting = [_open(address) for _ in range(200)]
        ended = connect(target.format(address.target), b"hello", f"--timeout={timeout}")
        for connection in waiting:
            os.close(connection)
    assert (ended.returncode, ended.stderr.decode()) == (5, f"echoup: cannot connect to {address.target}: {told}\n")


def _open(address: Address) -> int:
    """Begin a connection, without waiting for it."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex(address.address)
    return connection.detach()


def test_slowResolverTimesOut(figure: Callable[[str], None]) -> None:
    """A resolver that takes ten minutes doesn't delay the client beyond its timeout."""
    script = (
        "import socket, sys, time; socket.getaddrinfo = lambda *_: time.sleep(600);"
        "from echoup.client.cli import main; main()"
    )
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", script, "connect", "--timeout=1", "name.invalid"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    took = time.monotonic() - began
    figure(f"gave up on a name after {took:.1f} s, with a timeout of 1 s")
    assert (ended.returncode, ended.stderr) == (
        5,
        b"echoup: cannot resolve name.invalid: timed out after 1 s\n",
    )


@pytest.mark.parametrize("timeout", ["0", "nan", "soon"])
def test_badTimeoutIsMistake(timeout: str) -> None:
    """A timeout that is no number of seconds is a mistake of usage."""
    ended = connect("127.0.0.1", b"", f"--timeout={timeout}")
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"echoup: Invalid value for '-W' / '--timeout'")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signalEndsQuietly(daemon: Daemon, number: int) -> None:
    """A signal ends it without a message, with the exit code that shells use for it, and the daemon logs no error."""
    with talking(daemon.address.target) as client:
        client.send_signal(number)
        assert client.wait(60) == 128 + number
        assert client.stderr
        assert client.stderr.read() == b""
    assert daemon.address.echo(b"hello") == b"HELLO"
