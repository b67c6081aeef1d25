"""The processors that a process can keep busy are those that it may run on, within the quota of its control groups."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.platform.processors import countProcessors
from tests.support.controlgroups import limitedTo
from tests.support.properties import given, st

CORES = 64

V1 = "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "41 31 0:38 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
OTHERS = (
    "23 1 254:1 / / rw,relatime - ext4 /dev/root rw\n"
    "36 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)


class CountTests(SynchronousTestCase):
    """`countProcessors` reads the files of the kernel."""

    def setUp(self) -> None:
        """Make a machine with many cores, and without control groups."""
        self.root = Path(self.enterContext(TemporaryDirectory()))
        self.patch(os, "sched_getaffinity", lambda _: set(range(CORES)))

    def write(self, path: str, text: str) -> None:
        """Write a file of the kernel."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def begin(self, groups: str, mounts: str) -> None:
        """Be in these control groups, which are mounted so."""
        self.write("proc/self/cgroup", groups)
        self.write("proc/self/mountinfo", OTHERS + mounts)

    def limitV1(self, folder: str, quota: str, period: str = "100000\n") -> None:
        """Limit a group of version 1."""
        self.write(f"sys/fs/cgroup/cpu,cpuacct{folder}/cpu.cfs_quota_us", quota)
        self.write(f"sys/fs/cgroup/cpu,cpuacct{folder}/cpu.cfs_period_us", period)

    def test_noControlGroups(self) -> None:
        """Without control groups, or files to read, all cores that the process may run on count."""
        assert countProcessors(self.root) == CORES
        self.begin("", "")
        assert countProcessors(self.root) == CORES
        self.begin("0::/a\n", V2.format(top="/"))
        assert countProcessors(self.root) == CORES

    def test_quotaIsRoundedUp(self) -> None:
        """A part of a core counts as one; a quota of more than all cores is none."""
        self.begin("0::/\n", V2.format(top="/"))
        for text, expected in (
            ("max 100000\n", CORES),
            ("100000 100000\n", 1),
            ("50000 100000\n", 1),
            ("1000 1000000\n", 1),
            ("150000 100000\n", 2),
            ("20000 10000\n", 2),
            ("9900000 100000\n", CORES),
            ("", CORES),
            ("many 100000\n", CORES),
            ("100000 0\n", CORES),
        ):
            self.write("sys/fs/cgroup/cpu.max", text)
            assert countProcessors(self.root) == expected, text

    def test_smallestOfAllAbove(self) -> None:
        """The groups above the process's own limit it, too; its neighbours' don't."""
        self.begin("0::/pod.slice/a/b\n", V2.format(top="/"))
        self.write("sys/fs/cgroup/pod.slice/a/b/cpu.max", "400000 100000\n")
        self.write("sys/fs/cgroup/pod.slice/c/cpu.max", "100000 100000\n")
        assert countProcessors(self.root) == 4
        self.write("sys/fs/cgroup/pod.slice/cpu.max", "300000 100000\n")
        assert countProcessors(self.root) == 3
        self.write("sys/fs/cgroup/pod.slice/a/cpu.max", "max 100000\n")
        assert countProcessors(self.root) == 3

    def test_versionOne(self) -> None:
        """The quota of version 1 counts, next to a group of version 2 that has no controllers."""
        self.begin("4:cpu,cpuacct:/a\n3:memory:/b\n0::/c\n", V1.format(top="/") + V2.format(top="/"))
        self.limitV1("/a", "-1\n")
        assert countProcessors(self.root) == CORES
        self.limitV1("/a", "250000\n")
        assert countProcessors(self.root) == 3
        self.limitV1("", "200000\n")
        assert countProcessors(self.root) == 2
        self.limitV1("/b", "100000\n")
        assert countProcessors(self.root) == 2

    def test_containerSeesOnlyItsGroup(self) -> None:
        """In a container the own group is where the top one would be, under whatever name the process knows it."""
        self.limitV1("", "200000\n")
        for top, own in (("/docker/7", "/docker/7"), ("/docker/7", "/"), ("/", "/"), ("/..", "/")):
            self.begin(f"4:cpu,cpuacct:{own}\n", V1.format(top=top))
            assert countProcessors(self.root) == 2
        self.limitV1("/b", "100000\n")
        self.begin("4:cpu,cpuacct:/docker/7/b\n", V1.format(top="/docker/7"))
        assert countProcessors(self.root) == 1

    @given(st.text("max0123456789- \n"), st.text("0123456789:,/.cpu\n"))
    def test_strangeFiles(self, quota: str, groups: str) -> None:
        """Whatever the files have in them, there is an answer from 1 to all cores."""
        groups = "".join(f"0:{line}:/\n" for line in groups.replace(":", "").splitlines())
        self.begin(groups + "0::/\n", V2.format(top="/"))
        self.write("sys/fs/cgroup/cpu.max", quota)
        assert 1 <= countProcessors(self.root) <= CORES

    def test_quotaIsLogged(self) -> None:
        """A quota is logged if it makes a difference."""
        self.begin("0::/\n", V2.format(top="/"))
        with capturedLogs() as events:
            for text in ("150000 100000\n", "max 100000\n", "6400000 100000\n"):
                self.write("sys/fs/cgroup/cpu.max", text)
                countProcessors(self.root)
        assert [formatEvent(event) for event in events] == ["using 2 of 64 cores: the control group's CPU quota is 1.5"]


class KernelTests(SynchronousTestCase):
    """The kernel's own files are read."""

    def test_realControlGroup(self) -> None:
        """A process in a real control group with the time of half a core keeps one busy."""
        code = "from echoup.server.platform.processors import countProcessors; print(countProcessors())"
        with limitedTo(0.5) as command:
            counted = subprocess.check_output([*command, sys.executable, "-c", code], text=True, timeout=60)
        assert counted == "1\n"
