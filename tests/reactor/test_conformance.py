"""The reactor passes Twisted's own reactor tests, except those that exceptions.py lists."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.reactor.exceptions import EXCEPTIONS, PROGRAMS, SUFFIX
from tests.support.namespaces import linkedNetwork, whyNoNetwork

pytestmark = pytest.mark.twisteds

PASSED = {
    "test_core": 14,
    "test_fdset": 10,
    "test_newtls": 4,
    "test_process": 37,
    "test_socket": 8,
    "test_stdio": 7,
    "test_tcp": 105,
    "test_threads": 10,
    "test_time": 2,
    "test_tls": 21,
    "test_udp": 36,
    "test_unix": 28,
}
"""The least number of tests that pass in each module, without those that only root can run."""

PASSED_PROGRAMS = {
    "twisted.internet.test.test_endpoints": 228,
    "twisted.protocols.test.test_tls": 55,
    "twisted.test.test_amp": 139,
    "twisted.test.test_ftp": 221,
    "twisted.test.test_ssl": 17,
    "twisted.test.test_tcp": 32,
}
"""The same for tests of code that is built on reactors."""


@pytest.fixture(autouse=True)
def _network() -> Iterator[None]:
    """Let no other process take a port that Twisted's `findFreePort` has found, where this process may do that."""
    with nullcontext() if whyNoNetwork() else linkedNetwork():
        yield


def run(module: str, folder: Path, *names: str, **environment: str) -> tuple[int, dict[str, int], str]:
    """Run the tests of `module`, or only those with `names`; return the exit code, the counts, and the output."""
    root = str(Path(__file__).parents[2])
    return trial(
        folder, *(names or ["tests.reactor.conformance"]), PYTHONPATH=root, CONFORMANCE_MODULE=module, **environment
    )


def trial(folder: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, int], str]:
    """Run trial; return the exit code, the counts, and the output."""
    finished = subprocess.run(
        [sys.executable, "-m", "twisted.trial", "--temp-directory=trial", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    lines = finished.stdout.splitlines() or [""]
    counts = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", lines[-1])}
    return finished.returncode, counts, finished.stdout + finished.stderr


@pytest.mark.parametrize("module", PASSED)
def test_passesTwistedsReactorTests(module: str, tmp_path: Path) -> None:
    """Twisted's tests of a module pass, except the listed ones, and no fewer than before."""
    code, counts, output = run(module, tmp_path)
    assert code == 0, output
    assert counts.get("successes", 0) >= PASSED[module], output
    assert counts.get("skips", 0) >= len(EXCEPTIONS.get(module, ()))


@pytest.mark.parametrize("module", EXCEPTIONS)
def test_exceptionsStillFail(module: str, tmp_path: Path) -> None:
    """Each excepted test fails, so the list is no longer than necessary."""
    names = ["tests.reactor.conformance." + name.replace(".", SUFFIX + ".") for name in EXCEPTIONS[module]]
    _, counts, output = run(module, tmp_path, *names, CONFORMANCE_TIMEOUT="1")
    assert f"Ran {len(names)} tests" in output
    assert "successes" not in counts, output


@pytest.mark.slow
@pytest.mark.parametrize("module", PASSED_PROGRAMS)
def test_passesTwistedsProgramTests(module: str, tmp_path: Path) -> None:
    """Of Twisted's tests of code that is built on reactors, only the listed ones fail."""
    _, counts, output = trial(tmp_path, "--reactor=uvloop", module)
    failed = set(re.findall(rf"^{re.escape(module)}\.(\S+)$", output, re.MULTILINE))
    assert failed <= set(PROGRAMS.get(module, ())), output
    assert counts.get("successes", 0) >= PASSED_PROGRAMS[module], output
