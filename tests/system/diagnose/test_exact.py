"""The check `exact`: relays and proxies that change bytes, cut or filter, and the same without a fault."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from echoup.client.diagnose.checks import exact
from tests.support.addresses import Address
from tests.support.authorities import Certificates
from tests.support.checks import REPETITIONS, checked
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.diagnoses import diagnose
from tests.support.faultyrelay import FaultyRelay
from tests.support.servers import serving
from tests.support.streamproxies import haproxy, socat


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Daemon]:
    """A daemon that listens on TCP, TLS and a Unix socket."""
    folder = tmp_path_factory.mktemp("exact")
    listen = ["127.0.0.1:0", listenTLS(certificates.server), f"unix:{folder}/socket"]
    with Daemon.start(folder, listen=listen) as daemon:
        yield daemon


@pytest.mark.parametrize("way", ["plain", "TLS", "Unix", "relay", "haproxy", "haproxy TLS", "socat"])
def test_exactPathIsOK(daemon: Daemon, certificates: Certificates, tmp_path: Path, way: str) -> None:
    """On a path that carries every byte nothing is said, whatever is in between."""
    plain, tls, unix = daemon.addresses
    server = plain.target

    def find(address: Address) -> None:
        for _ in range(REPETITIONS):
            assert checked(address.target, exact.check).causes == []

    if way == "relay":
        with FaultyRelay(plain) as relay:
            assert checked(relay.target, exact.check).causes == []
    elif way.startswith("haproxy"):
        with haproxy(tmp_path, server, bind=f"ssl crt {certificates.server}" if "TLS" in way else "") as address:
            find(address)
    elif way == "socat":
        with socat(tmp_path, f"TCP:{server}") as address:
            find(address)
    else:
        find({"plain": plain, "TLS": tls, "Unix": unix}[way])


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
        found = checked(relay.target, exact.check, timeout=2.0)
        assert found.causes == [cause]
        assert found.finding
        assert found.finding.status.value == "fail"


def test_socatsConversionIsNamed(daemon: Daemon, tmp_path: Path) -> None:
    """Socat's conversion of line ends is named, on its listening side with what it does in each direction."""
    server = f"TCP:{daemon.address.target}"
    for to, listen, words in (
        (f"{server},crlf", "", "every CR was dropped"),
        (server, ",crlf", "every CR was dropped on the way there, LF became CR LF on the way back"),
    ):
        with socat(tmp_path, to, listen=listen) as address:
            found = checked(address.target, exact.check, timeout=2.0)
            assert found.causes == ["line-ends-changed"]
            assert found.finding
            assert found.finding.summary == f"line ends are converted: {words}"


def test_filterBehindAnEndIsNamed(tmp_path: Path) -> None:
    """A program that answers at the end of its input (tr behind socat) is noted, and found exact."""
    with socat(tmp_path, "EXEC:tr a-z A-Z") as address:
        found = checked(address.target, exact.check, timeout=1.0)
        assert found.causes == ["answers-at-end"]
        assert found.finding
        assert {payload["outcome"] for payload in found.finding.figures["payloads"]} == {"right"}


@pytest.mark.parametrize(("name", "cause"), [("unchanged", "unchanged"), ("chatty", "bytes-added")])
def test_otherServersAreNamed(name: str, cause: str) -> None:
    """An echo that isn't the application, and a server with a greeting, are named."""
    with serving(name) as address:
        assert checked(address.target, exact.check, timeout=2.0).causes == [cause]


def test_commandFails(daemon: Daemon) -> None:
    """The command exits with the code of what it found, and names it as the cause of what other checks found."""
    with FaultyRelay(daemon.address, limit=50_000) as relay:
        done = diagnose(relay.target, "--only=exact", "--only=half-close")
        assert (done.code, done.causes("exact")) == (7, ["cut-above-size"])
        assert done.causes("half-close") == ["half-close-broke-off"]
        assert done.report["cause"]["cause"] == "cut-above-size"
