"""The check `proxy`: whether something in between ends the TCP connection."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import median
from typing import Any

from twisted.internet.task import deferLater

from echoup.client.connect.trace import Step, Trace
from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exchange import Exchange
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.plurals import counted

CONNECTIONS, PROBES = 3, 5
"""The connections of a round, one after the other, and the probes on each."""

PAUSE = 0.02
"""Seconds between two probes, so that one pause of a busy machine doesn't meet all of them."""

FLOOR = 0.005
"""Seconds by which an application may be behind its kernel because of its own time, and that of a busy machine."""

SHARE = 0.5
"""How much of the round-trip time it may be behind because that varies, too."""

QUIET = 0.1
"""Seconds, at least, in which nothing may come that wasn't asked for."""

PAYLOAD = b"How far are you? (echoup)\n", b"And who are you? (echoup)\n"
"""The two halves of what each probe sends; each ends a line, for the sake of servers that answer line by line."""


@dataclass(frozen=True)
class Distance:
    """What the probes on one connection measured, in seconds."""

    rtt: float
    """The shortest round-trip time between the two kernels: to what ends the TCP connection."""
    firstBytes: tuple[float, ...]
    """From sending each probe to the first byte of its reply: to the application and back."""


@dataclass(frozen=True)
class Nearness:
    """What the probes on all connections measured, in seconds."""

    distances: Sequence[Distance]

    @property
    def rtt(self) -> float:
        """The shortest round-trip time between the two kernels; 0 if the kernel doesn't tell."""
        return min((each.rtt for each in self.distances), default=0)

    @property
    def firstBytes(self) -> list[float]:
        """From sending each probe to the first byte of its reply, the shortest first."""
        return sorted(seconds for each in self.distances for seconds in each.firstBytes)

    @property
    def behind(self) -> float:
        """How far the application is behind what acknowledges, on the connection where it is nearest."""
        return min(max(0.0, min(each.firstBytes) - each.rtt) for each in self.distances)

    @property
    def floor(self) -> float:
        """How far it may be behind although nothing is in between."""
        return max(FLOOR, SHARE * self.rtt)

    @property
    def isFar(self) -> bool:
        """Whether it is so far behind that it isn't where the TCP connection ends.

        The kernel's handshake is answered at once, so its shortest round-trip time has no delayed acknowledgement in
        it (RFC 9293, 3.8.6.3). An acknowledgement that comes with a reply makes that time longer, and so the
        difference smaller, never larger.
        """
        return self.behind >= self.floor


class _Probing:
    """Connections that are probed, and what was seen on them."""

    def __init__(self, path: PathUnderTest) -> None:
        self.distances: list[Distance] = []
        self.certificates: set[str] = set()
        """The SHA-256 of each certificate that was shown."""
        self.early = ""
        """What came before it was due, in words; empty if nothing did."""
        self.remote = ""
        self._path = path

    async def run(self, tell: Tell) -> None:
        """Probe a round of connections, unless something comes early."""
        for _ in range(CONNECTIONS):
            tell(f"connection {len(self.distances) + 1}")
            trace = Trace(self._path.reactor.seconds)
            async with self._path.connection(trace=trace) as client:
                self.remote = client.remote or ""
                if trace.certificate:
                    self.certificates.add(sha256(trace.certificate).hexdigest())
                if not self.distances:
                    await self._listen(client)
                    if self.early:
                        return
                self.distances.append(await self._probe(client))
                # Its payload has passed often enough for something in between to know it.
                if len(self.distances) == CONNECTIONS:
                    await self._halve(client, max(self.distances[-1].firstBytes))

    async def _probe(self, client: EchoUpClient) -> Distance:
        times, rtt = [], 0.0
        for _ in range(PROBES):
            trace = Trace(self._path.reactor.seconds)
            exchange = Exchange(client, trace)
            exchange.send(b"".join(PAYLOAD))
            client.check(await exchange.done)
            first = next(each for each in trace.phases if each.step is Step.FIRST_BYTE)
            times.append(first.seconds or 0.0)
            rtt = first.tcp.leastRTT if first.tcp else 0.0
            await deferLater(self._path.clock, PAUSE)
        return Distance(rtt, tuple(times))

    async def _listen(self, client: EchoUpClient) -> None:
        """Note what comes although nothing was sent."""
        await deferLater(self._path.clock, QUIET)
        if came := client.unasked.received:
            self.early = f"{counted(came, 'byte')} came before anything was sent"

    async def _halve(self, client: EchoUpClient, seconds: float) -> None:
        """Send half of what was sent before, and note what comes that isn't the reply to that half."""
        half, rest = PAYLOAD
        reply = await client.exchange(half)
        await deferLater(self._path.clock, QUIET + 2 * seconds)
        came = reply.received + client.unasked.received
        if came > len(half):
            self.early = f"{came} bytes came when only {len(half)} had been sent"
            return
        client.check(reply)
        client.check(await client.exchange(rest))


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Measure how far the application is behind what acknowledges, and see whether something answers early."""
    probing = _Probing(path)
    try:
        await probing.run(tell)
        if not probing.early and Nearness(probing.distances).isFar:
            tell("again")
            await probing.run(tell)
    except PathError as error:
        if error.code is ExitCode.TIMED_OUT and probing.remote:
            return skipped(f"no reply came on an open connection: {error.reason}")
        raise
    return _finding(probing)


def _finding(probing: _Probing) -> Finding:
    """Return what the check says of what was seen."""
    problems: list[Problem] = []
    figures: dict[str, Any] = {"address": probing.remote, "certificates": sorted(probing.certificates)}
    if probing.early:
        problems.append(_early(probing.early, probing.remote))
    if len(probing.certificates) > 1:
        problems.append(_severalCertificates(probing.certificates))
    summary = "the kernel doesn't tell its round-trip time here"
    near = Nearness(probing.distances)
    if near.rtt:
        first = near.firstBytes
        if near.isFar:
            problems.append(_far(near, probing.remote))
        figures |= {
            "rtt": near.rtt,
            "firstByte": {"min": first[0], "median": median(first), "max": first[-1]},
            "behind": near.behind,
            "floor": near.floor,
            "probes": len(first),
        }
        times = f"first byte after {time(first[0])}, rtt {time(near.rtt)}"
        summary = f"{times}: no proxy that is more than {time(near.floor)} before the application"
    if not (problems or near.rtt):
        return skipped(summary)
    return Finding(problems[0].text if problems else summary, tuple(problems), figures)


def _far(near: Nearness, remote: str) -> Problem:
    first = near.firstBytes
    return Problem(
        Status.NOTE,
        "proxy",
        f"the application is {time(near.behind)} behind what acknowledges our bytes at {remote}:"
        " something in between ends the TCP connection",
        (
            f"first byte of {len(first)} replies: after {time(first[0])} at best, {time(median(first))} in the median",
            f"the kernel at {remote} answered after {time(near.rtt)} at best",
        ),
        "A proxy, a balancer or a TLS terminator accepts the connection and has one of its own to the application."
        " Or the application itself takes that long for each reply; then these times mostly differ from each other.",
        "Nothing, if there is meant to be one. Otherwise diagnose from its machine, and compare; what the other checks"
        " say of the MTU, of idle times and of the end of a connection may be true of the near part only.",
    )


def _early(what: str, remote: str) -> Problem:
    return Problem(
        Status.FAIL,
        "answered-early",
        f"what answers at {remote} didn't wait for our bytes: {what}",
        (what,),
        "Something in between answers in place of the application: a cache, a greeting of another service, a filter"
        " with a message of its own.",
        "Find out what listens at that address; `exact` shows what it sends.",
    )


def _severalCertificates(certificates: set[str]) -> Problem:
    return Problem(
        Status.NOTE,
        "several-certificates",
        f"{len(certificates)} certificates were shown on {CONNECTIONS} connections or more to the same address",
        tuple(f"SHA-256 {each}" for each in sorted(certificates)),
        "A balancer spreads the connections over servers that have different certificates, or one was just renewed.",
        "Compare their names and dates with those that you expect: `echoup ping -v` shows them.",
    )
