"""Start a server on given cores, watch its processes, and stop them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes import CDLL, get_errno
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer import LeftOutError, reasonIn

START = 20.0
"""The seconds within which a server has to listen."""

PAUSE = 0.02
"""The seconds between two checks of a server."""

LISTENING = {"tcp": ("/proc/net/tcp", "0A"), "tls": ("/proc/net/tcp", "0A"), "udp": ("/proc/net/udp", "07")}
"""By transport: the kernel's table of sockets (proc(5)), and the state of those that listen, LISTEN or CLOSE there."""

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """The kernel's figures of a process: CPU seconds (with those of its children that have ended) and bytes of RSS."""

    pid: int
    cpu: float
    memory: int


def processesOf(session: int) -> list[Process]:
    """Return all processes of a session: a server and its descendants, orphans included.

    The CPU time is read from the process's CPU clock in nanoseconds, which covers all threads, including ended ones
    (clock_getcpuclockid(3) computes the clock's number in the same way). Children that the process has waited for add
    their time in clock ticks of 10 ms, which affects servers that fork for each connection. Orphans become children of
    this process (`endingChildren`) and stay until the server is stopped, so they are counted too.
    """
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            pid = int(entry.name)
            try:
                # The name before the bracket may contain blanks. The indices are those of proc_pid_stat(5) minus 3.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) != session:
                    continue
                cpu = time.clock_gettime((~pid << 3) | 2) + (int(fields[13]) + int(fields[14])) * TICK
            except OSError:  # it has ended
                continue
            processes.append(Process(pid, cpu, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")))
    return processes


@dataclass(frozen=True)
class Server:
    """A running server: its first process, whose id is also that of its session, and its port on 127.0.0.1."""

    process: subprocess.Popen[bytes]
    port: int

    def hasEnded(self) -> bool:
        """Return whether the first process has ended or ends within half a second."""
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            return False
        return True

    def settle(self) -> list[Process]:
        """Wait until the server is idle, for two seconds at most, and return its processes."""
        processes = processesOf(self.process.pid)
        for _ in range(100):
            before = sum(process.cpu for process in processes)
            time.sleep(PAUSE)
            processes = processesOf(self.process.pid)
            if sum(process.cpu for process in processes) - before < 0.0001:
                break
        return processes

    def sockets(self) -> dict[int, int]:
        """Return the number of sockets of each process, by process id."""
        return {process.pid: len(socketsOf(process.pid)) for process in processesOf(self.process.pid)}


@contextmanager
def running(command: Sequence[str], cores: set[int], log: Path, transport: str = "tcp") -> Iterator[Server]:
    """Run a server on given cores with its output in `log`, and kill it at the end. Its port is that of `transport`.

    Raises LeftOutError with the server's last line if it doesn't listen.
    """
    with log.open("wb") as output, pinned(cores):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent, start_new_session=True
        )
    try:
        yield Server(process, awaitPort(process, log, transport))
    finally:
        # The process group is the server with its children.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-process.pid, 0)


def awaitPort(process: subprocess.Popen[bytes], log: Path, transport: str) -> int:
    """Wait until a server listens, and return its port."""
    end = time.monotonic() + START
    while process.poll() is None and time.monotonic() < end:
        for listening in processesOf(process.pid):
            sockets = socketsOf(listening.pid)
            for port, socket in listeners(transport):
                if socket in sockets:
                    return port
        time.sleep(PAUSE)
    said = reasonIn(log.read_text(errors="replace"))
    raise LeftOutError(f"not listening after {START:.0f} s: {said}" if process.poll() is None else said)


def listeners(transport: str) -> Iterator[tuple[int, str]]:
    """Yield the port and the inode of each listening IPv4 socket of a transport."""
    table, listening = LISTENING[transport]
    for line in Path(table).read_text().splitlines()[1:]:
        _, address, _, state, _, _, _, _, _, inode, *_ = line.split()
        if state == listening:
            yield int(address.rpartition(":")[2], 16), inode


def socketsOf(pid: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    found = set()
    with suppress(OSError):  # it has ended
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # that one was closed meanwhile
                kind, _, inode = str(descriptor.readlink()).partition(":")
                if kind == "socket":
                    found.add(inode.strip("[]"))
    return found


@contextmanager
def endingChildren() -> Iterator[None]:
    """Kill all children at the end, also when SIGTERM is the end, which exits with the code 143.

    Orphaned descendants become children of this process (prctl(2)). A signal may come while a child is being started
    and no variable refers to it yet.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):  # PR_SET_CHILD_SUBREAPER
        raise OSError(get_errno(), "prctl")
    try:
        yield
    finally:
        while children := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            for child in map(int, children):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Run this process, and those that it starts meanwhile, on given cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
