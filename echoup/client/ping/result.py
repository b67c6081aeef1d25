"""What one probe found."""

from dataclasses import dataclass

from echoup.client.connect.trace import Step, Trace
from echoup.client.exitcodes import ExitCode, PathError
from echoup.verdict import Reply, Verdict


def interrupted(seconds: float) -> PathError:
    """Return the error of a probe that was still under way after `seconds`, when the user had enough."""
    return PathError(ExitCode.INTERRUPTED, f"not over after {seconds:.3f} s")


@dataclass(frozen=True)
class Result:
    """One probe, and what became of it."""

    seq: int
    """Its number, from 1."""
    at: float
    """When it began, in seconds since the epoch."""
    began: float
    """The same moment in seconds of the reactor's clock, as `ended`."""
    ended: float
    """When the last byte had come, or the probe had failed."""
    seconds: float
    """Its time: from the beginning; on a connection that is kept, from the sending."""
    reply: Reply
    trace: Trace
    error: PathError | None = None
    """Why it failed, if it did."""
    local: str | None = None
    """Our own address; None if there was no connection."""
    remote: str | None = None
    """The address that answered, or should have; None if there was no connection."""

    @property
    def isAnswered(self) -> bool:
        """Did all of it come back in upper case?"""
        return self.error is None

    @property
    def isWrong(self) -> bool:
        """Did something else come back?"""
        return self.error is not None and self.error.code is ExitCode.WRONG

    @property
    def verdict(self) -> Verdict | None:
        """What the reply was judged to be; None where that wasn't the trouble, or not all of it came in time."""
        if self.isAnswered or self.isWrong:
            return self.reply.verdict
        isShort = self.error is not None and self.error.code is ExitCode.SHORT and self.reply.outstanding
        return Verdict.SHORT if isShort else None

    @property
    def step(self) -> Step | None:
        """The step that failed; None if none did."""
        if self.error is None:
            return None
        return Step.TLS if self.error.code is ExitCode.TLS_FAILED else self.trace.step
