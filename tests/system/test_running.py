"""The tests' own runs: inherited signals, processes left behind, and the seed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import eventually

CHECKOUT = Path(__file__).parents[2]


def runTest(folder: Path, body: str, before: Callable[[], None] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a test with `body` in a worker of xdist, with the hooks of these tests; call `before` in the controller."""
    test = folder / "test_it.py"
    imports = "import os, signal, subprocess, sys\nfrom tests.support.chance import randomBytes\n"
    test.write_text(f"{imports}def test_it():\n    {body}\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "pyproject.toml", "-n1", str(test)]
    return subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False, preexec_fn=before
    )


def isRunning(*command: str) -> bool:
    """Return whether a process runs that was started with this command."""
    wanted = "\0".join([*command, ""])
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            if path.read_text(errors="replace") == wanted:
                return True
    return False


def test_childHasDefaultsOfIgnoredSignals(tmp_path: Path) -> None:
    """Signals that a run in the background ignores have their defaults in the processes that a test starts."""

    def ignore() -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)

    ended = runTest(tmp_path, "assert subprocess.run(['sh', '-c', 'kill -INT $$; true']).returncode == -2", ignore)
    assert "1 passed" in ended.stdout, ended.stdout


def test_ignoredSignalStaysIgnored(tmp_path: Path) -> None:
    """The process that runs the tests goes on ignoring such a signal."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    ended = runTest(tmp_path, "os.kill(os.getpid(), signal.SIGHUP)", ignore)
    assert "1 passed" in ended.stdout, ended.stdout


def test_processEndsWithItsTestsProcess(tmp_path: Path) -> None:
    """A process that a test has started ends when the process that runs the test dies."""
    number = str(10**6 + os.getpid())
    ended = runTest(tmp_path, f"subprocess.Popen(['sleep', '{number}']); os._exit(0)")
    assert "1 failed" in ended.stdout, ended.stdout
    eventually(lambda: not isRunning("sleep", number))


def test_failureNamesSeed(tmp_path: Path) -> None:
    """A failure names the seed that repeats its random input."""
    drawn = [runTest(tmp_path, "print(randomBytes(8).hex(), file=sys.stderr); assert False").stdout for _ in range(2)]
    assert drawn[0].count(f"TEST_SEED={os.environ['TEST_SEED']} repeats it") == 1
    inputs = [text.split("Captured stderr call")[1].split()[1] for text in drawn]
    assert len(inputs[0]) == 16
    assert inputs[0] == inputs[1]
