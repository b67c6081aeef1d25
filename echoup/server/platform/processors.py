"""How many processors this process can keep busy."""

import os
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path

from twisted.logger import Logger

from echoup.plurals import plural

_log = Logger()


def countProcessors(root: Path = Path("/")) -> int:
    """Return how many processors this process can keep busy; log the number if it may run on more.

    A control group can limit its processor time, for example to that of one and a half processors, which takes two to
    use up (cgroups(7)). /proc, and the files that it names, are below `root`.
    """
    cores = len(os.sched_getaffinity(0))
    quota = min(_quotas(root), default=cores)
    usable = max(1, min(cores, ceil(quota)))
    if usable < cores:
        _log.info(
            f"using {{usable}} of {{cores}} {plural(cores, 'core')}: the control group's CPU quota is {{quota:g}}",
            usable=usable,
            cores=cores,
            quota=quota,
        )
    return usable


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of this process's control groups, in processors; ignore those that can't be read."""
    for group in _groups(root):
        for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):  # of version 2, and of version 1
            with suppress(OSError, ValueError):  # "max" is no quota, nor is a negative one
                quota, period = (int(word) for name in names for word in (group / name).read_text().split())
                if quota > 0 and period > 0:
                    yield quota / period


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that may limit this process: its own, and those above it.

    A container may see its own group in the place of the top one (cgroup_namespaces(7)).
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return
    # Of each hierarchy there is a line `ID:CONTROLLERS:PATH`; that of version 2 names no controllers.
    paths = {name: line.split(":", 2)[2] for line in memberships for name in line.split(":", 2)[1].split(",")}
    for mount in mounts:
        place, _, kind = mount.partition(" - ")
        top, point = place.split()[3:5]
        system, *_, options = kind.split()
        controllers = {"cgroup": options.split(","), "cgroup2": [""]}.get(system, [])
        for name in {"", "cpu"}.intersection(controllers, paths):
            own = Path(paths[name])
            folder = root / point.lstrip("/")
            yield folder
            for part in own.relative_to(top).parts if own.is_relative_to(top) else ():
                folder /= part
                yield folder
