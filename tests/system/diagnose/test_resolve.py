"""`resolve` on machines with good and bad nameservers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket

import pytest
from twisted.names import dns

from echoup.client.connect.resolve import Family, _threads
from echoup.client.diagnose.checks.resolution import check
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.exitcodes import ExitCode
from echoup.client.target.stream import StreamTarget
from tests.support.checks import find
from tests.support.nameserver import SILENCE, Records, nameserver
from tests.support.namespaces import ownMounts, ownNetwork, replaced, whyNoNetwork

WHY_NOT = whyNoNetwork()

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

NAME = "there.example"
GOOD: Records = {(NAME, "A"): ["127.0.0.1"], (NAME, "AAAA"): ["::1"]}
FIRST, SECOND = "127.0.0.53", "127.0.0.54"
"""The addresses of two nameservers."""


@contextmanager
def machine(folder: Path, *nameservers: str, options: str = "") -> Iterator[ExitStack]:
    """Enter a network and mounts of our own, in which the resolver asks `nameservers`; yield a stack for servers."""
    configuration = folder / "resolv.conf"
    lines = [*(f"nameserver {each}" for each in nameservers), f"options {options}" if options else ""]
    configuration.write_text("\n".join(lines))
    with ownNetwork(), ownMounts(), replaced(Path("/etc/resolv.conf"), configuration), ExitStack() as stack:
        yield stack


def resolved(timeout: float = 5, family: Family = Family.ANY) -> Finding:
    """Return what the check finds for NAME."""
    _threads.cache_clear()  # those that there are have another network
    return find(check, StreamTarget("", NAME, 8081, family=family), timeout=timeout)


def causes(finding: Finding) -> list[tuple[Status, str]]:
    """Return the status and the cause of each problem."""
    return [(problem.status, problem.cause) for problem in finding.problems]


@contextmanager
def silent(address: str) -> Iterator[None]:
    """Take the questions at `address`, and answer none."""
    with socket(AF_INET, SOCK_DGRAM) as deaf:
        deaf.bind((address, 53))
        yield


def test_nameserversAgreeOrNot(tmp_path: Path) -> None:
    """Two nameservers that agree are fine, and all addresses of both families are found; other answers are a note."""
    with machine(tmp_path, FIRST, SECOND) as stack:
        stack.enter_context(nameserver(FIRST, GOOD))
        with nameserver(SECOND, GOOD):
            finding = resolved()
        assert causes(finding) == []
        assert sorted(finding.figures["addresses"]) == ["127.0.0.1", "::1"]
        with nameserver(SECOND, GOOD | {(NAME, "A"): ["127.0.0.9"]}):
            assert causes(resolved()) == [(Status.NOTE, "nameservers-disagree")]
        with nameserver(SECOND, {(NAME, kind): dns.EREFUSED for kind in ("A", "AAAA")}):
            assert causes(resolved()) == [(Status.NOTE, "nameserver-fails")]


@pytest.mark.slow
def test_silentNameserver(tmp_path: Path) -> None:
    """A first nameserver that is silent is named, with the time that it costs each look-up."""
    with machine(tmp_path, FIRST, SECOND, options="timeout:2") as stack:
        stack.enter_context(silent(FIRST))
        stack.enter_context(nameserver(SECOND, GOOD))
        for _ in range(3):  # a look-up in which this process was paused doesn't count
            finding = resolved(timeout=1)
            if finding.status is Status.WARN:
                break
    (problem,) = finding.problems
    assert (problem.status, problem.cause) == (Status.WARN, "nameserver-silent")
    assert problem.text == f"the first nameserver {FIRST} does not answer; each look-up waits 2 s for it"
    assert finding.figures["seconds"][0] >= 2


def test_noAddress(tmp_path: Path) -> None:
    """A name that there isn't, a nameserver that fails, and one that is silent are told apart."""
    with machine(tmp_path, FIRST):
        with nameserver(FIRST, {}):
            finding = resolved()
        assert causes(finding) == [(Status.FAIL, "no-such-name")]
        assert finding.problems[0].code is ExitCode.UNRESOLVED
        with nameserver(FIRST, {(NAME, kind): dns.ESERVER for kind in ("A", "AAAA")}):
            assert causes(resolved()) == [(Status.FAIL, "nameservers-fail")]
        with silent(FIRST):
            finding = resolved(timeout=1)
    assert causes(finding) == [(Status.FAIL, "no-nameserver")]
    assert finding.problems[0].code is ExitCode.TIMED_OUT


@pytest.mark.slow
def test_oneKindIsSilent(tmp_path: Path) -> None:
    """A nameserver that drops the questions for AAAA is told; with -4 it is fine."""
    with machine(tmp_path, FIRST, options="timeout:1 attempts:1") as stack:
        stack.enter_context(nameserver(FIRST, GOOD | {(NAME, "AAAA"): SILENCE}))
        assert causes(resolved(timeout=3)) == [(Status.WARN, "one-kind-fails")]
        assert causes(resolved(family=Family.IPV4)) == []
