"""What commands cost, side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from time import monotonic


@dataclass(frozen=True)
class Cost:
    """The wall time, and the CPU time of the processes that were started, in seconds."""

    wall: float
    cpu: float


def costOf(act: Callable[..., object], *arguments: object) -> Cost:
    """Return what `act` costs, which starts processes and waits for them."""
    began, before = monotonic(), getrusage(RUSAGE_CHILDREN)
    act(*arguments)
    ended, after = monotonic(), getrusage(RUSAGE_CHILDREN)
    return Cost(ended - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def costTable(kind: str, rounds: Sequence[Mapping[str, Cost]], baseline: str, label: str) -> str:
    """Return a table of the median ms by name, and of the median ratios to `baseline`, which the heads call `label`.

    `kind` is what the names are.
    """
    lines = [f"| {kind} | wall, ms | CPU, ms | wall / {label} | CPU / {label} |", "|---|---:|---:|---:|---:|"]
    for name in rounds[0]:
        wall, cpu = (median(getattr(each[name], field) for each in rounds) * 1000 for field in ("wall", "cpu"))
        walls, cpus = (
            median(getattr(each[name], field) / getattr(each[baseline], field) for each in rounds)
            for field in ("wall", "cpu")
        )
        lines.append(f"| {name} | {wall:.0f} | {cpu:.0f} | {walls:.2f} | {cpus:.2f} |")
    return "\n".join(lines)
