"""Measure one server under one load, and all servers in turn."""

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import LoadError, Outcome, percentile, runLoad
from benchmarks.peer import LeftOutError, Peer, reasonIn
from benchmarks.process import Process, pinned, running
from benchmarks.scenario import MIB, Scenario

SPARE = 200
"""The file descriptors that a process needs in addition to its connections."""


@dataclass(frozen=True)
class Figures:
    """The measured values of one server in one scenario in one round.

    `cpu` is the server's CPU time in µs per unit (message, connection or MiB), `rate` is in units per second,
    `throughput` in MB per second in one direction. The percentiles of the latency are in µs, `memory` is in KiB of RSS
    per connection, and `share` is the largest share of the connections that one process has. None: not measured.
    """

    cpu: float
    rate: float
    throughput: float
    p50: float
    p99: float
    p999: float
    memory: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Record:
    """One cell of one round: figures, or the error that prevented them."""

    round: int
    scenario: str
    peer: str
    figures: Figures | None
    error: str = ""


@dataclass(frozen=True)
class Bench:
    """The settings of all measurements: the load of each transport, the folder for logs, the seconds, and the cores."""

    loads: Mapping[str, str]
    folder: Path
    seconds: float
    serverCores: set[int]
    loadCores: set[int]

    def measure(self, peer: Peer, scenario: Scenario) -> Figures:
        """Start a server, load it and stop it; raise LeftOutError or LoadError if that fails."""
        serverCores, loadCores = self.serverCores, self.loadCores
        if peer.everywhere:
            serverCores = loadCores = serverCores | loadCores
        log = self.folder / f"{peer.name}.log"
        command = peer.commands[scenario.transport]
        with running(command, serverCores, log, scenario.transport) as server, pinned(loadCores):
            server.settle()
            alone = server.sockets()
            samples: list[list[Process]] = []
            shares: list[float | None] = []

            def atMark(word: str) -> None:
                samples.append(server.settle())
                shares.append(largestShare(alone, server.sockets()) if peer.everywhere else None)

            seconds, warmup = (self.seconds, self.seconds / 3) if scenario.timed else (0, 0)
            numbers = (server.port, scenario.connections, scenario.size, seconds, warmup)
            try:
                outcome = runLoad([self.loads[scenario.transport], scenario.mode, *map(str, numbers)], atMark)
            except LoadError as error:
                said = f"; the server exited: {reasonIn(log.read_text())}" if server.hasEnded() else ""
                raise LoadError(f"{error}{said}") from None
        return figuresOf(scenario, outcome, samples[0], samples[1], shares[0])


def figuresOf(
    scenario: Scenario, outcome: Outcome, before: list[Process], after: list[Process], share: float | None
) -> Figures:
    """Compute the figures from the load's outcome and the server's processes before and after it."""
    count = outcome.bytes / MIB if scenario.unit == "MiB" else outcome.messages
    cpu = sum(process.cpu for process in after) - sum(process.cpu for process in before)
    grown = sum(process.memory for process in after) - sum(process.memory for process in before)
    return Figures(
        cpu=cpu / count * 1e6,
        rate=count / outcome.seconds,
        throughput=outcome.bytes / outcome.seconds / 1e6,
        p50=percentile(outcome.histogram, 50) / 1e3,
        p99=percentile(outcome.histogram, 99) / 1e3,
        p999=percentile(outcome.histogram, 99.9) / 1e3,
        memory=grown / 1024 / count if scenario.mode == "idle" else None,
        share=share,
    )


def largestShare(before: dict[int, int], after: dict[int, int]) -> float | None:
    """Return the largest share of the new sockets that one process has, or None without new sockets.

    `before` and `after` map process ids to numbers of sockets.
    """
    came = [count - before.get(pid, 0) for pid, count in after.items()]
    return max(came) / sum(came) if sum(came) else None


def measureAll(
    bench: Bench, peers: Sequence[Peer], scenarios: Sequence[Scenario], rounds: int, tell: Callable[[Record], None]
) -> list[Record]:
    """Measure all peers in turn and `tell` each record at once; each round starts with a different peer."""
    records = []
    for number in range(rounds):
        first = number * len(peers) // rounds
        for scenario in scenarios:
            for peer in [*peers[first:], *peers[:first]]:
                if not peer.isFor(scenario):
                    continue
                try:
                    record = Record(number + 1, scenario.name, peer.name, bench.measure(peer, scenario))
                except (LeftOutError, LoadError) as error:
                    record = Record(number + 1, scenario.name, peer.name, None, str(error))
                records.append(record)
                tell(record)
    return records


def startable(bench: Bench, peer: Peer) -> str:
    """Build a peer, start it once for each transport, and return an empty string, or why it can't be measured."""
    try:
        peer.prepare()
        for transport, command in peer.commands.items():
            if transport in bench.loads:
                with running(command, bench.serverCores, bench.folder / f"{peer.name}.log", transport):
                    pass
        return ""
    except (LeftOutError, OSError) as error:
        return str(error)


def raiseDescriptorLimit(connections: int = 0) -> int:
    """Raise the limit of open files, for child processes too, and return how many connections fit.

    The new limit is the hard limit, or with CAP_SYS_RESOURCE as many as `connections` need.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(hard, connections + SPARE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except ValueError:
        most = hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most - SPARE
