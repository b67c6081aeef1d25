"""The metrics of the operating system's view: this process and its workers together.

The names are those of Prometheus' client libraries. The kernel's figures come from /proc; without it, as in a chroot,
there are none.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from resource import RLIMIT_NOFILE, RUSAGE_CHILDREN, getrlimit, getrusage
from time import CLOCK_BOOTTIME, clock_gettime, time

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class _Process:
    """A process, from /proc/PID/stat; see proc_pid_stat(5)."""

    seconds: float
    """Of the processor."""
    startedAt: float
    """In seconds since the machine started."""
    virtual: int
    resident: int

    @classmethod
    def read(cls, pid: int) -> "_Process":
        """Raise OSError if there is no such process, or no /proc."""
        # Fields 1 and 2 come before the bracket; the name in field 2 may have any characters.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        user, system, start, virtual, pages = (int(fields[number - 3]) for number in (14, 15, 22, 23, 24))
        return cls((user + system) / _TICKS, start / _TICKS, virtual, pages * _PAGE)


def processMetrics(workers: Iterable[int]) -> Iterator[Metric]:
    """Yield the metrics of this process and of those of its `workers`, process ids, that still run."""
    pid = os.getpid()
    try:
        processes = {pid: (own := _Process.read(pid))}
    except OSError:
        return
    for worker in workers:
        with suppress(OSError):  # it has just ended
            processes[worker] = _Process.read(worker)
    children = getrusage(RUSAGE_CHILDREN)  # those that have ended
    seconds = sum(each.seconds for each in processes.values()) + children.ru_utime + children.ru_stime
    yield CounterMetricFamily(
        "process_cpu_seconds",
        "Processor time of the daemon and its workers, also of those that have ended.",
        round(seconds, 6),
    )
    resident = sum(each.resident for each in processes.values())
    yield GaugeMetricFamily(
        "process_resident_memory_bytes",
        "Resident memory of the daemon and its workers; what they share counts for each.",
        resident,
    )
    virtual = sum(each.virtual for each in processes.values())
    yield GaugeMetricFamily("process_virtual_memory_bytes", "Virtual memory of the daemon and its workers.", virtual)
    with suppress(OSError):  # workers with another user (twistd --euid)
        opened = sum(map(_countDescriptors, processes))
        yield GaugeMetricFamily("process_open_fds", "Open file descriptors of the daemon and its workers.", opened)
    most = getrlimit(RLIMIT_NOFILE)[0] * len(processes)  # workers inherit it
    yield GaugeMetricFamily("process_max_fds", "Limits of file descriptors of the daemon and its workers.", most)
    yield GaugeMetricFamily(
        "process_start_time_seconds", "When the daemon started, in seconds since 1970.", _bootTime() + own.startedAt
    )


def _countDescriptors(pid: int) -> int:
    folder = Path(f"/proc/{pid}/fd")
    # The size is their number since Linux 6.2; to list 20 000 takes 13 ms.
    return folder.stat().st_size or sum(1 for _ in folder.iterdir())


@cache
def _bootTime() -> float:
    """Return when the machine started, in seconds since 1970."""
    # /proc/stat has it too, but systemd's ProcSubset=pid hides that.
    return time() - clock_gettime(CLOCK_BOOTTIME)
