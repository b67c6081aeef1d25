"""The check `exact`: relays and proxies that change bytes, cut or filter, and the same without a fault."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from echoup.client.diagnose.checks import exact
from tests.support.authorities import Certificates
from tests.support.checks import RUNS, causesOf, find
from tests.support.daemon import Daemon
from tests.support.diagnoses import diagnose
from tests.support.faultyrelays import FaultyRelay
from tests.support.proxies import haproxy, socat
from tests.support.servers import serving


@pytest.mark.parametrize("way", ["plain", "TLS", "Unix", "relay", "haproxy", "haproxy TLS", "socat"])
def test_exactPathIsOK(daemon: Daemon, certificates: Certificates, tmp_path: Path, way: str) -> None:
    """On a path that carries every byte nothing is said, whatever is in between."""
    plain, tls, unix = daemon.addresses
    server = plain.target

    with ExitStack() as stack:
        if way == "relay":
            target = stack.enter_context(FaultyRelay(plain)).target
        elif way.startswith("haproxy"):
            bind = f"ssl crt {certificates.server}" if "TLS" in way else ""
            target = stack.enter_context(haproxy(tmp_path, server, bind)).target
        elif way == "socat":
            target = stack.enter_context(socat(tmp_path, f"TCP:{server}")).target
        else:
            target = {"plain": plain, "TLS": tls, "Unix": unix}[way].target
        for _ in range(RUNS):
            assert find(exact.check, target).problems == ()


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        ("line-ends-changed", {"request": lambda data: data.replace(b"\r\n", b"\n")}),
        ("8th-bit-stripped", {"reply": lambda data: bytes(byte & 127 for byte in data)}),
        ("bytes-changed", {"reply": lambda data: data.replace(b"\x16", b"\x17")}),
        ("filter-http", {"request": lambda data: None if b"HTTP/1." in data else data}),
        ("filter-sip", {"request": lambda data: None if b"SIP/2.0" in data else data}),
        ("filter-ftp", {"reply": lambda data: re.sub(rb"PORT 127,0,0,1,", b"PORT 192,0,2,12,", data)}),
        ("filter-ftp", {"reply": lambda data: re.sub(rb"(PASSIVE MODE \()127,0,0,1", rb"\g<1>10,0,0,1", data)}),
        ("cut-above-size", {"limit": 50_000}),
        ("case-changed", {"reply": lambda data: data.lower()}),
    ],
)
def test_faultIsNamed(daemon: Daemon, cause: str, fault: dict[str, Any]) -> None:
    """What a relay does to the bytes, or to a protocol, is named, and nothing else is."""
    with FaultyRelay(daemon.address, **fault) as relay:
        found = find(exact.check, relay.target, timeout=2.0)
        assert causesOf(found) == [cause]
        assert found.status.value == "fail"


def test_socatsConversionIsNamed(daemon: Daemon, tmp_path: Path) -> None:
    """Socat's conversion of line ends is named, on its listening side with what it does in each direction."""
    server = f"TCP:{daemon.address.target}"
    for to, listen, words in (
        (f"{server},crlf", "", "every CR was dropped"),
        (server, ",crlf", "every CR was dropped on the way there, LF became CR LF on the way back"),
    ):
        with socat(tmp_path, to, listen=listen) as address:
            found = find(exact.check, address.target, timeout=2.0)
            assert causesOf(found) == ["line-ends-changed"]
            assert found.summary == f"line ends are converted: {words}"


def test_filterBehindAnEndIsNamed(tmp_path: Path) -> None:
    """A program that answers at the end of its input (tr behind socat) is noted, and found exact."""
    with socat(tmp_path, "EXEC:tr a-z A-Z") as address:
        found = find(exact.check, address.target, timeout=1.0)
        assert causesOf(found) == ["answers-at-end"]
        assert {payload["outcome"] for payload in found.figures["payloads"]} == {"right"}


@pytest.mark.parametrize(("name", "cause"), [("unchanged", "unchanged"), ("chatty", "bytes-added")])
def test_otherServersAreNamed(name: str, cause: str) -> None:
    """An echo that isn't the application, and a server with a greeting, are named."""
    with serving(name) as address:
        assert causesOf(find(exact.check, address.target, timeout=2.0)) == [cause]


def test_commandFails(daemon: Daemon) -> None:
    """The command exits with the code of what it found, and names it as the cause of what other checks found."""
    with FaultyRelay(daemon.address, limit=50_000) as relay:
        done = diagnose(relay.target, "--only=exact", "--only=half-close")
        assert (done.code, done.causes("exact")) == (7, ["cut-above-size"])
        assert done.causes("half-close") == ["broke-off"]
        assert done.report["cause"]["cause"] == "cut-above-size"
