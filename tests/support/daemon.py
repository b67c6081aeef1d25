"""Start, observe and stop the daemon under test."""

import os
import re
import signal
import subprocess
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from socket import AF_INET, AF_INET6, AF_UNIX
from typing import Self

from tests.support.addresses import Address
from tests.support.commands import twistd, unmeasured
from tests.support.descriptors import openDescriptors
from tests.support.reactors import REACTORS
from tests.support.waiting import eventually

_LISTENING = re.compile(r"listening on (?!udp:)(tls:)?(?:unix:(\S+)|\[(\S+)\]:(\d+)|([^\s:]+):(\d+))")
_STOPPING = re.compile(r"^.*\] Received SIG\w+, shutting down", re.MULTILINE)


def foreground(reactor: str = "") -> list[str]:
    """Return the command line of a twistd in the foreground, on `reactor` or on the test's reactor."""
    return twistd(f"--reactor={reactor or Daemon.reactor}", "-n", "--pidfile=")


class Daemon:
    """A running `twistd -n echoup`, seen from outside.

    A thread of the daemon writes its log, so a line may come later than the event that it reports. While the daemon
    runs, wait for a line with `eventually`. Only the log of a daemon that has ended shows that a line is missing.
    """

    reactor = REACTORS[0]
    """The reactor of daemons for which the test names no other."""

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
        reactor: str = "",
        descriptors: int = 0,
        command: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        inherited: Sequence[int] = (),
    ) -> Self:
        """Start it in `folder` and wait until it listens.

        `descriptors` is its `ulimit -n`; `inherited` are descriptors of this process that it inherits.
        """
        runner = command or foreground(reactor)
        listening = [f"--listen={description}" for description in listen]
        log = folder / "log"

        # The daemon's code is the same on all reactors, so one of them is enough for its coverage.
        inheritedEnvironment = os.environ if (reactor or cls.reactor) == "uvloop" else unmeasured()
        variables = {**inheritedEnvironment, **(environment or {})}
        limit = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh"] if descriptors else []
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*limit, *runner, "echoup", *listening, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop it; unless the test has already failed, require a log without a traceback."""
        self.stop()
        assert kind or "Traceback" not in self.text, self.text

    @property
    def isRunning(self) -> bool:
        """Whether its reactor runs.

        Catching SIGCHLD is the last thing that Twisted's reactors do before they run. uvloop opens some descriptors
        later, before its first wait; a reactor that is in poll, or has served a connection, has done so.
        """
        status = Path(f"/proc/{self.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        hasWaited = "poll" in Path(f"/proc/{self.pid}/wchan").read_text() or "] connection id=" in self.text
        return hasWaited and bool(caught >> (signal.SIGCHLD - 1) & 1)

    @property
    def text(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="backslashreplace")

    @property
    def textBeforeStop(self) -> str:
        """Its output, once it has ended, up to the line about the signal that stopped it."""
        assert self.process.poll() is not None, "the log of a running daemon may lack lines"
        before, *after = _STOPPING.split(self.text, maxsplit=1)
        assert after, self.text
        return before

    @property
    def addresses(self) -> list[Address]:
        """The addresses on which it listens, in the order of the `--listen` options."""
        found = []
        for tls, path, v6, port6, host, port in _LISTENING.findall(self.text):
            if path:
                found.append(Address(AF_UNIX, "\0" + path[1:] if path.startswith("@") else path))
            elif v6:
                found.append(Address(AF_INET6, (v6, int(port6)), bool(tls)))
            else:
                found.append(Address(AF_INET, (host, int(port)), bool(tls)))
        return found

    @property
    def address(self) -> Address:
        """The first address on which it listens."""
        return self.addresses[0]

    @property
    def connections(self) -> list[dict[str, str]]:
        """The fields of each log line about a connection that has ended, with --log-connections."""
        lines = re.findall(r"\] connection (.*peer=.*)\n", self.text)
        return [dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)) for line in lines]

    def connectionsFrom(self, peers: Collection[str]) -> list[dict[str, str]]:
        """Return those of `connections` that came from `peers`."""
        return [one for one in self.connections if one["peer"] in peers]

    @property
    def descriptors(self) -> int:
        """The number of its open file descriptors."""
        return len(openDescriptors(self.pid))

    @property
    def memory(self) -> int:
        """Its resident memory, in bytes."""
        return residentMemory(self.pid)

    @property
    def cpu(self) -> float:
        """The CPU seconds of its main thread, which does all the work."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    @property
    def waited(self) -> float:
        """The seconds that its main thread has been runnable without getting a processor."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 60.0) -> int:
        """Wait until it ends and return the exit code; for a signal that is 128 plus its number, as in a shell."""
        code = self.process.wait(seconds)
        return 128 - code if code < 0 else code

    def stop(self) -> int:
        """Stop it gracefully, if it still runs, and return the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            return self.wait()
        self.kill()
        raise AssertionError(f"the daemon did not end:\n{self.text}")

    def kill(self) -> None:
        """Kill it and wait for its end."""
        self.process.kill()
        self.process.wait()


def childrenOf(pid: int) -> list[int]:
    """Return the processes that the main thread of a process has started, the oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def residentMemory(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
