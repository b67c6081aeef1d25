"""What one probe found."""

from dataclasses import dataclass

from echoup.client.connect.trace import Step, Trace
from echoup.client.exitcodes import ExitCode, PathError
from echoup.verdict import Reply, Verdict


def interrupted(seconds: float) -> PathError:
    """Return the error of a probe that was interrupted when it had taken `seconds`."""
    return PathError(ExitCode.INTERRUPTED, f"still waiting after {seconds:.3f} s")


@dataclass(frozen=True)
class Result:
    """One probe, and its outcome."""

    seq: int
    """Its number, from 1."""
    at: float
    """When it began, in seconds since the epoch."""
    began: float
    """The same moment in seconds of the clock of the run, which leaves pauses of this process out, as `ended`."""
    ended: float
    """When the last byte came, or the probe failed."""
    seconds: float | None
    """Its time: from the beginning, or, on a connection that is kept, from the sending; None if this process paused."""
    reply: Reply
    trace: Trace
    error: PathError | None = None
    """Why it failed, if it did."""
    local: str | None = None
    """Our own address; None if there was no connection."""
    remote: str | None = None
    """The server's address; None if there was no connection."""

    @property
    def isAnswered(self) -> bool:
        """Whether all of it came back in upper case."""
        return self.error is None

    @property
    def isWrong(self) -> bool:
        """Whether something else came back."""
        return self.error is not None and self.error.code is ExitCode.WRONG

    @property
    def isUnsent(self) -> bool:
        """Whether this machine couldn't send it, so that it tells nothing of the path."""
        return self.error is not None and self.error.code is ExitCode.LOCAL

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the reply; None where the probe failed for another reason, or it didn't come in time."""
        if self.isAnswered or self.isWrong:
            return self.reply.verdict
        isShort = self.error is not None and self.error.code is ExitCode.SHORT
        return Verdict.SHORT if isShort and (self.reply.outstanding or not self.reply.sent) else None

    @property
    def step(self) -> Step | None:
        """The step that failed; None if none did."""
        if self.error is None:
            return None
        return Step.TLS if self.error.code is ExitCode.TLS_FAILED else self.trace.step
