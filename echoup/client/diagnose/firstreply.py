"""Whether a connection is answered at all, which most checks take for granted."""

from enum import Enum

from twisted.internet.task import deferLater

from echoup.client.connect.trace import Step, Trace
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.exitcodes import ExitCode, PathError

PAYLOAD = b"does anything answer a connection of this diagnosis at all\n"
"""It ends with a newline, because some servers answer line by line."""

BREATH = 0.2
"""Seconds before a connection that ended is made again."""


class Silence(Enum):
    """How connections stay without a reply; the values say why a check is then skipped."""

    UNCONNECTED = "no connection can be made, see exact"
    """Of a Unix socket only: `reach` looks at TCP's."""
    CLOSED = "connections end without a reply, see exact"
    LATE = "no reply comes while a connection is open, see exact"
    REFUSED = "no TLS handshake succeeds, see tls"
    HANGING = "the TLS handshake hangs, see tls and mtu"

    @property
    def explainedBy(self) -> str:
        """The check that fails because of it, and says why."""
        return "tls" if self in (Silence.REFUSED, Silence.HANGING) else "exact"


async def findSilence(path: PathUnderTest) -> Silence | None:
    """Return how connections over `path` stay without a reply; None if one is answered.

    What ends at once is tried a second time, because a server may just be restarting.
    """
    silence = await _attempt(path)
    if silence in (Silence.UNCONNECTED, Silence.CLOSED, Silence.REFUSED):
        await deferLater(path.clock, BREATH)
        silence = await _attempt(path)
    return silence


async def _attempt(path: PathUnderTest) -> Silence | None:
    """Return how one connection stays without a reply; None if it is answered, rightly or wrongly, or isn't made."""
    trace = Trace(path.clock.seconds)
    came: list[bytes] = []
    isConnected = False
    try:
        async with path.connection(trace=trace, take=came.append) as client:
            isConnected = True
            await client.exchange(PAYLOAD)
    except PathError as error:
        if came:
            return None
        if error.code is ExitCode.TLS_FAILED:
            return Silence.REFUSED
        if isConnected:
            return {ExitCode.SHORT: Silence.CLOSED, ExitCode.TIMED_OUT: Silence.LATE}.get(error.code)
        if trace.step is Step.TLS and error.code is ExitCode.TIMED_OUT:
            return Silence.HANGING
        return None if path.host else Silence.UNCONNECTED
    return None
