"""One connection that we end first, and what follows."""

import socket
from dataclasses import dataclass

from twisted.internet.task import deferLater

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.exactness.gathering import GatheringClient
from echoup.client.diagnose.exactness.samples import text
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.protocol import Ending
from echoup.plurals import counted
from echoup.tls.transport import TLSTransport

SIZE = 2**18
"""Bytes that are sent before our end: more than the buffers of a proxy hold, so that some of them are still to come."""

SMALL = 57
"""Bytes of the exchange that is over before our end."""

HOLD = 0.25
"""Seconds for which nothing is read after our end, so that the reply is still under way when a proxy sees the end."""

LINGER = 0.1
"""Seconds in which the server may end the connection before we do, after an exchange."""

CORK = getattr(socket, "TCP_CORK", None)
"""The option that sends our end in one packet with the last of the data (tcp(7)); None where it isn't Linux."""

ACKNOWLEDGED = ("FIN-WAIT-2", "TIME-WAIT", "CLOSED")
"""The states of a connection whose peer has acknowledged our end."""


@dataclass(frozen=True)
class Closing:
    """One connection that we ended first, and what followed."""

    sent: int
    received: int
    """Bytes that came back, before our end or after it."""
    ending: Ending | None
    """What ended it; None if nothing did in time."""
    seconds: float
    """From our end to the server's, or until it was given up."""
    hasCloseNotify: bool | None = None
    """Whether the server's end was a close_notify; None without TLS."""
    tcp: TCPInfo | None = None
    """What the kernel knew while the reply was still to come, or when the server's end came."""
    isEarly: bool = False
    """Whether the server ended it before we did."""
    isLate: bool = False
    """Whether a reply that was due before our end came only after it."""

    @property
    def isWhole(self) -> bool:
        """Whether everything had come back."""
        return self.received >= self.sent

    @property
    def end(self) -> str:
        """What the server's end was: `close_notify`, `FIN`, `RST`, `TLS error` or `none`."""
        if self.ending is Ending.CLOSED:
            return "close_notify" if self.hasCloseNotify else "FIN"
        return {Ending.RESET: "RST", Ending.TLS_FAILED: "TLS error"}[self.ending] if self.ending else "none"

    @property
    def fault(self) -> str:
        """The cause of what is wrong; empty if nothing is."""
        if self.isEarly:
            return "ends-first"
        if not self.isWhole:
            return "half-close-hangs" if self.end == "none" else "half-close-cut"
        if self.end == "FIN":
            return "no-close-notify" if self.hasCloseNotify is False else ""
        return {"none": "end-missing", "close_notify": ""}.get(self.end, "end-reset")

    @property
    def isAcknowledged(self) -> bool:
        """Whether the next kernel on the path had acknowledged all that we sent, and our end."""
        # A reset forgets what was not acknowledged, so that is counted; the SYN and our end count as one byte each.
        isCounted = self.tcp and self.tcp.bytesAcknowledged >= self.sent + 2
        return bool(isCounted and self.tcp and self.tcp.state in ACKNOWLEDGED and not self.tcp.unacknowledged)

    @property
    def evidence(self) -> str:
        """What was seen, in words."""
        came = f"{self.received} of {counted(self.sent, 'byte')} came back"
        if self.isEarly:
            return f"{came}, then {self.end}, before our end"
        then = ("no end" if self.isWhole else "nothing more") if self.end == "none" else self.end
        return f"{self.sent} bytes and our end sent: {came}, then {then}"

    @property
    def figures(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "sent": self.sent,
            "received": self.received,
            "end": self.end,
            "seconds": self.seconds,
            "isAcknowledged": self.isAcknowledged if self.tcp else None,
            "isEarly": self.isEarly,
        }


async def endAnswered(path: PathUnderTest) -> Closing:
    """End a connection when nothing is outstanding; raise PathError if there is none."""
    client = GatheringClient(path, SMALL)
    async with path.connection(client=client):
        client.write(text(SMALL - 1) + b"\n")
        await client.wait(path.scope.timeout)
        isLate = not client.received and not client.closed.called
        await deferLater(path.clock, LINGER)
        isEarly, began = bool(client.ending), path.clock.seconds()
        if not isEarly:
            client.end()
        await client.waitForEnd(path.scope.timeout)
        return _result(client, SMALL, began, isEarly, isLate)


async def endAtOnce(path: PathUnderTest) -> Closing:
    """End a connection in the packet that carries the only data, so before any of the reply can have come."""
    return await _endOutstanding(path, SMALL, 0)


async def endLarge(path: PathUnderTest) -> Closing:
    """End a connection when most of a large reply is still to come; raise PathError if there is none."""
    return await _endOutstanding(path, SIZE, HOLD)


async def endLater(path: PathUnderTest) -> Closing:
    """Do the same as `endLarge`, but end the connection only when everything has come back, or can't any more."""
    return await _endOutstanding(path, SIZE, HOLD, isEnded=False)


async def _endOutstanding(path: PathUnderTest, size: int, hold: float, isEnded: bool = True) -> Closing:
    """Send `size` bytes, and our end if the connection `isEnded`; read nothing for `hold` seconds."""
    client = GatheringClient(path, size)
    async with path.connection(client=client):
        if isEnded and path.host and CORK is not None:
            client.handle.setsockopt(socket.IPPROTO_TCP, CORK, 1)
        client.pauseProducing()
        client.write(text(size))
        began = path.clock.seconds()
        if isEnded:
            client.end()
        await deferLater(path.clock, hold)
        client.note()
        if not client.closed.called:
            client.resumeProducing()
        await (client.waitForEnd if isEnded else client.wait)(path.scope.timeout)
        return _result(client, size, began)


def _result(client: GatheringClient, sent: int, began: float, isEarly: bool = False, isLate: bool = False) -> Closing:
    if not client.ending:
        client.note()
    hasCloseNotify = client.transport.hasCloseNotify if isinstance(client.transport, TLSTransport) else None
    seconds = client.clock.seconds() - began
    return Closing(sent, len(client.received), client.ending, seconds, hasCloseNotify, client.tcp, isEarly, isLate)
