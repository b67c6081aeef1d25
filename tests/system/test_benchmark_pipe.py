"""The benchmark of the pipe compares real clients, and accepts only the right bytes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.load import LoadError
from benchmarks.pipe import transfer
from tests.support.doubles import raised


def test_clientsAreCompared() -> None:
    """It prints a row for each client, with ratios to socat."""
    if not shutil.which("socat"):
        pytest.skip("socat is missing: apt-get install socat")
    command = [sys.executable, "-m", "benchmarks.pipe", "--rounds", "1", "--size", "1"]
    output = subprocess.check_output(command, cwd=Path(__file__).parents[2], text=True, timeout=60)
    assert output.startswith("1 MiB through each client")
    assert re.search(r"^\| echoup connect( \| \d+){2}( \| \d+\.\d\d){2} \|$", output, re.MULTILINE)
    assert re.search(r"^\| socat( \| \d+){2}( \| 1\.00){2} \|$", output, re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [["cat"], ["sh", "-c", "tr a-z A-Z; echo more"], ["sh", "-c", "tr a-z A-Z | head -c 1000"]],
    ids=["altered", "long", "short"],
)
def test_wrongOutputIsError(command: list[str]) -> None:
    """An output that is altered, too long or too short isn't measured."""
    error = raised(LoadError, transfer, command, 2)
    assert str(error).startswith(f"{command[0]}: wrong output, exit code ")


def test_failedClientIsError() -> None:
    """A client that fails isn't measured, even if its output is right."""
    error = raised(LoadError, transfer, ["sh", "-c", "tr a-z A-Z; exit 7"], 2)
    assert str(error) == "sh: right output, exit code 7"
