"""The check `half-close`: proxies and relays that cut, swallow or reset, and the same that don't."""

from pathlib import Path

import pytest

from echoup.client.diagnose.checks import halfclose
from echoup.client.diagnose.finding import Finding
from tests.support.addresses import Address
from tests.support.authorities import Certificates
from tests.support.checks import RUNS, causesOf, find
from tests.support.daemon import Daemon
from tests.support.faultyrelays import FaultyRelay, HalfClose
from tests.support.proxies import haproxy, nginx, socat, stunnel
from tests.support.servers import serving


def look(address: Address, timeout: float = 5.0) -> Finding:
    """Return what the check finds."""
    return find(halfclose.check, address.target, timeout=timeout)


def requireOK(address: Address, end: str = "FIN") -> None:
    """Check that nothing is said against the path, and that each connection had this `end`."""
    for _ in range(RUNS):
        found = look(address)
        assert causesOf(found) == []
        assert {each["end"] for each in found.figures["connections"]} == {end}


def test_daemonIsOK(daemon: Daemon) -> None:
    """The daemon itself half-closes rightly over TCP, TLS and Unix sockets."""
    plain, tls, unix = daemon.addresses
    requireOK(plain)
    requireOK(tls, "close_notify")
    requireOK(unix)


def test_nginxNeedsItsOption(daemon: Daemon, tmp_path: Path) -> None:
    """Nginx takes a half-close for a close, unless `proxy_half_close` is on."""
    server = daemon.address.target
    with nginx(tmp_path, server, ("proxy_half_close on;",)) as address:
        requireOK(address)
    with nginx(tmp_path, server) as address:
        found = look(address)
        assert causesOf(found) == ["half-close-cut"]
        assert any("had acknowledged all that we sent" in seen for seen in found.problems[0].seen)


def test_haproxyHalfCloses(daemon: Daemon, certificates: Certificates, tmp_path: Path) -> None:
    """A haproxy passes a half-close on, also where it ends TLS, and with `option abortonclose`."""
    server = daemon.address.target
    with haproxy(tmp_path, server, settings=("option abortonclose",)) as address:
        requireOK(address)
    with haproxy(tmp_path, server, bind=f"ssl crt {certificates.server}") as address:
        requireOK(address, "close_notify")


def test_haproxysTimeoutCutsWhatIsLate(daemon: Daemon, tmp_path: Path) -> None:
    """A haproxy's timeouts of half-closed connections cut a reply that takes longer, and no other."""
    with FaultyRelay(daemon.address, delay=0.4) as relay:
        for timeout, causes in (("100ms", ["half-close-cut"]), ("30s", [])):
            settings = (f"timeout client-fin {timeout}", f"timeout server-fin {timeout}")
            with haproxy(tmp_path, relay.target, settings=settings) as address:
                assert causesOf(look(address)) == causes


def test_haproxysLingerIsFound(daemon: Daemon, tmp_path: Path) -> None:
    """A haproxy's `option nolinger` resets connections, and what is on the way with them."""
    with haproxy(tmp_path, daemon.address.target, settings=("option nolinger",)) as address:
        assert {*causesOf(look(address))} & {"half-close-cut", "end-reset"}


def test_socatsTimeoutCutsWhatIsLate(daemon: Daemon, tmp_path: Path) -> None:
    """A socat's time after an end (-t) cuts a reply that takes longer, and no other."""
    with FaultyRelay(daemon.address, delay=0.4) as relay:
        for option, causes in (("-t0.1", ["half-close-cut"]), ("-t30", [])):
            with socat(tmp_path, f"TCP:{relay.target}", option) as address:
                assert causesOf(look(address)) == causes


def test_swallowedEndIsFound(daemon: Daemon, tmp_path: Path) -> None:
    """A proxy that keeps our end to itself is found: socat's `ignoreeof`, and a relay."""
    with socat(tmp_path, f"TCP:{daemon.address.target}", listen=",ignoreeof") as address:
        assert causesOf(look(address, 1.0)) == ["end-missing"]
    with FaultyRelay(daemon.address, halfClose=HalfClose.SWALLOW) as relay:
        assert causesOf(find(halfclose.check, relay.target, timeout=1)) == ["end-missing"]


@pytest.mark.parametrize(
    ("halfClose", "causes"),
    [(HalfClose.FORWARD, []), (HalfClose.CLOSE, ["half-close-cut"]), (HalfClose.RESET, ["end-reset"])],
)
def test_relaysAreTold(daemon: Daemon, halfClose: HalfClose, causes: list[str]) -> None:
    """A relay that passes our end on, one that closes, and one that resets after the reply are told apart."""
    with FaultyRelay(daemon.address, halfClose=halfClose) as relay:
        assert causesOf(find(halfclose.check, relay.target)) == causes


def test_stunnelHalfCloses(daemon: Daemon, certificates: Certificates, tmp_path: Path) -> None:
    """stunnel, which ends TLS in front of the daemon, passes a half-close on."""
    with stunnel(tmp_path, daemon.address.target, f"cert = {certificates.server}") as address:
        requireOK(address, "close_notify")


def test_programBehindANetcatIsOK() -> None:
    """A program that answers at the end of its input is OK, and the summary says when it answers."""
    with serving("netcat") as address:
        found = look(address, 1.0)
        assert causesOf(found) == []
        assert found.summary.endswith("the server answers only after our end")
