"""Whether a path carries the end of each direction by itself: our end first, and the server's after it."""

from collections.abc import Mapping
from typing import Any

from echoup.client.diagnose.amounts import size, time
from echoup.client.diagnose.exactness.closing import Closing, endAnswered, endAtOnce, endLarge, endLater
from echoup.client.diagnose.finding import Finding, Problem, Status, worst
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import ExitCode, PathError
from echoup.plurals import counted

_CAUSES: Mapping[str, tuple[Status, ExitCode, str, str, str]] = {
    "half-close-cut": (
        Status.FAIL,
        ExitCode.SHORT,
        "the reply is cut when we half-close",
        "A proxy or a firewall takes our half-close for a close, and drops what is still to come back.",
        "nginx: proxy_half_close on. haproxy: no nolinger, longer client-fin and server-fin. socat: a longer -t.",
    ),
    "half-close-hangs": (
        Status.FAIL,
        ExitCode.TIMED_OUT,
        "the reply stops when we half-close",
        "After our FIN something on the path drops the packets of this connection, or nobody answers before its end.",
        "Look for a firewall with short timeouts for half-closed connections (conntrack: fin_wait, close_wait).",
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
        "Anything on the path can end a reply early with a FIN of its own, and the client can't tell that it was cut.",
        "Let the program that ends TLS send close_notify, or count the bytes in the application.",
    ),
}
"""For each cause its status, exit code and text, what it means and what to try."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """End connections with and without data still to come back, and see what follows.

    What fails is repeated. Raise PathError where the path doesn't carry the same without our end either.
    """
    tell("our end first")
    ways = (endAnswered, endAtOnce, endLarge)
    closings = await together(end(path) for end in ways)
    answered, *outstanding = closings
    _require(path, answered)
    control = None
    if not answered.isLate and not all(each.isWhole for each in outstanding):
        tell("the same without our end")
        control = await endLater(path)
        _require(path, control)
    problems: list[Problem] = []
    for closing, end in zip(closings[:], ways, strict=True):
        if closing.fault and closing.fault not in {each.cause for each in problems}:
            tell("again")
            again = await end(path)
            closings.append(again)
            if again.fault:
                problems.append(_problem(again, [each for each in closings if each.fault == again.fault], control))
    figures: dict[str, Any] = {"connections": [each.figures for each in closings], "answersAtEnd": answered.isLate}
    if problems:
        return Finding(worst(problems).text, tuple(problems), figures)
    late = "; the server answers only after our end" if answered.isLate else ""
    sizes = " and ".join(size(each.sent) for each in outstanding)
    took = f"{outstanding[-1].end}, {time(answered.seconds)} after ours at best"
    return Finding(f"{sizes} came back after our end, then {took}{late}", (), figures)


def _require(path: PathUnderTest, closing: Closing) -> None:
    """Raise PathError if bytes were lost, though they had time to come back before our end, or too many came."""
    if closing.received > closing.sent:
        why = f"more came back than the {counted(closing.sent, 'byte')} that were sent"
        raise PathError(ExitCode.WRONG, why, path.target)
    if not closing.isWhole:
        came = f"{closing.received} of {closing.sent} bytes came back"
        if closing.ending:
            raise PathError(ExitCode.SHORT, f"the server {closing.ending.value} the connection, {came}", path.target)
        raise PathError(ExitCode.TIMED_OUT, f"timed out: {came} in {path.scope.timeout:g} s", path.target)


def _problem(last: Closing, closings: list[Closing], control: Closing | None) -> Problem:
    """Return what is wrong by `last`; `closings` are all that have its fault, and `control` ended later."""
    status, code, text, meaning, advice = _CAUSES[last.fault]
    seen = [*dict.fromkeys(each.evidence for each in closings)]
    if not last.isWhole:
        text += f": {last.received} of {last.sent} bytes came back"
        seen += [f"without our end all {control.received} bytes came back"] if control else []
    if last.isAcknowledged and last.fault != "no-close-notify":
        seen.append("the next kernel on the path had acknowledged all that we sent, and our end")
    elif last.end == "none" and last.tcp:
        seen.append(f"not all that we sent is acknowledged; our side is in {last.tcp.state}")
    return Problem(status, last.fault, text, tuple(seen), meaning, advice, code)
