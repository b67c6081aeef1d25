"""A daemon in trouble: its processes pause and are killed, its clients pause, its log blocks.

A client's failure is excused only by what was done to the daemon at that time, or if the client was paused for longer
than the daemon waits for its handshake. A blocked log excuses nothing, and a pause of the client excuses no timeout.
"""

import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random, SystemRandom
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import IO

from tests.support.commands import unmeasured
from tests.support.daemon import Daemon, childrenOf, residentMemory
from tests.support.descriptors import openDescriptors

TIMED_OUT, TLS_FAILED, SHORT = 5, 6, 7
"""Exit codes of the client."""
HANDSHAKE = 3
"""Seconds of the daemon's handshake timeout; the longest pause is longer."""
SLACK = 1.0
"""Seconds by which two processes may differ about the time of an event on a busy machine."""


@dataclass(eq=False)
class Soak:
    """One daemon, and what happens to it and to its clients. All times are the wall clock's, in seconds."""

    daemon: Daemon
    log: "BlockableLog"
    folder: Path
    random: Random = field(default_factory=SystemRandom)
    """No seed repeats a soak: what happens in it depends on the machine's timing."""
    counts: "Counter[str]" = field(default_factory=Counter)
    """What happened, by name."""
    faults: list[str] = field(default_factory=list)
    """What must not happen."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the loads must end."""
    _threads: list[threading.Thread] = field(default_factory=list)
    _clients: set[int] = field(default_factory=set)
    _serverPauses: list[tuple[float, float]] = field(default_factory=list)
    _clientPauses: list[tuple[float, float]] = field(default_factory=list)
    _deaths: list[tuple[float, float]] = field(default_factory=list)  # each until a new worker serves

    def repeat(self, work: Callable[[], None], pause: float) -> None:
        """Repeat `work` in a thread until the end; wait for a random time of up to `pause` seconds after each."""

        def run() -> None:
            while not self.over.is_set():
                try:
                    work()
                except BaseException as error:
                    self.faults.append(f"{work}: {error!r}")
                    raise
                self.over.wait(self.random.uniform(0, pause))

        self._threads.append(threading.Thread(target=run, name=str(work)))
        self._threads[-1].start()

    def end(self) -> None:
        """End everything that `repeat` has begun."""
        self.over.set()
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive(), thread.name

    @property
    def servers(self) -> list[int]:
        """The processes of the daemon: its own, and those of its workers."""
        return [self.daemon.pid, *childrenOf(self.daemon.pid)]

    @property
    def workers(self) -> list[int]:
        """The processes of its workers."""
        return self.servers[1:]

    @property
    def memory(self) -> int:
        """The resident memory of the daemon's processes together, in bytes."""
        total = 0
        for pid in self.servers:
            with suppress(OSError):  # it was killed
                total += residentMemory(pid)
        return total

    @property
    def files(self) -> "Counter[str]":
        """The number of descriptors of each kind, a file without its numbers, in all of the daemon's processes."""
        found: Counter[str] = Counter()
        for pid in self.servers:
            with suppress(OSError):  # it was killed
                found.update(re.sub(r"\d+", "", file) for file in openDescriptors(pid).values())
        return found

    def fail(self, what: str, code: int, began: float, ended: float, patience: float = 0.0) -> None:
        """Note a failure of a client, with its exit code, between the times `began` and `ended`.

        It is a fault unless one of these happened at that time: a process of the daemon was killed; one was paused for
        at least half of the `patience` of a client that gave up; or a client was paused for at least half of HANDSHAKE,
        and was too slow for the daemon.
        """
        if _overlap(self._deaths, began, ended):
            self.counts["failures by a kill"] += 1
        elif code == TIMED_OUT and _overlap(self._serverPauses, began, ended) >= patience / 2:
            self.counts["failures by a pause of the daemon"] += 1
        elif code in (TLS_FAILED, SHORT) and _overlap(self._clientPauses, began, ended) >= HANDSHAKE / 2:
            self.counts["failures by a pause in the handshake"] += 1
        else:
            self.faults.append(f"{what}, exit code {code}, from {began:.3f} to {ended:.3f}")

    def checkEnd(self, reason: str, began: float, ended: float) -> None:
        """Judge the `reason` of the daemon for the end of a connection, between the times `began` and `ended`.

        Only clients that were paused for half of HANDSHAKE can have been too slow for the daemon.
        """
        self.counts[f"connections {reason}"] += 1
        isSlow = reason == "handshake" and _overlap(self._clientPauses, began, ended) >= HANDSHAKE / 2
        if not isSlow and reason not in ("done", "lost", "header", "tls"):
            self.faults.append(f"the daemon says {reason}, from {began:.3f} to {ended:.3f}")

    def run(
        self, command: list[str], stdin: IO[bytes] | int, stdout: IO[bytes] | int
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a client, which may be paused meanwhile, and return how it ended."""
        with subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=unmeasured()) as process:
            self._clients.add(process.pid)
            output, errors = process.communicate()
            self._clients.discard(process.pid)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def pauseServer(self) -> None:
        """Pause a process of the daemon."""
        self._pause(self._serverPauses, self.servers)
        self.counts["pauses of the daemon"] += 1

    def pauseClient(self) -> None:
        """Pause a client."""
        if clients := list(self._clients):
            self._pause(self._clientPauses, clients)
            self.counts["pauses of clients"] += 1

    def _pause(self, pauses: list[tuple[float, float]], pids: list[int]) -> None:
        pid, began = self.random.choice(pids), time.time()
        pauses.append((began, inf))
        with suppress(ProcessLookupError):
            os.kill(pid, SIGSTOP)
            time.sleep(self.random.uniform(0.1, 5))
            os.kill(pid, SIGCONT)
        pauses[-1] = began, time.time()

    def killWorker(self) -> None:
        """Kill a worker, and wait for its replacement; until then the connections in its socket's queue wait."""
        workers = self.workers
        began = time.time()
        self._deaths.append((began, inf))
        with suppress(ProcessLookupError):
            os.kill(self.random.choice(workers), SIGKILL)
        while len(self.workers) < len(workers) and not self.over.is_set():
            time.sleep(0.1)
        for _ in range(20):  # the kernel chooses the socket for each
            with suppress(OSError):
                self.daemon.address.echo(b"hello")
        self._deaths[-1] = began, time.time()
        self.counts["kills"] += 1

    def blockLog(self) -> None:
        """Stop reading the log for a while."""
        with self.log.blocked:
            time.sleep(self.random.uniform(0.1, 5))
        self.counts["blocked logs"] += 1


def _overlap(troubles: list[tuple[float, float]], began: float, ended: float) -> float:
    """Return how many seconds of `troubles` lie between the times `began` and `ended`."""
    began, ended = began - SLACK, ended + SLACK
    return sum(max(min(until, ended) - max(since, began), 0) for since, until in list(troubles))


class BlockableLog:
    """Copies what a daemon writes into a pipe to a file, except while it is blocked."""

    def __init__(self, pipe: int, path: Path) -> None:
        self.blocked = threading.Lock()
        """Nothing is read while it is held."""
        self._thread = threading.Thread(target=self._copy, args=(pipe, path))
        self._thread.start()

    def _copy(self, pipe: int, path: Path) -> None:
        with path.open("ab", buffering=0) as file, open(pipe, "rb", buffering=0) as source:
            while True:
                with self.blocked:
                    pass
                if not (data := source.read(2**16)):
                    break
                file.write(data)

    def end(self) -> None:
        """Wait until all has been copied."""
        self._thread.join(60)
        assert not self._thread.is_alive()
