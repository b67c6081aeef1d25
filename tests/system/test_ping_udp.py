"""`echoup ping` over UDP, through a relay that loses, doubles, swaps and delays datagrams."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from socket import AF_INET, SOCK_DGRAM, socket
from typing import Any

import pytest

from tests.support.addresses import unused
from tests.support.daemon import Daemon
from tests.support.datagrams import ports
from tests.support.ending import ending
from tests.support.pings import TIMED, Pinged, ping, probe
from tests.support.relay import DatagramRelay
from tests.support.servers import answering

COUNTS = ("sent", "answered", "lost", "wrong", "unfinished", "duplicates", "reordered", "late")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Where a daemon answers datagrams."""
    with Daemon.start(tmp_path_factory.mktemp("daemon"), "--udp=127.0.0.1:0") as daemon:
        (address,) = ports(daemon)
        yield address


def counts(pinged: Pinged) -> dict[str, int]:
    """Return those counts of the summary that aren't 0."""
    return {name: pinged.summary[name] for name in COUNTS if pinged.summary[name]}


def lost(pinged: Pinged) -> list[int]:
    """Return the seqs of the probes without an answer."""
    assert {one["code"] for one in pinged.probes} <= {0, 5}
    return sorted(one["seq"] for one in pinged.probes if one["code"] == 5)


@pytest.mark.portable
def test_faithfulRelayCountsNothing(server: tuple[str, int]) -> None:
    """Through a relay that only forwards, nothing is counted, and each probe has other bytes and another port."""
    with DatagramRelay(server) as relay:
        pinged = probe(relay.target, "-i0.01", "-s30", count=20)
        assert (pinged.code, counts(pinged)) == (0, {"sent": 20, "answered": 20})
        assert len({chunk.data for chunk in relay.requests}) == 20
        assert {len(chunk.data) for chunk in relay.requests} == {30}
        assert len({one["local"] for one in pinged.probes}) == 20


def test_troubleIsCounted(server: tuple[str, int]) -> None:
    """Lost, doubled, reordered and late answers are counted exactly, and each probe is judged by its own answer."""
    # The first is held until the 17th was answered, which is sent 3.2 s later, and so 0.2 s after it was given up.
    with DatagramRelay(server, drop={3}, double={5}, hold={7: 8, 1: 17}) as relay:
        pinged = probe(relay.target, "-i0.2", "-W3", count=18)
    expected = {"sent": 18, "answered": 16, "lost": 2, "duplicates": 1, "reordered": 1, "late": 1}
    assert (counts(pinged), lost(pinged)) == (expected, [1, 3])
    why = "no reply within 3 s: the datagram or its reply was lost, or nothing answers there; UDP cannot tell which"
    assert (pinged.code, pinged.error) == (5, f"2 of 18 failed: {relay.target}: {why}")
    assert pinged.summary["loss"] == 2 / 18
    assert pinged.summary["outage"]["first"] == pinged.summary["outage"]["last"]
    assert {one["step"] for one in pinged.probes if one["code"]} == {"first byte"}


def test_troubleOfOnePortIsCounted(server: tuple[str, int]) -> None:
    """With --keep there is one port, and the counts are as exact."""
    with DatagramRelay(server, drop={3}, double={5}, hold={7: 8}) as relay:
        pinged = probe(relay.target, "-i0.05", "-W3", "--keep", count=10)
        expected = {"sent": 10, "answered": 9, "lost": 1, "duplicates": 1, "reordered": 1}
        assert (counts(pinged), lost(pinged)) == (expected, [3])
        assert len({one["local"] for one in pinged.probes}) == 1


@contextmanager
def slow(after: float) -> Iterator[tuple[str, Callable[[], None]]]:
    """Answer the first datagram after `after` seconds; yield the target, and a function that answers once more."""
    with socket(AF_INET, SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        came: list[tuple[bytes, Any]] = []

        def serve() -> None:
            came.append(listening.recvfrom(65536))
            time.sleep(after)
            again()

        def again() -> None:
            data, client = came[0]
            listening.sendto(data.upper(), client)

        host, port = listening.getsockname()
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield f"udp:{host}:{port}", again
        finally:
            listening.sendto(b"", (host, port))  # wakes the thread that still waits
            serving.join()


@pytest.mark.slow
def test_lastAnswerMayComeTwice() -> None:
    """Answers after the last are counted for twice the time of the slowest, with any timeout."""
    with slow(2) as (target, again):
        command = [*TIMED, "--json", "-c1", "-W600", "--require=duplicates<1", target]
        with ending(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as client:
            assert client.stdout
            line = client.stdout.readline()
            again()
            output, errors = client.communicate(timeout=60)
        pinged = Pinged.of(client.returncode, line + output, errors)
        assert (pinged.code, counts(pinged)) == (1, {"sent": 1, "answered": 1, "duplicates": 1})
        assert pinged.error == "duplicates<1: not met (1)"
    with slow(0.2) as (target, _):
        assert counts(probe(target, "-W600")) == {"sent": 1, "answered": 1}


def test_interruptEndsLinger() -> None:
    """Ctrl-C ends that wait, and the statistics are printed."""
    after = 3
    with slow(after) as (target, _):
        command = [*TIMED, "-c1", "-W600", target]
        with ending(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as client:
            assert client.stdout
            assert client.stderr
            assert client.stdout.readline().startswith("ECHOUP")
            assert ": seq=1 time=" in client.stdout.readline()
            began = time.monotonic()
            client.send_signal(signal.SIGINT)
            assert "\n1 sent, 1 answered, 0 lost (0 %), 0 wrong\n" in client.stdout.read()
            assert (client.wait(60), client.stderr.read()) == (130, "")
            assert time.monotonic() - began < 2 * after  # the length of the wait


@pytest.mark.parametrize(
    ("relaying", "expected"),
    [
        (partial(DatagramRelay, drop={2, 4, 5}), {"answered": 9, "lost": 3}),
        (partial(DatagramRelay, double={1, 2, 11}), {"answered": 12, "duplicates": 3}),
        (partial(DatagramRelay, hold={2: 3, 4: 5, 6: 8}), {"answered": 12, "reordered": 3}),
        (partial(DatagramRelay, hold={1: 3, 2: 3}), {"answered": 12, "reordered": 2}),
    ],
    ids=["lost", "doubled", "swapped", "two after a third"],
)
def test_eachTroubleHasItsCount(
    server: tuple[str, int], relaying: Callable[[tuple[str, int]], DatagramRelay], expected: dict[str, int]
) -> None:
    """Each kind of trouble has its own count."""
    with relaying(server) as relay:
        pinged = probe(relay.target, "-i0.05", "-W3", count=12)
    assert counts(pinged) == {"sent": 12, **expected}


def test_textHasCounts(server: tuple[str, int]) -> None:
    """The text has the same counts, and of the rare ones only those that aren't 0."""
    with DatagramRelay(server, drop={3}, double={5}, hold={7: 8}) as relay:
        ended = ping("-c10", "-i0.1", "-W3", relay.target)
        assert ended.returncode == 5
        assert "\n10 sent, 9 answered, 1 lost (10 %), 0 wrong, 1 duplicates, 1 reordered\n" in ended.stdout
        ended = ping("-c2", "-i0.1", relay.target)
        assert "\n2 sent, 2 answered, 0 lost (0 %), 0 wrong\n" in ended.stdout
        assert (ended.returncode, ended.stderr) == (0, "")


def flip(data: bytes) -> bytes:
    """Change byte 20."""
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]


WRONG: list[tuple[Callable[[bytes], bytes], str, int, str, int | None]] = [
    (flip, "corrupted", 1, "corrupted: byte 20 of the reply is not the upper case of the one sent", 20),
    (
        bytes.lower,
        "corrupted",
        1,
        "corrupted: byte 0 of the reply is not the upper case of the one sent; it begins ",
        0,
    ),
    (lambda data: data[:50], "short", 7, "the reply has 50 of 56 bytes", None),
    (lambda _: b"", "short", 7, "the reply has 0 of 56 bytes", None),
    (lambda data: data + b"!", "corrupted", 1, "corrupted: more came back than was sent: 57 bytes for 56", 56),
]


@pytest.mark.parametrize(("alter", "verdict", "code", "why", "wrongAt"), WRONG)
@pytest.mark.parametrize("kept", [False, True])
def test_alteredAnswerHasVerdict(
    server: tuple[str, int],
    alter: Callable[[bytes], bytes],
    verdict: str,
    code: int,
    why: str,
    wrongAt: int | None,
    kept: bool,
) -> None:
    """An answer that was altered, cut or lengthened on the path is reported as such."""
    with DatagramRelay(server, alter=alter) as relay:
        pinged = probe(relay.target, "-W60", *["--keep"] * kept)
        assert pinged.found == (verdict, "first byte", code)
        assert pinged.error.startswith(f"{relay.target}: {why}")
        assert pinged.probe["wrongAt"] == wrongAt


def test_plainEchoIsUnchanged() -> None:
    """A server that sends everything back unchanged is no echo service of ours."""
    with answering(bytes) as target:
        pinged = probe(target)
        assert pinged.found == ("unchanged", "first byte", 1)
        assert pinged.error == (
            f"{target}: unchanged: the bytes came back as they were sent, so something in between answered"
        )


def test_closedPortRefuses() -> None:
    """A closed port refuses, which is reported in these words; an unread port is silent."""
    closed = f"udp:{unused().target}"
    for options in ((), ("--keep",)):
        pinged = probe(closed, *options, "-i0.01", count=3)
        assert (pinged.code, pinged.error) == (4, f"3 of 3 failed: cannot send to {closed}: Connection refused")
        assert {(one["step"], one["code"]) for one in pinged.probes} == {("first byte", 4)}
    with socket(AF_INET, SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        host, port = silent.getsockname()
        pinged = probe(f"udp:{host}:{port}", "-W0.5")
        assert pinged.found == (None, "first byte", 5)
        assert "no reply within 0.5 s" in pinged.error
    pinged = probe("udp:no.such.name.invalid")
    assert pinged.found == (None, "resolve", 3)
    assert pinged.error == "cannot resolve no.such.name.invalid: no address found"


@pytest.mark.parametrize("size", [1, 2])
def test_twinsAreToldApart(server: tuple[str, int], size: int) -> None:
    """Probes of so few bytes that two from one port are the same cause no trouble."""
    pinged = probe(f"udp:{server[0]}:{server[1]}", f"-s{size}", "-i0", "--keep", count=60)
    assert (pinged.code, counts(pinged)) == (0, {"sent": 60, "answered": 60})


@pytest.mark.parametrize("size", [1400, 65507])
def test_largestDatagramComesBack(server: tuple[str, int], size: int) -> None:
    """Datagrams up to the largest size come back."""
    pinged = probe(f"udp:{server[0]}:{server[1]}", f"-s{size}", "-i0", count=3)
    assert (pinged.code, {one["received"] for one in pinged.probes}) == (0, {size})


def test_timeMatchesRelays(server: tuple[str, int], figure: Callable[[str], None]) -> None:
    """The time to the first byte is never shorter than the relay's, nor longer than the time around it.

    With one probe at a time, a probe begins after the answer to the one before was sent back, and ends before the next
    one comes.
    """
    with DatagramRelay(server) as relay:
        pinged = probe(relay.target, "-i0", count=20, command=TIMED)
        assert pinged.code == 0
        times = [one["phases"][-1]["seconds"] for one in sorted(pinged.probes, key=lambda one: int(one["seq"]))]
        inside = [chunk.forwarded - chunk.received for chunk in relay.requests]
        around = [
            last.received - first.forwarded for first, last in zip(relay.requests[:-2], relay.requests[2:], strict=True)
        ]
    excess = [measured - known for measured, known in zip(times, inside, strict=True)]
    figure(f"first byte over UDP {min(excess) * 1000:.3f} to {max(excess) * 1000:.3f} ms longer than at the relay")
    assert min(excess) >= 0
    assert all(measured <= most for measured, most in zip(times[1:-1], around, strict=True))
