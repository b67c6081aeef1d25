"""What is wrong with a path, by the payloads that failed twice."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from echoup.client.diagnose.amounts import size
from echoup.client.diagnose.exactness import alteration
from echoup.client.diagnose.exactness.samples import Kind
from echoup.client.diagnose.exactness.sending import Answers, How, SampleResult
from echoup.client.diagnose.finding import Finding, Problem, Status, worst
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.hints import PROXY_PROTOCOL, TLS, suggest

SHOWN = 4
"""The payloads that one problem shows, at most."""

_CODES = {How.CUT: ExitCode.SHORT, How.HUNG: ExitCode.TIMED_OUT}

_DONE = {
    How.UNCHANGED: "comes back unchanged",
    How.CHANGED: "is changed",
    How.CUT: "is cut",
    How.HUNG: "doesn't come back",
}

_NAMED = {*alteration.CAUSES} - {alteration.UNKNOWN}

_AS_TEXT = "Something on the path treats the stream as text, so it is not safe for binary data."
_PROXY = "Carry the stream through it as raw TCP, or put TLS through it end to end, which it can't change."

_CAUSES: Mapping[str, tuple[str, str, str]] = {
    alteration.LINE_ENDS: (
        "line ends are converted",
        _AS_TEXT,
        "Turn the conversion off: socat's crlf or crnl, nc -C, a terminal server's or a serial gateway's newline mode.",
    ),
    alteration.EIGHTH_BIT: (
        "the 8th bit of each byte is lost",
        "The path isn't 8-bit clean: something on it is set for ASCII.",
        "Look for a serial or terminal gateway with 7 bits, or for a program that decodes the bytes as ASCII.",
    ),
    alteration.CONTROLS: (
        "control bytes are changed or dropped",
        "Something on the path interprets control bytes, as a terminal or a serial line does.",
        "Set the terminal or the line to raw (socat: rawer), and turn off XON/XOFF flow control.",
    ),
    alteration.TELNET: (
        "telnet commands in the stream are interpreted",
        "Something on the path speaks telnet, in which the byte 0xFF begins a command and is doubled in data.",
        "Set the gateway, or the terminal server's port, to raw TCP.",
    ),
    alteration.ENCODING: (
        "bytes that aren't ASCII are encoded anew",
        "A program on the path, or the server, decodes the stream as text and encodes it again.",
        "Let it carry bytes: no text mode, no decoding.",
    ),
    alteration.CASE: (
        "letters come back in the wrong case",
        "The server isn't echoup, which turns a to z into A to Z and changes nothing else, or something is before it.",
        "Find out what listens at this address.",
    ),
    alteration.ADDED: (
        "the reply has bytes that nobody sent",
        "A program on the path, or another server than echoup, says something of its own, such as a greeting.",
        "Find out what listens at this address, and what proxies are before it; the bytes may name it.",
    ),
    alteration.UNKNOWN: (
        "bytes are changed on the path",
        "Something on the path alters the data and sends it on with a valid checksum: a proxy, or a faulty device.",
        _PROXY,
    ),
    "unchanged": (
        "the bytes come back as they were sent, so something in between answers",
        "An echo that isn't the application answers: a proxy, a loopback, or another echo service.",
        "Find out what listens at this address, and where it sends its connections.",
    ),
    "no-reply": (
        "nothing comes back",
        "The connection stands, but nobody answers on it: neither at once, nor after a line end, nor after our end.",
        "Look whether the proxy that took the connection reaches the server",
    ),
    "closed-without-reply": (
        "connections are closed without a reply",
        "A proxy whose backend is down, a server that expects something else first, or a limit on connections.",
        "Look in the logs of the proxies and of the server for why",
    ),
    "connections-refused": (
        "connections are closed without a reply, some of them, whatever is sent",
        "Something limits connections, in all or of one address, or one of several servers doesn't work.",
        "See --max-connections-per-peer of echoup, limits in proxies and firewalls, and each backend of a balancer.",
    ),
    "reply-cut": (
        "the reply is cut",
        "The connection ended before everything had come back.",
        "Look in the logs of the proxies and of the server for why this connection ended.",
    ),
    "reply-hangs": (
        "the reply stops",
        "Part of the reply never comes, and the connection stays open.",
        "If segments are not acknowledged, they are lost on the way: see mtu. Otherwise look at the proxies.",
    ),
    "pieces-changed": (
        "bytes are changed where they come in small pieces",
        "A program on the path takes each piece for a whole message.",
        "Look for a program that decodes what one read returns; a character may come in two pieces.",
    ),
    "cut-above-size": (
        "large replies are cut",
        "Something on the path, or the server, limits how much one connection carries.",
        "Look for a limit of the size of a request or of a buffer in the proxies.",
    ),
    "hangs-above-size": (
        "large payloads hang",
        "Packets above a size are lost, or something on the path waits for a buffer that is never emptied.",
        "If segments are not acknowledged, see mtu. Otherwise look for a proxy that doesn't read while it writes.",
    ),
}
"""For each cause what is wrong, what it means and what to try."""

_FILTERS = {
    "HTTP": "Look for a web filter, a transparent HTTP proxy, or a firewall that identifies applications.",
    "SIP": "Turn off the SIP ALG of the router or the firewall (Linux: nf_nat_sip, nf_conntrack_sip).",
    "FTP": "Turn off the FTP ALG of the router or the firewall (Linux: nf_nat_ftp), or bind it to port 21.",
}


def judge(
    confirmed: Sequence[SampleResult],
    filtered: Sequence[SampleResult],
    made: Sequence[SampleResult],
    closed: Sequence[SampleResult] = (),
) -> tuple[Problem, ...]:
    """Return what is wrong, by the payloads that failed twice.

    `filtered` are the look-alikes among them whose random twins pass; `made` are all payloads of the first pass;
    `closed` are those whose connections ended without a reply, as those of others do.
    """
    groups: dict[str, list[SampleResult]] = {}
    seenElsewhere = {each.alteration.cause for each in made if each.alteration and each.sample.kind is not Kind.PIECES}
    for outcome in confirmed:
        groups.setdefault(_cause(outcome, seenElsewhere), []).append(outcome)
    problems = [_problem(cause, outcomes, made) for cause, outcomes in groups.items()]
    if closed:
        problems.append(_problem("connections-refused", closed, made, Status.WARN))
    filters = [
        _filter(protocol, [each for each in filtered if each.sample.protocol == protocol])
        for protocol in sorted({each.sample.protocol for each in filtered})
    ]
    return (*problems, *filters)


def judgeFirst(outcome: SampleResult, untried: Collection[str]) -> tuple[Problem, ...]:
    """Return what is wrong where the first payload failed twice, so that the others would, too.

    `untried` are the options that the server may expect.
    """
    if outcome.how not in (How.HUNG, How.CUT) or outcome.received:
        return judge([outcome], [], [outcome])
    problem = _problem("closed-without-reply" if outcome.isClosed else "no-reply", [outcome], [outcome])
    return (replace(problem, advice=f"{problem.advice}{suggest(untried, TLS, PROXY_PROTOCOL)}."),)


def judgeNone(error: PathError) -> Problem:
    """Return what is wrong where there is no connection, because of `error`."""
    return Problem(
        Status.FAIL,
        "no-connection",
        str(error),
        meaning="Nothing can be sent.",
        advice="See whether the server runs, and what it listens on.",
        code=error.code,
    )


def describe(
    made: Sequence[SampleResult], problems: tuple[Problem, ...], answers: Answers, isSlow: bool = False
) -> Finding:
    """Return the finding of all payloads; where the path `isSlow`, the largest were left out."""
    if answers is not Answers.AT_ONCE:
        problems += (_notice(answers),)
    largest = max(len(each.sent) for each in made)
    exact = f"{len(made)} payloads of 1 B to {size(largest)} came back exact: all byte values, byte by byte, in a burst"
    left = "; larger ones are left out, because the path is slow" if isSlow else ""
    if alone := sum(each.isClosed for each in made):
        left += f"; {alone} of them only by themselves: with others at the same time, their connections were closed"
    figures = {"answers": answers.value, "largest": largest, "payloads": [each.figures for each in made]}
    return Finding(worst(problems).text if problems else f"{exact}{left}", problems, figures)


def _cause(outcome: SampleResult, seenElsewhere: set[str]) -> str:
    kind = outcome.sample.kind
    if outcome.alteration:
        isOfPieces = kind is Kind.PIECES and outcome.alteration.cause not in seenElsewhere
        return "pieces-changed" if isOfPieces else outcome.alteration.cause
    if outcome.how is How.UNCHANGED:
        return "unchanged"
    isCut = outcome.how is How.CUT
    if kind is Kind.SIZE:
        return "cut-above-size" if isCut else "hangs-above-size"
    return "reply-cut" if isCut else "reply-hangs"


def _problem(
    cause: str, outcomes: Sequence[SampleResult], made: Sequence[SampleResult], status: Status = Status.FAIL
) -> Problem:
    text, meaning, advice = _CAUSES[cause]
    if cause in _NAMED and outcomes[0].alteration:
        text += f": {outcomes[0].alteration.words}"
    sizes = [len(each.sent) for each in made if each.sample.kind is Kind.SIZE and each.how is How.RIGHT]
    seen = [each.evidence for each in outcomes[:SHOWN]]
    if cause.endswith("-above-size"):
        smallest = min(len(each.sent) for each in outcomes)
        passing = max((each for each in sizes if each < smallest), default=0)
        text += f": {passing} bytes pass, {smallest} don't" if passing else f": {smallest} bytes don't pass"
    return Problem(status, cause, text, tuple(seen), meaning, advice, _CODES.get(outcomes[0].how, ExitCode.WRONG))


def _filter(protocol: str, outcomes: Sequence[SampleResult]) -> Problem:
    done = " or ".join(dict.fromkeys(_DONE[each.how] for each in outcomes))
    return Problem(
        Status.FAIL,
        f"filter-{protocol.lower()}",
        f"what looks like {protocol} {done}",
        (*(each.evidence for each in outcomes[:SHOWN]), "random text of the same shape and size passes"),
        f"A firewall, a gateway (ALG) or a proxy on the path recognizes {protocol}, and blocks or rewrites it.",
        _FILTERS[protocol],
        _CODES.get(outcomes[0].how, ExitCode.WRONG),
    )


def _notice(answers: Answers) -> Problem:
    cause = {Answers.BY_LINE: "answers-by-line", Answers.AT_END: "answers-at-end"}[answers]
    return Problem(
        Status.NOTE,
        cause,
        f"the server answers {answers.value}",
        ("56 letters and digits without a line end had no answer",),
        "It isn't echoup, which answers each byte at once, or something on the path collects the stream.",
        "Nothing, if the server is meant to be such a program (tr behind socat, a line-based service); see buffering.",
    )
