"""`echoup ping` of our daemon, over every transport that it speaks."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.datagrams import ports
from tests.support.pings import TIMED, ping, probe, resolving
from tests.support.relay import StreamRelay
from tests.support.servers import serving
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon on IPv4, IPv6, a Unix socket and UDP."""
    folder = tmp_path_factory.mktemp("daemon")
    listen = ["127.0.0.1:0", "[::1]:0", f"unix:{folder}/socket"]
    with Daemon.start(folder, "--log-connections", "--udp=127.0.0.1:0", "--udp=[::1]:0", listen=listen) as daemon:
        yield daemon


def targets(daemon: Daemon) -> list[str]:
    """Return all that `daemon` listens on: three streams, then two for datagrams."""
    datagrams = [f"udp:[{host}]:{port}" if ":" in host else f"udp:{host}:{port}" for host, port in ports(daemon)]
    return [address.target for address in daemon.addresses] + datagrams


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("size", [1, 56, pytest.param(50_000, marks=pytest.mark.portable)])
def test_everyTransportAnswers(daemon: Daemon, size: int, kept: bool) -> None:
    """Over every transport all comes back, and both addresses are reported."""
    for target in targets(daemon):
        pinged = probe(target, f"-s{size}", "-i0", *["--keep"] * kept, count=3)
        assert (pinged.code, pinged.summary["answered"], pinged.summary["loss"]) == (0, 3, 0)
        assert pinged.summary["outage"] is None
        for one in pinged.probes:
            assert (one["verdict"], one["sent"], one["received"], one["wrongAt"]) == ("uppercased", size, size, None)
            assert one["remote"] == (target if target.startswith("unix:") else target.removeprefix("udp:"))
            assert one["target"] == target
        if not target.startswith("unix:"):
            assert len({one["local"] for one in pinged.probes}) == (1 if kept else 3)


@pytest.mark.slow
def test_largePayloadComesBack(daemon: Daemon) -> None:
    """More than the kernel takes at once comes back too, on all streams."""
    for address in daemon.addresses:
        for size in (100_000, 10_000_000):
            for options in ([], ["--half-close"]):
                pinged = probe(address.target, f"-s{size}", *options)
                assert (pinged.found, pinged.probe["received"]) == (("uppercased", None, 0), size)


def test_phasesAreInOrder(daemon: Daemon) -> None:
    """The phases are in the order of the steps, and together no longer than the probe."""
    for address in daemon.addresses:
        for options, steps in (
            ([], ["connect", "first byte", "all bytes"]),
            (["--half-close"], ["connect", "first byte", "all bytes", "end"]),
        ):
            pinged = probe(address.target, *options, command=TIMED)
            assert pinged.found == ("uppercased", None, 0)
            assert list(pinged.phases) == steps
            connect, first, last, *end = (phase["seconds"] for phase in pinged.phases.values())
            # The time to the server's end begins with our own, which goes out with the payload.
            assert connect + max([first + last, *end]) <= pinged.probe["seconds"]
            assert pinged.phases["connect"]["address"] == address.target
            if address.target.startswith("unix:"):
                assert {phase["tcp"] for phase in pinged.phases.values()} == {None}
            else:
                assert pinged.phases["connect"]["local"] == pinged.probe["local"]
                assert pinged.phases["connect"]["tcp"]["state"] == "ESTABLISHED"
                assert pinged.phases["connect"]["tcp"]["rtt"] > 0


def test_keepHasOneConnection(daemon: Daemon) -> None:
    """With --keep there is one connection, and only the first probe waits for it; it ends as the daemon expects."""
    pinged = probe(daemon.address.target, "--keep", "-i0.01", "-s100", count=5)
    assert pinged.summary["answered"] == 5
    assert ["connect" in {phase["step"] for phase in one["phases"]} for one in pinged.probes] == [True] + [False] * 4
    (local,) = {one["local"] for one in pinged.probes}
    (connection,) = eventually(lambda: daemon.connectionsFrom({local}))
    assert (connection["bytes"], connection["reason"]) == ("500", "done")


def test_halfCloseEndsBothSides(daemon: Daemon) -> None:
    """With --half-close each probe has a connection that both sides end."""
    pinged = probe(daemon.address.target, "--half-close", "-i0", count=3)
    peers = {one["local"] for one in pinged.probes}
    connections = eventually(lambda: len(found := daemon.connectionsFrom(peers)) == 3 and found)
    assert {(one["bytes"], one["reason"]) for one in connections} == {("56", "done")}


@pytest.mark.parametrize("kept", [False, True])
def test_payloadIsRandomText(daemon: Daemon, kept: bool) -> None:
    """Each probe sends other bytes, nothing is added to them, and all are text."""
    with StreamRelay(daemon.address) as relay:
        pinged = probe(relay.target, "-i0.01", "-s40", *["--keep"] * kept, count=20)
        assert pinged.summary["answered"] == 20
        sent = b"".join(passage.request for passage in relay.passages)
        assert len(relay.passages) == (1 if kept else 20)
    assert len(sent) == 20 * 40
    payloads = [sent[start : start + 40] for start in range(0, len(sent), 40)]
    assert len(set(payloads)) == 20
    assert all(re.fullmatch(rb"[a-z][\w-]{38}\n", payload) for payload in payloads)


def test_replayedAnswerIsWrong() -> None:
    """An answer from a cache, though right for another probe, isn't taken for the application's."""
    with serving("replaying") as address:
        pinged = probe(address.target, "-i0", count=3)
        assert [one["verdict"] for one in sorted(pinged.probes, key=lambda one: one["seq"])] == [
            "uppercased",
            "corrupted",
            "corrupted",
        ]
        assert (pinged.code, pinged.summary["wrong"]) == (1, 2)
        wrongAt = [one["wrongAt"] for one in pinged.probes if one["verdict"] == "corrupted"]
        assert pinged.error.startswith(f"2 of 3 failed: {address.target}: corrupted: byte {wrongAt[0]} of the reply ")


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_proxyHeaderIsStep(tmp_path: Path, host: str, version: str) -> None:
    """A daemon that demands a PROXY header gets it, as a step of its own; without one, the step that fails is known."""
    with Daemon.start(
        tmp_path, f"--proxy-from={host.strip('[]')}", "--log-connections", listen=[f"{host}:0"]
    ) as daemon:
        pinged = probe(daemon.address.target, f"--proxy-protocol={version}", "--half-close")
        assert pinged.found == ("uppercased", None, 0)
        assert list(pinged.phases) == ["connect", "PROXY header", "first byte", "all bytes", "end"]
        assert pinged.phases["PROXY header"]["version"] == version
        (connection,) = eventually(lambda: daemon.connections)
        assert connection["peer"] == connection["via"] == pinged.probe["local"]
        pinged = probe(daemon.address.target, "-W5")
        assert pinged.found == ("short", "first byte", 7)
        assert " the connection, 0 of 56 bytes came back; " in pinged.error
        assert pinged.error.endswith("the server may expect --tls or --proxy-protocol")


def test_familyLimitsAddresses(daemon: Daemon) -> None:
    """-4 and -6 use only the addresses of their family; a name without one isn't resolved."""
    (_, v4), (_, v6, *_) = (address.address for address in daemon.addresses[:2])
    both = resolving("127.0.0.1", "::1")
    for option, port, remote in (("-4", v4, "127.0.0.1"), ("-6", v6, "[::1]")):
        pinged = probe(f"name.example:{port}", option, command=both)
        assert pinged.found == ("uppercased", None, 0)
        assert list(pinged.phases) == ["resolve", "connect", "first byte", "all bytes"]
        assert pinged.phases["resolve"]["addresses"] == [remote.strip("[]")]
        assert pinged.probe["remote"] == f"{remote}:{port}"
    for option, addresses, why in (
        ("-6", ["127.0.0.1"], "no IPv6 address found"),
        ("-4", ["::1"], "no IPv4 address found"),
    ):
        pinged = probe("name.example", option, command=resolving(*addresses))
        assert pinged.found == (None, "resolve", 3)
        assert pinged.error == f"cannot resolve name.example: {why}"
    assert probe(daemon.addresses[1].target, "-6").code == 0
    assert probe(targets(daemon)[4], "-6").code == 0


@pytest.mark.parametrize(("option", "target", "version"), [("-6", "127.0.0.1", 6), ("-4", "[::1]", 4)])
@pytest.mark.parametrize("transport", ["", "udp:"])
def test_addressOfOtherFamilyIsUnresolved(option: str, target: str, version: int, transport: str) -> None:
    """An address of the other family isn't resolved, and that is the step that fails."""
    pinged = probe(transport + target, option)
    assert (pinged.code, pinged.error) == (3, f"cannot resolve {target.strip('[]')}: not an IPv{version} address")
    assert pinged.probe["step"] == "resolve"


@pytest.mark.portable
def test_textHasHeadingLinesAndStatistics(daemon: Daemon) -> None:
    """The text has a heading, a line for each probe and the statistics; with -v the phases too."""
    target = daemon.address.target
    heading = f"ECHOUP {target}: 56 bytes\n"
    line = rf"56 bytes uppercased from {target}: seq=%d time=[\d.]+ ms\n"
    number = r"[\d.]+"
    statistics = (
        rf"\n--- {target} statistics ---\n2 sent, 2 answered, 0 lost \(0 %\), 0 wrong\n"
        rf"time min/avg/max/stddev = {number}/{number}/{number}/{number} ms\n"
        rf" +p50/p90/p95/p99 = {number}/{number}/{number}/{number} ms\n"
    )
    ended = ping("-c2", "-i0", target, command=TIMED)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(heading + line % 1 + line % 2 + statistics, ended.stdout), ended.stdout
    ended = ping("-c2", "-i0", "-q", target, command=TIMED)
    assert re.fullmatch(statistics.removeprefix(r"\n"), ended.stdout), ended.stdout
    ended = ping("-c1", "-v", "--half-close", target, command=TIMED)
    kernel = rf"rtt {number} ms, retransmits 0"
    assert re.search(
        rf"56 bytes uppercased from {target} to (\S+): seq=1 time={number} ms\n"
        rf"    connect +{number} ms  {target}, from \1, ESTABLISHED, {kernel}\n"
        rf"    first byte +{number} ms  \S+, {kernel}\n"
        rf"    all bytes +{number} ms  \S+, {kernel}\n"
        rf"    end +{number} ms\n",
        ended.stdout,
    ), ended.stdout
