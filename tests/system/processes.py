"""Start, watch and stop the processes under test."""

import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from socket import AF_INET, AF_INET6, AF_UNIX, MSG_MORE, SHUT_WR, SO_RCVBUF, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any, Self

import pyte
from ptyprocess import PtyProcess

COMMANDS = Path(sys.executable).parent
REACTORS = tuple(os.environ.get("TEST_REACTORS", "epoll uvloop asyncio poll select").split())
"""The reactors of the daemons under test; where a test needs just one, it is the first."""
_LISTENING = re.compile(r"listening on (?!udp:)(tls:)?(?:unix:(\S+)|\[(\S+)\]:(\d+)|([^\s:]+):(\d+))")


def twistd(*arguments: str) -> list[str]:
    """Return the command line of twistd with `arguments`."""
    measured = "COVERAGE_PROCESS_CONFIG" in os.environ or "COVERAGE_PROCESS_START" in os.environ
    command = [sys.executable, "-m", "tests.system.measured"] if measured else [str(COMMANDS / "twistd")]
    return [*command, *arguments]


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return the first true value of `condition`, or fail if there is none within `seconds`, even on a busy machine."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{condition} did not come true in {seconds} s"
        time.sleep(0.01)
    return value


def inTime(measure: Callable[[], float], limit: float) -> bool:
    """Does `measure` return `limit` seconds at most, once in three times?

    Whoever else uses the machine can only make it later.
    """
    return any(measure() <= limit for _ in range(3))


@dataclass(frozen=True)
class Address:
    """An address to connect to."""

    family: int
    address: Any
    isTLS: bool = False
    """Does it speak TLS? `connect` doesn't: `tests.system.tls` does, with the socket that `connect` returns."""
    header: bytes = b""
    """A PROXY header, to send before anything else and in one segment with it."""
    source: str = ""
    """The address to connect from."""

    def connect(self, timeout: float = 30.0, receiveBuffer: int = 0) -> socket:
        """Return a connected socket that no test can hang on; it begins with the header."""
        connection = socket(self.family, SOCK_STREAM)
        connection.settimeout(timeout)
        if receiveBuffer:
            # SO_RCVBUF has to be set before the connection, for the window to follow it (tcp(7)).
            connection.setsockopt(SOL_SOCKET, SO_RCVBUF, receiveBuffer)
        try:
            if self.source:
                connection.bind((self.source, 0))
            connection.connect(self.address)
            if self.header:
                connection.sendall(self.header, MSG_MORE)
        except OSError:
            connection.close()
            raise
        return connection

    def echo(self, data: bytes) -> bytes:
        """Send a little `data`, then the end, and return all that comes back."""
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(SHUT_WR)
            return receiveAll(connection)

    @property
    def target(self) -> str:
        """The address as `echoup connect` takes it."""
        if self.family == AF_UNIX:
            return f"unix:{self.address}"
        host, port = self.address[:2]
        name = f"[{host}]:{port}" if self.family == AF_INET6 else f"{host}:{port}"
        return f"tls:{name}" if self.isTLS else name


def receiveAll(connection: socket) -> bytes:
    """Read up to the end."""
    received = []
    while data := connection.recv(2**20):
        received.append(data)
    return b"".join(received)


class Daemon:
    """A running `twistd -n echoup`, with everything that can be seen of it from outside."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, pid: int = 0) -> None:
        self.process = process
        self.log = log
        self.pid = pid or process.pid

    @classmethod
    def start(
        cls,
        folder: Path,
        *options: str,
        listen: Sequence[str] = ("127.0.0.1:0",),
        reactor: str = REACTORS[0],
        descriptors: int = 0,
        command: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        inherited: Sequence[int] = (),
    ) -> Self:
        """Start it in `folder` and wait until it listens.

        `descriptors` is its `ulimit -n`; `inherited` are those of our own that it gets, too.
        """
        runner = command or twistd(f"--reactor={reactor}", "-n", "--pidfile=")
        listening = [f"--listen={description}" for description in listen]
        log = folder / "log"

        limit = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh"] if descriptors else []
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*limit, *runner, "echoup", *listening, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                pass_fds=inherited,
            )
        daemon = cls(process, log)
        try:
            eventually(lambda: (daemon.addresses and daemon.isRunning) or process.poll() is not None)
            assert process.poll() is None, daemon.text
        except BaseException:
            daemon.kill()
            raise
        return daemon

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def isRunning(self) -> bool:
        """Does its reactor run?

        Catching SIGCHLD is what Twisted's reactors do last before that. uvloop opens some descriptors even later,
        before it waits for the first time.
        """
        status = Path(f"/proc/{self.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        isWaiting = "poll" in Path(f"/proc/{self.pid}/wchan").read_text()
        return isWaiting and bool(caught >> (signal.SIGCHLD - 1) & 1)

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="backslashreplace")

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, in the order of the `--listen` options."""
        found = []
        for tls, path, v6, port6, host, port in _LISTENING.findall(self.text):
            if path:
                found.append(Address(AF_UNIX, path))
            elif v6:
                found.append(Address(AF_INET6, (v6, int(port6)), bool(tls)))
            else:
                found.append(Address(AF_INET, (host, int(port)), bool(tls)))
        return found

    @property
    def address(self) -> Address:
        """Where it listens first."""
        return self.addresses[0]

    @property
    def connections(self) -> list[dict[str, str]]:
        """What the log tells of each connection that has ended, with --log-connections."""
        lines = re.findall(r"\] connection (peer=.*)", self.text)
        return [dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)) for line in lines]

    @property
    def descriptors(self) -> int:
        """How many file descriptors it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def memory(self) -> int:
        """Its resident memory, in bytes."""
        return residentMemory(self.pid)

    @property
    def cpu(self) -> float:
        """The seconds of processor time that its main thread, which does all the work, has used."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        """Wait for its end and return the exit code, or what a shell would say of the signal."""
        code = self.process.wait(seconds)
        return 128 - code if code < 0 else code

    def stop(self) -> int:
        """End it gracefully, if it still runs."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            return self.wait()
        self.kill()
        raise AssertionError(f"the daemon did not end:\n{self.text}")

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


def residentMemory(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(name: str) -> Iterator[Address]:
    """Run one of `tests.system.servers` in a process of its own."""
    command = [sys.executable, "-m", "tests.system.servers", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield Address(AF_INET, ("127.0.0.1", int(process.stdout.readline())))
        finally:
            process.kill()


class Terminal:
    """A program on a terminal of its own, seen as a person sees it: what stands on the screen."""

    def __init__(self, *command: str) -> None:
        self._process = PtyProcess.spawn(list(command), dimensions=(24, 100))
        self._screen = pyte.Screen(100, 24)
        # Programs ask a terminal where its cursor is, and wait for the answer.
        self._screen.write_process_input = self._answer  # type: ignore[method-assign]  # as its documentation says
        self._stream = pyte.ByteStream(self._screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close(force=True)

    def _answer(self, data: str) -> None:
        self._process.write(data.encode())

    @property
    def text(self) -> str:
        """What stands on the screen, without the blanks at the ends of lines and the empty lines at the end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def isCooked(self) -> bool:
        """Does the terminal edit and echo lines itself, as a shell expects to find it?"""
        flags: int = termios.tcgetattr(self._process.fd)[3]
        return flags & (termios.ICANON | termios.ECHO | termios.ISIG) == termios.ICANON | termios.ECHO | termios.ISIG

    def isCatching(self, number: int) -> bool:
        """Does the program catch a signal by now?"""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)

    def type(self, keys: str) -> None:
        """Press keys."""
        self._process.write(keys.encode())

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        self._process.kill(number)

    def shows(self, text: str) -> None:
        """Wait until the screen ends with `text`."""
        eventually(lambda: self.text.endswith(text) or not self._read() or self.text.endswith(text))
        assert self.text.endswith(text), self.text

    def exits(self) -> int:
        """Wait for the end of the program, and return its exit code."""
        eventually(lambda: not self._read())
        return int(self._process.wait())

    def _read(self) -> bool:
        """Take in what the program writes in the next moment; False at the end of it all."""
        if select([self._process.fd], [], [], 0.05)[0]:
            try:
                self._stream.feed(self._process.read(65536))
            except EOFError:
                return False
        return True
