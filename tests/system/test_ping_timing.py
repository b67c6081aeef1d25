"""The times of `echoup ping`, compared with those of a relay with a known delay that measures too.

The relay's times lie within those that are measured from outside, so no phase may be shorter. How much longer it is
depends on the load of the machine; a phase that contained another one's delay would be longer by it each time.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.support.authorities import Certificates
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.pings import TIMED, Pinged, probe
from tests.support.relay import StreamRelay
from tests.support.tls import speaking

COUNT = 10
DELAY = 0.05
"""Seconds in each direction: by less than that has the best of COUNT to be right, however busy the machine is."""
ROUNDING = 1e-6
"""Seconds by which sums of floating-point numbers may be off."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon on TCP."""
    with Daemon.start(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


def inOrder(pinged: Pinged, isKept: bool = False) -> list[dict[str, dict[str, Any]]]:
    """Return the phases of each probe, by their steps, and the whole probe as `probe`.

    No time is in two phases: together they are no longer than the probe, except that the phase of the server's end
    begins when all was sent. With --keep (`isKept`) a probe begins when there is a connection.
    """
    assert (pinged.code, pinged.summary["answered"]) == (0, COUNT)
    probes = sorted(pinged.probes, key=lambda one: int(one["seq"]))
    for one in probes:
        times = {phase["step"]: phase["seconds"] for phase in one["phases"]}
        reply, end = times.pop("first byte") + times.pop("all bytes"), times.pop("end", 0.0)
        assert (0 if isKept else sum(times.values())) + max(reply, end) <= one["seconds"] + ROUNDING
    return [{"probe": one} | {phase["step"]: phase for phase in one["phases"]} for one in probes]


def compare(name: str, measured: list[float], known: list[float], figure: Callable[[str], None]) -> None:
    """Compare, in seconds, what `echoup ping` has measured with the time that is known to have passed in between."""
    excess = [one - other for one, other in zip(measured, known, strict=True)]
    best, middle, worst = (1000 * seconds for seconds in (min(excess), median(excess), max(excess)))
    figure(f"{name}: {best:.3f} ms more than at the relay at best, {middle:.3f} in the middle, {worst:.3f} at worst")
    assert 0 <= min(excess) < DELAY


@pytest.mark.parametrize("option", ["", "--keep", "--half-close"])
def test_firstByteTakesPathAndServer(daemon: Daemon, option: str, figure: Callable[[str], None]) -> None:
    """The first byte takes as long as the relay delays the request and the reply, and the daemon answers."""
    with StreamRelay(daemon.address, DELAY) as relay:
        pinged = probe(relay.target, "-i0", *filter(None, [option]), count=COUNT, command=TIMED)
        requests = [chunk for passage in relay.passages for chunk in passage.requests]
        replies = [chunk for passage in relay.passages for chunk in passage.replies]
    probes = inOrder(pinged, isKept=option == "--keep")
    known = [reply.forwarded - request.received for request, reply in zip(requests, replies, strict=True)]
    assert min(known) >= 2 * DELAY
    compare("first byte", [one["first byte"]["seconds"] for one in probes], known, figure)
    if option == "--keep":
        compare("the whole probe", [one["probe"]["seconds"] for one in probes], known, figure)


def test_connectExcludesReply(daemon: Daemon, figure: Callable[[str], None]) -> None:
    """Connecting to a relay that accepts at once isn't longer by the time of the reply; the kernel agrees."""
    with StreamRelay(daemon.address, DELAY) as relay:
        probes = inOrder(probe(relay.target, "-i0", count=COUNT, command=TIMED))
    times = [one["connect"]["seconds"] for one in probes]
    compare("connect", times, [one["connect"]["tcp"]["rtt"] for one in probes], figure)


def test_allBytesTakesRestOfReply(daemon: Daemon, figure: Callable[[str], None]) -> None:
    """When the rest of the reply comes later than its first byte, that time is in the phase for it."""
    with StreamRelay(daemon.address, pause=DELAY) as relay:
        probes = inOrder(probe(relay.target, "-i0", count=COUNT, command=TIMED))
        pauses = [passage.replies[1].forwarded - passage.replies[0].forwarded for passage in relay.passages]
        known = [passage.replies[1].forwarded - passage.requests[0].received for passage in relay.passages]
    both = [one["first byte"]["seconds"] + one["all bytes"]["seconds"] for one in probes]
    compare("both", both, known, figure)
    # ping decides where one ends and the other begins, so that phase may be shorter than the pause.
    off = [abs(one["all bytes"]["seconds"] - pause) for one, pause in zip(probes, pauses, strict=True)]
    figure(f"all bytes: {1000 * min(off):.3f} ms off at best, {1000 * median(off):.3f} in the middle")
    assert min(off) < DELAY / 2
    assert min(one["first byte"]["seconds"] for one in probes) < DELAY / 2


def test_endTakesBothEnds(daemon: Daemon, figure: Callable[[str], None]) -> None:
    """The server's end takes as long as the relay delays the request, our end behind it, and the server's."""
    with StreamRelay(daemon.address, DELAY) as relay:
        pinged = probe(relay.target, "-i0", "--half-close", count=COUNT, command=TIMED)
    known = [passage.replyEnd - passage.requests[0].received for passage in relay.passages]
    assert min(known) >= 3 * DELAY  # for the request, our end behind it, and the server's
    compare("end", [one["end"]["seconds"] for one in inOrder(pinged)], known, figure)


@pytest.mark.parametrize(("version", "roundTrips"), [("TLSv1.2", 2), ("TLSv1.3", 1)])
def test_handshakeTakesRoundTrips(
    tmp_path: Path, certificates: Certificates, version: str, roundTrips: int, figure: Callable[[str], None]
) -> None:
    """The handshake takes the two round trips of TLS 1.2, or the one of TLS 1.3, that the relay has seen."""
    listen, environment = [listenTLS(certificates.server)], speaking(tmp_path, version)
    with (
        Daemon.start(tmp_path, listen=listen, environment=environment) as daemon,
        StreamRelay(daemon.address, DELAY) as relay,
    ):
        probes = inOrder(
            probe(f"tls:{relay.target}", f"--cafile={certificates.authority}", "-i0", count=COUNT, command=TIMED)
        )
        known = [passage.replies[roundTrips - 1].forwarded - passage.requests[0].received for passage in relay.passages]
    assert 2 * roundTrips * DELAY <= min(known) < 2 * (roundTrips + 1) * DELAY
    compare("TLS", [one["TLS"]["seconds"] for one in probes], known, figure)
