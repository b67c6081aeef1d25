"""Run `echoup diagnose`, on a path of two hops or on any other."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.commands import COMMANDS
from tests.support.daemon import Daemon
from tests.support.routednetwork import RoutedNetwork, routedNetwork

DIAGNOSE = [str(COMMANDS / "echoup"), "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """What the command printed with --json, and how it exited."""

    code: int
    report: dict[str, Any]

    def check(self, name: str) -> dict[str, Any]:
        """Return the member of the check `name`."""
        (found,) = (each for each in self.report["checks"] if each["name"] == name)
        return dict(found)

    def causes(self, name: str) -> list[str]:
        """Return the causes of the problems that the check `name` found."""
        return [problem["cause"] for problem in self.check(name)["problems"]]

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """The problems of all checks that are warnings or worse."""
        problems = (problem for check in self.report["checks"] for problem in check["problems"])
        return [problem for problem in problems if problem["status"] in ("warn", "fail")]


def diagnose(target: str, *options: str) -> Diagnosis:
    """Run the command for `target`, and return what it found; nothing but its one-line error may be on stderr."""
    done = subprocess.run(
        [*DIAGNOSE, "--json", *options, target], capture_output=True, text=True, timeout=240, check=False
    )
    assert len(done.stderr.splitlines()) <= 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return Diagnosis(done.returncode, json.loads(done.stdout))


@contextmanager
def servedNetwork(
    folder: Path, *options: str, listen: Sequence[str] = ("*:8081",), udp: str = "*:8081"
) -> Iterator[tuple[RoutedNetwork, Daemon]]:
    """Make a path of two hops with the daemon at its other end, and enter the client's end."""
    with routedNetwork() as network:
        with network.server.entered():
            daemon = Daemon.start(folder, f"--udp={udp}", *options, listen=listen)
        with daemon:
            yield network, daemon
