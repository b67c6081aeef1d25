"""The metrics of the process are those of the kernel, of the daemon and its workers together."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from resource import RLIMIT_NOFILE, RUSAGE_CHILDREN, getrlimit, getrusage
from time import CLOCK_BOOTTIME, clock_gettime, process_time, time

from twisted.trial.unittest import SynchronousTestCase

from echoup.server.status import process
from echoup.server.status.process import processMetrics
from tests.support.daemon import residentMemory
from tests.support.descriptors import keepsDescriptors

NAMES = [
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
]


def values(workers: Iterable[int] = ()) -> dict[str, float]:
    """Return the metrics of this process and `workers`, by name."""
    return {sample.name: sample.value for metric in processMetrics(workers) for sample in metric.samples}


class ProcessTests(SynchronousTestCase):
    """`processMetrics` has the usual metrics."""

    def spawn(self) -> "subprocess.Popen[bytes]":
        """Return a process that has worked, and waits for the end of its input."""
        code = "import sys; sum(range(3_000_000)); print(flush=True); sys.stdin.read()"
        child = subprocess.Popen([sys.executable, "-Sc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(child.communicate)
        assert child.stdout
        child.stdout.readline()
        return child

    def test_namesAreTheUsualOnes(self) -> None:
        """The names are those of Prometheus' client libraries."""
        assert [*values()] == NAMES

    def test_figuresAreTheKernels(self) -> None:
        """Each figure is near to what the kernel says by other means."""
        found = values()
        children = getrusage(RUSAGE_CHILDREN)
        used = process_time() + children.ru_utime + children.ru_stime
        assert abs(found["process_cpu_seconds_total"] - used) < 1
        assert 0.5 < found["process_resident_memory_bytes"] / residentMemory(os.getpid()) < 2
        assert found["process_virtual_memory_bytes"] > found["process_resident_memory_bytes"]
        assert found["process_max_fds"] == getrlimit(RLIMIT_NOFILE)[0]
        age = time() - found["process_start_time_seconds"]
        assert process_time() / (os.cpu_count() or 1) - 1 < age < clock_gettime(CLOCK_BOOTTIME) + 1

    def test_descriptorsAreCounted(self) -> None:
        """The open descriptors are counted."""
        with keepsDescriptors() as before:
            counted = values()["process_open_fds"]
            assert counted in range(len(before) - 1, len(before) + 2)
            opened = os.open(os.devnull, os.O_RDONLY)
            assert values()["process_open_fds"] == counted + 1
            os.close(opened)
            assert values()["process_open_fds"] == counted

    def test_descriptorsAreListedWhereTheFolderHasNoSize(self) -> None:
        """A kernel that doesn't count the descriptors, before Linux 6.2, is made to list them."""
        fixed = "/proc/self/ns"  # a folder without a size, too
        self.patch(process, "Path", lambda path: Path(fixed if path.endswith("/fd") else path))
        assert values()["process_open_fds"] == len([*Path(fixed).iterdir()])

    def test_onlyProcessesAreRead(self) -> None:
        """The rest of /proc, which systemd hides from a service with ProcSubset=pid, isn't needed."""
        read: list[str] = []

        def recorded(path: str) -> Path:
            read.append(path)
            return Path(path)

        process._bootTime.cache_clear()
        self.patch(process, "Path", recorded)
        assert [*values()] == NAMES
        assert [path for path in read if not path.startswith(f"/proc/{os.getpid()}/")] == []

    def test_workersAreIncluded(self) -> None:
        """Memory, descriptors and limits of workers are added to those of this process."""
        alone, worker = values(), self.spawn().pid
        both = values([worker])
        for name in NAMES[1:5]:
            assert both[name] > alone[name], name
        assert both["process_max_fds"] == 2 * alone["process_max_fds"]
        assert both["process_start_time_seconds"] == alone["process_start_time_seconds"]

    def test_processorTimeNeverShrinks(self) -> None:
        """The processor time of a worker stays when it ends, and it counts once."""
        worker = self.spawn()
        before = values([worker.pid])["process_cpu_seconds_total"]
        assert before > values()["process_cpu_seconds_total"]
        worker.communicate()
        assert before <= values([worker.pid])["process_cpu_seconds_total"] < before + 1

    def test_workerThatIsGoneIsLeftOut(self) -> None:
        """A worker that has just ended adds nothing."""
        worker = self.spawn()
        worker.communicate()
        assert values([worker.pid])["process_max_fds"] == values()["process_max_fds"]

    def test_missingProcIsNoError(self) -> None:
        """Without /proc there are no metrics of the process."""
        self.patch(process, "Path", lambda path: Path("/nowhere" + path))
        assert values() == {}

    def test_unreadableDescriptorsAreLeftOut(self) -> None:
        """If the descriptors of one process can't be counted, there is no sum of them, and all else."""

        def refuse(pid: int) -> int:
            raise PermissionError

        self.patch(process, "_countDescriptors", refuse)
        assert [*values()] == [name for name in NAMES if name != "process_open_fds"]
