"""Control groups with a quota of processor time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import SkipTest

PERIOD = 100_000


@contextmanager
def limitedTo(cores: float) -> Iterator[list[str]]:
    """Yield a command line that runs the one after it in a control group of its own, with a quota of `cores` cores.

    The group is removed at the end, when its processes have ended. Skip the test where no group can be made: that takes
    root, and a writable /sys/fs/cgroup with the cpu controller.
    """
    quota = round(cores * PERIOD)
    group, limits = Path(f"/sys/fs/cgroup/echoup-{os.getpid()}"), {"cpu.max": f"{quota} {PERIOD}"}
    if Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists():  # version 1
        group = Path(f"/sys/fs/cgroup/cpu/{group.name}")
        limits = {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(quota)}
    try:
        group.mkdir()
    except OSError as error:
        raise SkipTest(f"no control group can be made: {error}") from None
    try:
        try:
            for name, value in limits.items():
                (group / name).write_text(value)
        except OSError as error:
            raise SkipTest(f"no control group can be limited: {error}") from None
        yield ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        group.rmdir()
