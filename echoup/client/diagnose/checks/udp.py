"""The check `udp`: what becomes of datagrams of all sizes, of a burst of them, and of their DSCP and ECN."""

from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from os import strerror
from typing import Any

from echoup.addresses import joinAddress
from echoup.client.diagnose.datagrams.answers import Fault, WrongAnswer
from echoup.client.diagnose.datagrams.burst import Burst, judgeBursts, sendBursts, shareLost
from echoup.client.diagnose.datagrams.marks import judgeMarks, measureMarks
from echoup.client.diagnose.datagrams.passedsizes import judgeSizes, measureSizes
from echoup.client.diagnose.datagrams.questions import Questions
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped, worst
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exitcodes import ExitCode
from echoup.plurals import counted

WAITS = (0.2, 0.3, 0.5, 0.5)
"""Seconds between the first datagrams, until one is answered."""

PATIENCE = 1.0
"""Seconds to wait for a service that may not be there, after those."""

STARTING = "twistd echoup --udp PORT"


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Send datagrams to the host and port of the target, and report what came back.

    Without a service for them at the host and port of a stream, nothing is said against the path.
    """
    host = await path.ipAddress()
    where = f"udp:{joinAddress(host, path.target.port)}"
    figures: dict[str, Any] = {"address": host}
    with closing(Questions(path, await path.openDatagrams())) as questions:
        tell("is anybody there")
        patience = path.scope.timeout if path.isDatagram else min(PATIENCE, path.scope.timeout)
        if not await questions.ask(patience, WAITS):
            return _explainNothing(questions, where, path.isDatagram)
        tell("a burst")
        bursts = await sendBursts(questions)
        overflowed, loss = questions.socket.overflowed, _estimate(bursts)
        figures |= {"bursts": [*map(vars, bursts)], "lost": shareLost(bursts), "overflowed": overflowed}
        if not questions.wrong:
            tell("sizes")
            sizes = await measureSizes(questions, loss)
            figures |= {"whole": sizes.whole, "largest": sizes.largest, "sizesLost": sizes.lost}
        if not questions.wrong:
            tell("DSCP and ECN")
            marks = await measureMarks(questions, loss)
            figures["marks"] = [{"sent": tos, "arrived": arrived} for tos, arrived in marks.items()]
        if questions.wrong:  # so it counts as lost, too
            problems = _judgeAnswers(questions.wrong)
        # What is silent altogether tells nothing about sizes and marks.
        elif all(marks.values()) or await questions.ask(path.scope.timeout, WAITS):
            problems = [*judgeBursts(bursts, overflowed), *judgeSizes(sizes), *judgeMarks(marks)]
        else:
            problems = [_stopped(where, questions), *judgeBursts(bursts, overflowed)]
    if problems:
        return Finding(worst(problems).text, tuple(replace(each, isOfDatagrams=True) for each in problems), figures)
    sent, lost = sum(burst.sent for burst in bursts), sum(burst.lost for burst in bursts)
    answered = f"{sent - lost} of {sent} in a burst answered"
    return Finding(f"{answered}, 1 to {sizes.largest} bytes pass; DSCP and ECN are kept", (), figures)


def _estimate(bursts: Collection[Burst]) -> float:
    """Return the share of packets that may be lost: a little more than was seen, since only some were sent."""
    return (sum(burst.lost for burst in bursts) + 1) / (sum(burst.sent for burst in bursts) + 2)


def _explainNothing(questions: Questions, where: str, isWanted: bool) -> Finding:
    """Return why not one datagram was answered as it should be; that is a fault if the target `isWanted` to be UDP."""
    if questions.wrong:
        if isWanted:
            problems = _judgeAnswers(questions.wrong)
            return Finding(problems[0].text, tuple(problems))
        return skipped(f"what answers at {where} is no echoup: {questions.wrong[0].fault.value}")
    reason = strerror(questions.socket.errors[-1].errno or 0).lower() if questions.socket.errors else ""
    if questions.unsent == len(questions):
        return skipped(f"this machine sends nothing there: {reason}")
    code, status = ExitCode.TIMED_OUT, "silent"
    text = f"no answer from {where} to {len(questions)} datagrams"
    meaning = "No service takes datagrams there, or they or the answers are dropped; UDP can't tell which."
    advice = f"Look whether the service runs ({STARTING}) and at the firewalls on the path; compare TCP."
    if reason:
        code, status = ExitCode.UNREACHABLE, "refused"
        text = f"{where} refuses datagrams: {reason}"
        meaning = "The host, or a firewall in its name, says that nothing takes datagrams at that port."
        advice = f"Start the service with that port ({STARTING}), or correct the port."
    if not isWanted:
        why = "no service is there" if reason else "no service is there, or a firewall drops them"
        return skipped(f"{text}; {why} ({STARTING} starts one)")
    return Finding(text, (Problem(Status.FAIL, f"udp-{status}", text, (), meaning, advice, code),))


def _stopped(where: str, questions: Questions) -> Problem:
    return Problem(
        Status.FAIL,
        "udp-stopped",
        f"{where} has stopped answering",
        (f"{len(questions.arrived)} of {len(questions)} datagrams were answered, then none",),
        "The service has ended, or a limit on datagrams or packets of this machine has begun to act.",
        "Look at the log of the daemon (--udp-rate) and at the rate limits of the firewalls on the path.",
        ExitCode.TIMED_OUT,
    )


_FAULTS = {
    Fault.UNCHANGED: (
        "udp-unchanged",
        "datagrams come back unchanged",
        "Something in between, or another echo service, answers in place of the application.",
    ),
    Fault.CUT: (
        "udp-cut",
        "answers are cut",
        "The service, or something in between, has too small a buffer.",
    ),
    Fault.ALTERED: (
        "udp-altered",
        "bytes of datagrams are altered",
        "A device on the path rewrites the payload: an ALG, a filter, or a fault that a checksum missed.",
    ),
    Fault.FOREIGN: (
        "udp-foreign",
        "what comes back belongs to no datagram that was sent",
        "Another service answers there, or something on the path answers in its name.",
    ),
}
"""Of each fault of an answer the cause, the text and what it means."""


def _judgeAnswers(wrong: Collection[WrongAnswer]) -> list[Problem]:
    """Return what is wrong with the answers themselves: a problem for each fault."""
    problems = []
    for fault, (cause, text, meaning) in _FAULTS.items():
        if found := [each for each in wrong if each.fault is fault]:
            places = (
                f"of {each.sent} bytes, from offset {each.at} on" if each.sent else "an answer of another kind"
                for each in found
            )
            cut = f" to {found[0].at} bytes" if fault is Fault.CUT else ""
            words = f"{text}{cut} ({counted(len(found), 'wrong answer')})"
            seen = tuple(dict.fromkeys(places))[:5]
            advice = "Capture the packets at the server and here, and compare."
            problems.append(Problem(Status.FAIL, cause, words, seen, meaning, advice))
    return problems
