"""The check `buffering`: whether bytes that are sent one by one come back one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from twisted.internet.task import deferLater

from echoup.client.diagnose.amounts import size, time
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exchange import Exchange
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient

PIECES, INTERVAL = 8, 0.1
"""What is sent: so many pieces, so many seconds apart."""

PIECE = b"piece of echoup "

CONFIRMATIONS = 2
"""How many more times it has to be seen that pieces are held back."""

PATIENCE, AGAIN = 2.0, 1.0
"""Seconds to wait for the rest after the last piece, the first time and later; then our end is sent."""

ATTEMPTS = 3
"""How many times the pieces are sent before it is given up because this process is paused each time."""

SMALLEST, LARGEST = 2**8, 2**16
"""The sizes between which the buffer is looked for that has to be full, in bytes."""

FILLED = 0.3
"""Seconds in which bytes come back when they have filled a buffer."""

LOOK = 0.01
"""Seconds between two looks whether everything has come."""


HELD = 0.05
"""Seconds by which a piece is later than the fastest one, from which on it counts as held back."""

LEAST = 3
"""Pieces that are held back, from which on it isn't a pause of a busy machine."""


@dataclass
class Trickle:
    """The times of pieces, in seconds of one clock."""

    sent: list[tuple[int, float]] = field(default_factory=list)
    """For each piece, how many bytes were sent with it and before, and when."""
    came: list[tuple[int, float]] = field(default_factory=list)
    """For each arrival, how many bytes had come by then, and when."""

    def send(self, size: int, now: float) -> None:
        """Note that `size` bytes are sent."""
        self.sent.append((size + (self.sent[-1][0] if self.sent else 0), now))

    def arrive(self, size: int, now: float) -> None:
        """Note that `size` bytes came."""
        self.came.append((size + self.received, now))

    @property
    def received(self) -> int:
        """How many bytes came."""
        return self.came[-1][0] if self.came else 0

    @property
    def lags(self) -> list[float]:
        """For each piece, the seconds until all of it had come back; inf if it never did."""
        return [next((at for count, at in self.came if count >= end), inf) - sent for end, sent in self.sent]

    @property
    def held(self) -> list[float]:
        """For each piece, the seconds for which it was held back: beyond what the fastest one took."""
        lags = self.lags
        least = min(lags, default=inf)
        return [0.0 if lag == least < inf else lag - least if least < inf else inf for lag in lags]

    @property
    def isHeldBack(self) -> bool:
        """Whether so many pieces were held back that something waits for more before it passes them on."""
        return sum(seconds >= HELD for seconds in self.held) >= LEAST

    @property
    def clumps(self) -> int:
        """How many times something came after a wait: arrivals less than HELD apart are one."""
        times = [at for _, at in self.came]
        return sum(after - before >= HELD for before, after in zip([-inf, *times], times, strict=False))


@dataclass(frozen=True)
class Buffering:
    """What was seen where pieces are held back."""

    trickles: Sequence[Trickle]
    """The times of the pieces, each time that they were sent."""
    endsLine: bool
    """Whether they come back one by one if each ends a line."""
    buffer: int
    """Of how many bytes nothing came back before there were that many, where nothing else has helped; 0: unknown."""

    @property
    def isSilent(self) -> bool:
        """Whether nothing came back before our end."""
        return not any(each.came for each in self.trickles)

    @property
    def held(self) -> float:
        """The seconds for which a piece was held back, at most, in the best run; inf until our end."""
        return min(max(each.held) for each in self.trickles)


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Send pieces, and see whether each comes back before the next is sent."""
    pieces = _Pieces(path)
    trickles: list[Trickle] = []
    while len(trickles) <= CONFIRMATIONS:
        if not (trickle := await pieces.sendUnpaused(AGAIN if trickles else PATIENCE)):
            return skipped("this process was paused each time, so the times are its own")
        if not trickle.isHeldBack:
            times = f"{time(min(trickle.lags))} to {time(max(trickle.lags))}"
            figures = _figures(trickle) | {"held": max(trickle.held), "until": None, "buffer": None}
            return Finding(f"{PIECES} pieces came back one by one, each after {times}", figures=figures)
        trickles.append(trickle)
        tell(f"pieces were held back, {len(trickles)} of {CONFIRMATIONS + 1} times")
    lines = await pieces.sendUnpaused(AGAIN, PIECE[:-1] + b"\n")
    endsLine = lines is not None and not lines.isHeldBack
    seen = Buffering(trickles, endsLine, 0)
    if seen.isSilent and not endsLine:
        seen = Buffering(trickles, endsLine, await pieces.fill())
    if pieces.error and not endsLine and not seen.buffer:
        raise pieces.error
    problem = _problem(seen)
    figures = {
        "held": seen.held if seen.held < inf else None,
        "until": problem.cause.removeprefix("held-until-"),
        "buffer": seen.buffer or None,
    }
    return Finding(problem.text, (problem,), _figures(trickles[-1]) | figures)


class _Pieces:
    """Sends pieces, each time on a new connection."""

    def __init__(self, path: PathUnderTest) -> None:
        self.error: PathError | None = None
        """Why what was held back didn't come after our end, either."""
        self._path = path

    async def sendUnpaused(self, patience: float, piece: bytes = PIECE) -> Trickle | None:
        """Return the times of pieces in which this process wasn't paused; None if it was, in each of the ATTEMPTS."""
        for _ in range(ATTEMPTS):
            pauses = self._path.clock.pauses
            trickle = await self._send(patience, piece)
            if self._path.clock.pauses == pauses or not trickle.isHeldBack:
                return trickle
        return None

    async def _send(self, patience: float, piece: bytes) -> Trickle:
        """Send pieces, and return when they came back, up to our end, which follows if not all of them did."""
        path, limit, trickle = self._path, self._path.scope.timeout, Trickle()
        # Without a limit of its own, because replies are late here.
        client = EchoUpClient(path.reactor, 0, lambda data: trickle.arrive(len(data), path.clock.seconds()), path.clock)
        async with path.connection(client=client):
            exchange = Exchange(client, untilEnd=True)
            for number in range(PIECES):
                if number:
                    await deferLater(path.clock, INTERVAL)
                trickle.send(len(piece), path.clock.seconds())
                exchange.send(piece)
            await self._wait(exchange, min(patience, limit))
            before = Trickle(trickle.sent, trickle.came[:])
            if exchange.done.called or not exchange.reply.outstanding:
                client.check(exchange.reply)
            else:
                exchange.end()
                try:
                    await exchange.finish(limit, limit)
                except PathError as error:
                    if error.code is ExitCode.WRONG:
                        raise
                    self.error = error
            return before

    async def fill(self) -> int:
        """Send more and more, and return how many bytes come back at once when the first do; 0 if none do."""
        client = EchoUpClient(self._path.reactor, 0, None, self._path.clock)
        async with self._path.connection(client=client):
            exchange = Exchange(client, untilEnd=True)
            while exchange.reply.sent < LARGEST:
                exchange.send(PIECE * ((exchange.reply.sent or SMALLEST) // len(PIECE)))
                await self._wait(exchange, FILLED)
                if came := exchange.reply.received:
                    return came
        return 0

    async def _wait(self, exchange: Exchange, seconds: float) -> None:
        """Wait until everything has come, or nothing more can, for `seconds` at most."""
        clock = self._path.clock
        deadline = clock.seconds() + seconds
        while exchange.reply.outstanding and not exchange.done.called and clock.seconds() < deadline:
            await deferLater(clock, LOOK)


def _figures(trickle: Trickle) -> dict[str, Any]:
    lags = [each if each < inf else None for each in trickle.lags]
    return {"pieces": PIECES, "interval": INTERVAL, "lags": lags, "clumps": trickle.clumps}


def _problem(seen: Buffering) -> Problem:
    best = min(seen.trickles, key=lambda each: max(each.held))
    lags = " ".join("-" if each == inf else time(each) for each in best.lags)
    evidence: tuple[str, ...] = (
        f"{PIECES} pieces of {size(len(PIECE))} were sent {time(INTERVAL)} apart, on {len(seen.trickles)} connections",
        f"they came back after: {lags}" + " (- not before our end)" * ("-" in lags),
    )
    advice = "A dialogue over this path stalls. Turn the buffering off there"
    if seen.endsLine:
        until = "newline"
        text = "bytes come back only when a newline follows them: something on the path passes on whole lines"
        evidence += ("pieces that end with a newline came back one by one",)
        how = "it reads or writes line by line"
        advice += " (stdbuf -o0, socat without a pty or readline), or end each message with a newline."
    elif seen.isSilent and seen.buffer:
        until = "full"
        text = (
            f"bytes come back only when about {size(seen.buffer)} are there, or our end: something on the path waits"
            " until its buffer is full"
        )
        evidence += (f"of a growing amount nothing came back at first, then {seen.buffer} bytes at once",)
        how = "until its buffer is full, as a program does whose output is no terminal"
        advice += ": stdbuf -o0 for a program behind socat, proxy_buffering or the like in a proxy."
    elif seen.isSilent:
        until = "end"
        text = "bytes come back only after our end: something on the path stores everything before it passes it on"
        evidence += (f"nor did {size(LARGEST)} come back without our end",)
        how = "until the end of the input, as a cache or a scanner for malware does"
        advice += ", or let this port pass it by."
    else:
        until, took = "later", time(best.came[-1][1] - best.sent[0][1])
        clumps = "in one piece" if best.clumps == 1 else f"in {best.clumps} clumps"
        rest = "" if seen.held < inf else ", the rest after our end"
        text = f"bytes sent {time(INTERVAL)} apart come back {clumps}, {took} after the first was sent{rest}"
        how = "for a time, or until there is a pause"
        advice += "; in a network, look for one that combines packets, such as Wi-Fi that saves power."
    meaning = f"A program in between, or the server's, collects what it gets before it passes it on: {how}."
    return Problem(Status.WARN, f"held-until-{until}", text, evidence, meaning, advice)
