"""The command lines of the daemon and of `echoup connect`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

COMMANDS = Path(sys.executable).parent
"""The folder of the installed commands."""
COVERAGE = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
"""The variables that make a process measure its coverage."""
CONNECT = [str(COMMANDS / "echoup"), "connect"]
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""A program that does what systemd does between fork and exec: it makes the socket descriptor 3 (sd_listen_fds(3))."""


def twistd(*arguments: str) -> list[str]:
    """Return the command line of twistd with `arguments`."""
    isMeasured = any(name in os.environ for name in COVERAGE)
    command = [sys.executable, "-m", "tests.support.measured"] if isMeasured else [str(COMMANDS / "twistd")]
    return [*command, *arguments]


def unmeasured() -> dict[str, str]:
    """Return an environment in which no process measures its coverage, which would take files and descriptors."""
    return {name: value for name, value in os.environ.items() if name not in COVERAGE}


def listenTLS(certificate: str) -> str:
    """Return the --listen description of a TLS listener with `certificate`."""
    return f"ssl:0:interface=127.0.0.1:privateKey={certificate}"


def connect(
    target: str, data: bytes | None = None, *options: str, stdin: IO[bytes] | int | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run `echoup connect` with `data` as its input, or with `stdin`."""
    return subprocess.run(
        [*CONNECT, *options, target], input=data, stdin=stdin, capture_output=True, timeout=60, check=False
    )
