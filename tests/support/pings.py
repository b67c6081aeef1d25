"""Runs of `echoup ping`, and what they report."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.commands import COMMANDS

PING = [str(COMMANDS / "echoup"), "ping"]

TIMING = """
from math import inf
from echoup import clock

clock.LONGEST = inf
"""
"""The beginning of a program that takes none of its gaps for a pause."""

_MAIN = """
from echoup.client.cli import main

main()
"""

TIMED = [sys.executable, "-c", TIMING + _MAIN, "ping"]
"""The command of an `echoup ping` whose replies all have a time: a busy machine may pause the real one."""


def ping(*arguments: str, command: Sequence[str] = PING) -> "subprocess.CompletedProcess[str]":
    """Run `echoup ping` to its end."""
    return subprocess.run(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass(frozen=True)
class Pinged:
    """The report of an `echoup ping --json`."""

    code: int
    """The exit code."""
    probes: list[dict[str, Any]]
    """In the order in which they ended."""
    summary: dict[str, Any]
    error: str
    """The line on stderr, without the name of the command; empty if there is none."""

    @classmethod
    def of(cls, code: int, output: str, errors: str) -> "Pinged":
        """Return the report, after checking that it doesn't contradict itself."""
        *probes, summary = [json.loads(line) for line in output.splitlines()]
        assert {one["type"] for one in probes} <= {"probe"}
        assert {one["schema"] for one in (*probes, summary)} == {1}
        assert summary["type"] == "summary"
        assert summary["sent"] + summary["unsent"] == len(probes) + summary["unfinished"]
        assert {probe["seq"] for probe in probes} <= {*range(1, summary["sent"] + summary["unsent"] + 1)}
        assert len({probe["seq"] for probe in probes}) == len(probes)
        assert summary["answered"] == sum(probe["code"] == 0 for probe in probes)
        assert summary["wrong"] == sum(probe["code"] == 1 for probe in probes)
        assert summary["unsent"] == sum(probe["code"] == 8 for probe in probes)
        over = len(probes) - summary["unsent"]
        assert summary["lost"] == over - summary["answered"] - summary["wrong"]
        assert summary["loss"] == (summary["lost"] / over if over else 0)
        for probe in probes:
            assert (probe["code"] == 0) == (probe["error"] is None) == (probe["verdict"] == "uppercased")
            assert probe["code"] or probe["step"] is None
        if code < 128:
            assert (summary["code"], summary["unfinished"]) == (code, 0)
            assert (errors.count("\n"), errors.startswith("echoup: ")) == ((1, True) if code else (0, False)), errors
        return cls(code, probes, summary, errors.removeprefix("echoup: ").removesuffix("\n"))

    @property
    def probe(self) -> dict[str, Any]:
        """The only probe."""
        (probe,) = self.probes
        return probe

    @property
    def phases(self) -> dict[str, dict[str, Any]]:
        """The phases of the only probe, by their steps; no step may occur twice."""
        steps = [phase["step"] for phase in self.probe["phases"]]
        assert len(set(steps)) == len(steps)
        return {phase["step"]: phase for phase in self.probe["phases"]}

    @property
    def found(self) -> tuple[str | None, str | None, int]:
        """The verdict, the step that failed, and the exit code of the only probe."""
        assert self.error == (self.probe["error"] or "")
        return self.probe["verdict"], self.probe["step"], self.code


def probe(target: str, *options: str, count: int = 1, command: Sequence[str] = PING) -> Pinged:
    """Run `echoup ping --json`, and return its report."""
    ended = ping("--json", f"-c{count}", *options, target, command=command)
    return Pinged.of(ended.returncode, ended.stdout, ended.stderr)


def resolving(*addresses: str) -> list[str]:
    """Return the command of a TIMED `echoup ping` for which `name.example` has `addresses`, in this order."""
    script = f"""
import socket

known = socket.getaddrinfo

def getaddrinfo(host, port, family=0, *others, **named):
    if host != "name.example":
        return known(host, port, family, *others, **named)
    found = [known(address, port, 0, *others)[0] for address in {addresses}]
    return [entry for entry in found if family in (0, entry[0])]

socket.getaddrinfo = getaddrinfo
"""
    return [sys.executable, "-c", TIMING + script + _MAIN, "ping"]
