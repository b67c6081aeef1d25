"""Send one payload on a connection of its own, and see what comes back."""

from dataclasses import dataclass
from enum import Enum

from twisted.internet.task import deferLater

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.exactness.alteration import Alteration, findAlteration
from echoup.client.diagnose.exactness.gathering import GatheringClient
from echoup.client.diagnose.exactness.samples import Kind, Sample
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.exitcodes import PathError
from echoup.client.protocol import EchoUpClient, Ending
from echoup.escaping import printable
from echoup.plurals import counted
from echoup.upper import upper

LINGER = 0.1
"""Seconds to wait for what comes after a reply that should be over."""

NEXT = 8
"""How many of the bytes are shown that didn't come back."""


class Answers(Enum):
    """When the server answers; the values are the words that users read."""

    AT_ONCE = "at once"
    BY_LINE = "only full lines"
    AT_END = "only after the end of its input"


class How(Enum):
    """How a payload came back; the values are the words that users read."""

    RIGHT = "right"
    UNCHANGED = "unchanged"
    """As it was sent: something in between answered."""
    CHANGED = "changed"
    CUT = "cut"
    """The connection ended before all of it had come back; what came is right."""
    HUNG = "hung"
    """The rest of it didn't come in time; what came is right."""
    FAILED = "failed"
    """There was no connection to send it on."""


@dataclass(frozen=True)
class SampleResult:
    """A payload, and what came back."""

    sample: Sample
    sent: bytes
    received: bytes
    how: How
    seconds: float = 0
    """From the first write until the reply was over."""
    alteration: Alteration | None = None
    """What was done to it, if anything."""
    ending: Ending | None = None
    """What ended the connection, if that was before our own close."""
    tcp: TCPInfo | None = None
    """What the kernel knew of the connection at the end of the wait."""
    local: str = ""
    """Our own address."""
    error: PathError | None = None
    """Why there was no connection."""

    @property
    def isClosed(self) -> bool:
        """Whether the connection ended before anything came back, as it does where connections are limited."""
        return self.how is How.CUT and not self.received

    @property
    def evidence(self) -> str:
        """What was seen, in words."""
        name, came = self.sample.name, f"{len(self.received)} of {counted(len(self.sent), 'byte')} came back"
        if self.sample.kind is not Kind.SIZE and self.received:
            came += f' (before "{printable(self.sent[len(self.received) :][:NEXT])}")'
        if self.alteration:
            return f"{name}: {self.alteration.words}, {self.alteration.evidence}"
        if self.how is How.CUT:
            return f"{name}: {came}, then the connection was {self.ending.value if self.ending else 'lost'}"
        if self.how is How.HUNG:
            return f"{name}: {f'{came}, then nothing' if self.received else 'nothing came back'}{_describe(self.tcp)}"
        return f"{name}: {self.error}" if self.error else f"{name}: {self.how.value}"

    @property
    def figures(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "name": self.sample.name,
            "kind": self.sample.kind.value,
            "outcome": self.how.value,
            "sent": len(self.sent),
            "received": len(self.received),
            "seconds": self.seconds,
            "wrongAt": self.alteration.offset if self.alteration else None,
        }


def _describe(tcp: TCPInfo | None) -> str:
    if not tcp:
        return ""
    if tcp.unacknowledged:
        return f"; {counted(tcp.unacknowledged, 'segment')} of ours not acknowledged, backoff {tcp.backoff}"
    return "; all that we sent is acknowledged"


async def attempt(path: PathUnderTest, sample: Sample, answers: Answers) -> SampleResult:
    """Send the payload on a new connection, in the way that the server needs to answer, and return what came back."""
    data = sample.data + b"\n" * (answers is Answers.BY_LINE and not sample.data.endswith(b"\n"))
    client = GatheringClient(path, len(data))
    try:
        async with path.connection(client=client):
            began = path.clock.seconds()
            await _send(path, client, data, sample)
            if answers is Answers.AT_END:
                client.end()
            await client.wait(path.scope.timeout, upper(data))
            seconds = path.clock.seconds() - began
            if sample.kind is Kind.VALUES:
                await deferLater(path.clock, LINGER)
            received, isOver = bytes(client.received), client.closed.called
            ending, tcp = client.ending, TCPInfo.of(client.handle)
            if len(received) >= len(data):
                client.close()  # a reset would be logged as an error, and ends some servers
                await client.waitForEnd(LINGER)
    except PathError as error:
        return SampleResult(sample, data, b"", How.FAILED, error=error)
    how, alteration = _judge(data, received, isOver)
    return SampleResult(sample, data, received, how, seconds, alteration, ending, tcp, client.local or "")


async def _send(path: PathUnderTest, client: EchoUpClient, data: bytes, sample: Sample) -> None:
    """Send `data` in the pieces of `sample`."""
    clock = path.clock if sample.pause else path.reactor
    start = 0
    for size in sample.pieces:
        client.write(data[start : start + size])
        start += size
        await deferLater(clock, sample.pause)
    client.write(data[start:])


def _judge(sent: bytes, received: bytes, isOver: bool) -> tuple[How, Alteration | None]:
    alteration = findAlteration(sent, received)
    if received == sent != upper(sent):
        return How.UNCHANGED, None
    if alteration:
        return How.CHANGED, alteration
    if len(received) == len(sent):
        return How.RIGHT, None
    return How.CUT if isOver else How.HUNG, None
