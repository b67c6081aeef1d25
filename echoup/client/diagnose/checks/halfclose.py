"""Whether a path carries the end of each direction by itself: our end first, and the server's after it."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from echoup.client.diagnose.exactness.closing import SIZE, Closing, endAnswered, endLater, endOutstanding
from echoup.client.diagnose.finding import Finding, Problem, Status
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exitcodes import ExitCode, PathError

_CAUSES: Mapping[str, tuple[Status, ExitCode, str, str, str]] = {
    "half-close-cut": (
        Status.FAIL,
        ExitCode.SHORT,
        "the reply is cut when we end our side first",
        "A proxy or a firewall takes our half-close for a close, and drops what is still to come back.",
        "nginx: proxy_half_close on. haproxy: longer timeouts client-fin and server-fin. socat: a longer -t.",
    ),
    "half-close-hangs": (
        Status.FAIL,
        ExitCode.TIMED_OUT,
        "the reply stops when we end our side first",
        "After our FIN something on the path drops the packets of this connection, or nobody answers before its end.",
        "Look for a stateful firewall with short timeouts for half-closed connections (conntrack: fin_wait, close_wait).",
    ),
    "end-missing": (
        Status.FAIL,
        ExitCode.TIMED_OUT,
        "after our end the server's end does not come",
        "A proxy doesn't pass on our end or the server's; connections stay half-closed until a timeout.",
        "Look for a proxy or a TLS wrapper that knows no half-close; ss shows its connections in CLOSE-WAIT.",
    ),
    "end-reset": (
        Status.WARN,
        ExitCode.SHORT,
        "the connection is reset after the reply, in place of an end",
        "All came back this time, but a reset may destroy what is still on the way, and cut other replies.",
        "Look for a proxy that closes with unread data, or with SO_LINGER 0 (haproxy: option nolinger).",
    ),
    "ends-first": (
        Status.WARN,
        ExitCode.SHORT,
        "the server ends the connection after its first reply",
        "The server, or a proxy before it, serves one exchange on each connection, or ends what is idle at once.",
        "Look for such a limit or a very short idle timeout in the proxies.",
    ),
    "no-close-notify": (
        Status.NOTE,
        ExitCode.TLS_FAILED,
        "the server ends TLS with a FIN, without close_notify",
        "Whoever can send packets on the path can end a reply early, and the client can't tell that it was cut.",
        "Let whoever ends TLS send close_notify, or count the bytes in the application.",
    ),
}
"""For each cause its status, exit code and text, what it means and what to try."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """End connections with and without data still to come back, and see what follows.

    What fails is repeated. Raise PathError where the path doesn't carry the same without our end either.
    """
    tell("our end first")
    answered, outstanding = await gatherResults(
        [Deferred.fromCoroutine(each(path)) for each in (endAnswered, endOutstanding)], consumeErrors=True
    )
    _require(path, answered)
    closings, control = [answered, outstanding], None
    problems: list[Problem] = []
    if not outstanding.isWhole and not answered.isLate:
        tell("the same without our end")
        control = await endLater(path)
        _require(path, control)
    for closing, make in ((answered, endAnswered), (outstanding, endOutstanding)):
        if closing.fault and closing.fault not in {each.cause for each in problems}:
            tell("again")
            again = await make(path)
            closings.append(again)
            if again.fault:
                problems.append(_problem(again.fault, [closing, again], control))
    figures: dict[str, Any] = {"connections": [each.figures for each in closings], "answersAtEnd": answered.isLate}
    if problems:
        return Finding(max(problems, key=lambda each: each.status.rank).text, tuple(problems), figures)
    late = "; the server answers only after our end" if answered.isLate else ""
    took = f"in {answered.seconds * 1000:.3g} ms when nothing was to come"
    return Finding(f"all {SIZE} bytes came back after our end, then {outstanding.end}; {took}{late}", (), figures)


def _require(path: PathUnderTest, closing: Closing) -> None:
    """Raise PathError if bytes were lost, though they had time to come back before our end."""
    if not closing.isWhole:
        came = f"{closing.received} of {closing.sent} bytes came back"
        if closing.ending:
            raise PathError(ExitCode.SHORT, f"the server {closing.ending.value} the connection, {came}", path.target)
        raise PathError(ExitCode.TIMED_OUT, f"timed out: {came} in {path.scope.timeout:g} s", path.target)


def _problem(cause: str, closings: list[Closing], control: Closing | None) -> Problem:
    status, code, text, meaning, advice = _CAUSES[cause]
    last = closings[-1]
    if not last.isWhole:
        text += (
            f": {last.received} of {last.sent} bytes came back, then {'nothing' if last.end == 'none' else last.end}"
        )
    seen = [each.evidence for each in closings]
    if last.isAcknowledged and cause != "no-close-notify":
        seen.append("the next kernel on the path had acknowledged all that we sent, and our end")
    elif cause == "end-missing" and last.tcp:
        seen.append(f"our end is not acknowledged: {last.tcp.state}")
    if control:
        seen.append(f"without our end all {control.received} bytes came back")
    return Problem(status, cause, text, tuple(seen), meaning, advice, code)
