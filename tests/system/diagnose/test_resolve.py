"""`resolve` on machines with good and bad nameservers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket

import pytest
from twisted.names import dns

from tests.support.diagnoses import Diagnosis, diagnose
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


def resolved(*options: str) -> Diagnosis:
    """Return a diagnosis of NAME that is made up to the check `resolve`, because nothing listens there."""
    return diagnose(NAME, "--only", "resolve", *options)


@contextmanager
def silent(address: str) -> Iterator[None]:
    """Take the questions at `address`, and answer none."""
    with socket(AF_INET, SOCK_DGRAM) as deaf:
        deaf.bind((address, 53))
        yield


def test_goodNameservers(tmp_path: Path) -> None:
    """Two nameservers that agree are fine; all addresses of both families are found."""
    with machine(tmp_path, FIRST, SECOND) as stack:
        stack.enter_context(nameserver(FIRST, GOOD))
        stack.enter_context(nameserver(SECOND, GOOD))
        check = resolved().check("resolve")
    assert (check["status"], check["problems"]) == ("ok", [])
    assert sorted(check["figures"]["addresses"]) == ["127.0.0.1", "::1"]


@pytest.mark.slow
def test_silentNameserver(tmp_path: Path) -> None:
    """A first nameserver that is silent is named, with the time that it costs each look-up."""
    with machine(tmp_path, FIRST, SECOND, options="timeout:2") as stack:
        stack.enter_context(silent(FIRST))
        stack.enter_context(nameserver(SECOND, GOOD))
        done = resolved("--timeout=1")
    (problem,) = done.check("resolve")["problems"]
    assert (problem["status"], problem["cause"]) == ("warn", "nameserver-silent")
    assert problem["text"] == f"the first nameserver {FIRST} does not answer; each look-up waits 2 s for it"
    assert done.check("resolve")["figures"]["seconds"][0] >= 2


def test_noNameserver(tmp_path: Path) -> None:
    """Where no nameserver answers, that is the cause, and nothing more is tried."""
    with machine(tmp_path, FIRST) as stack:
        stack.enter_context(silent(FIRST))
        done = diagnose(NAME, "--timeout=1")
    assert (done.code, done.causes("resolve")) == (5, ["no-nameserver"])
    assert done.check("exact")["status"] == "skipped"


def test_unknownName(tmp_path: Path) -> None:
    """A name that there isn't is told from a nameserver that fails."""
    with machine(tmp_path, FIRST):
        with nameserver(FIRST, {}):
            done = diagnose(NAME)
        assert (done.code, done.causes("resolve")) == (3, ["no-such-name"])
        with nameserver(FIRST, {(NAME, kind): dns.ESERVER for kind in ("A", "AAAA")}):
            done = diagnose(NAME)
        assert (done.code, done.causes("resolve")) == (3, ["nameservers-fail"])


@pytest.mark.slow
def test_oneKindIsSilent(tmp_path: Path) -> None:
    """A nameserver that drops the questions for AAAA is told; with -4 it is fine."""
    with machine(tmp_path, FIRST, options="timeout:1 attempts:1") as stack:
        stack.enter_context(nameserver(FIRST, GOOD | {(NAME, "AAAA"): SILENCE}))
        assert resolved("--timeout=3").causes("resolve") == ["one-kind-fails"]
        assert resolved("-4").causes("resolve") == []


def test_nameserversDisagree(tmp_path: Path) -> None:
    """Nameservers with different answers are a note."""
    with machine(tmp_path, FIRST, SECOND) as stack:
        stack.enter_context(nameserver(FIRST, GOOD))
        stack.enter_context(nameserver(SECOND, GOOD | {(NAME, "A"): ["127.0.0.9"]}))
        check = resolved().check("resolve")
    assert [(problem["status"], problem["cause"]) for problem in check["problems"]] == [
        ("note", "nameservers-disagree")
    ]
