"""What the path does to DSCP and ECN."""

from collections.abc import Callable, Collection, Iterable, Mapping

from echoup.client.diagnose.datagrams.burst import EITHER_WAY
from echoup.client.diagnose.datagrams.passedsizes import MOST_TRIES, ROUND, triesOf
from echoup.client.diagnose.datagrams.questions import PROBE, Questions
from echoup.client.diagnose.finding import Problem, Status
from echoup.client.exitcodes import ExitCode

EF, AF41, CS1 = 46, 34, 8
CE = 3

MARKS = (0, EF << 2, AF41 << 2, CS1 << 2, 1, 2, CE)
"""Each TOS that is sent: no mark, three classes, and each value of ECN."""

ENOUGH, CONFIRMED = 2, 5
"""Answers to each of them; the second number where one has another TOS than its datagram."""

_NAMED = {0: "CS0", 1: "LE", EF: "EF", 44: "VOICE-ADMIT", **{8 * n: f"CS{n}" for n in range(1, 8)}}
_ECN = ("Not-ECT", "ECT(1)", "ECT(0)", "CE")

Arrived = Mapping[int, Collection[int]]
"""The TOS of the answers, by that of their datagrams."""


def nameClass(dscp: int) -> str:
    """Return the name of a DSCP (RFC 2474, 2597, 3246, 5865, 8622), or its number."""
    kind, drop = divmod(dscp, 8)
    if 1 <= kind <= 4 and drop in (2, 4, 6):
        return f"AF{kind}{drop // 2}"
    return _NAMED.get(dscp, f"DSCP {dscp}")


def nameECN(ecn: int) -> str:
    """Return the name of an ECN value (RFC 3168, 5)."""
    return _ECN[ecn]


async def measureMarks(questions: Questions, loss: float) -> dict[int, list[int]]:
    """Send datagrams with each of MARKS until enough are answered; return the TOS of the answers.

    `loss` is the share of lost packets.
    """
    asked: dict[int, list[int | None]] = {tos: [] for tos in MARKS}
    tries = min(triesOf(PROBE, PROBE, loss), MOST_TRIES)
    arrived = await _askFor(ENOUGH, tries, questions, asked)
    if all({*arrived[tos]} == {tos} for tos in MARKS):
        return arrived
    return await _askFor(CONFIRMED, tries, questions, asked)


async def _askFor(
    answers: int, tries: int, questions: Questions, asked: Mapping[int, list[int | None]]
) -> dict[int, list[int]]:
    """Send until each of `asked`, which has the datagrams of each TOS, has enough `answers`, in bounded tries."""
    arrived: dict[int, list[int]] = {}
    for _ in range(answers + tries - 1):
        missing = [tos for tos in asked if len(arrived.get(tos, [])) < answers]
        for tos in missing:
            asked[tos].append(questions.send(PROBE, tos))
        await questions.settle([asked[tos][-1] for tos in missing], ROUND)
        for tos, numbers in asked.items():
            arrived[tos] = [each.tos for number in numbers for each in questions.answersTo(number)]
    return arrived


def judgeMarks(arrived: Arrived) -> list[Problem]:
    """Return what the path does to DSCP and ECN."""
    problems = []
    if lost := [tos for tos in MARKS if not arrived[tos]] if arrived[0] else []:
        marks = ", ".join(_nameMark(tos) for tos in lost)
        problems.append(
            Problem(
                Status.WARN,
                "tos-lost",
                f"datagrams with {marks} are lost, others pass",
                tuple(f"{_nameMark(tos)}: {len(arrived[tos])} answers" for tos in MARKS),
                f"Something on the path drops packets by their DSCP or ECN. {EITHER_WAY}",
                "Look for a rule or a policer of that class on the path.",
                ExitCode.TIMED_OUT,
            )
        )
    came = {tos: {*arrived[tos]} for tos in MARKS if arrived[tos]}
    marked = {tos: seen for tos, seen in came.items() if tos}
    if marked and all(seen == {0} for seen in came.values()):
        problems.append(
            Problem(
                Status.NOTE,
                "tos-cleared",
                "the answers have neither DSCP nor ECN",
                _show(marked, arrived),
                "The path clears both, or this service answers without the TOS of the datagram, as earlier versions of "
                "echoup do; the answers can't tell.",
                "Compare with the daemon of this version, and capture packets at the server.",
            )
        )
        return problems
    return [*problems, *_judgeDSCP(came, arrived), *_judgeECN(came, arrived)]


def _judgeDSCP(came: Mapping[int, set[int]], arrived: Arrived) -> list[Problem]:
    classes = {tos: {each >> 2 for each in seen} for tos, seen in came.items() if tos >> 2 or not tos}
    changed = {tos: seen for tos, seen in classes.items() if seen != {tos >> 2}}
    if not changed:
        return []
    if isCleared := all(seen == {0} for seen in changed.values()):
        kept = ", ".join(nameClass(tos >> 2) for tos in classes if tos and tos not in changed)
        names = ", ".join(nameClass(tos >> 2) for tos in changed) + (f"; {kept} is kept" if kept else "")
        text = f"the path clears DSCP ({names})"
    else:
        into = (f"{nameClass(tos >> 2)} arrives as {_or(nameClass, seen)}" for tos, seen in changed.items())
        text = f"the path remarks DSCP: {', '.join(into)}"
    return [
        Problem(
            Status.NOTE,
            "dscp-cleared" if isCleared else "dscp-remarked",
            text,
            _show(changed, arrived),
            f"Queues behind that point don't see the class that the sender chose. {EITHER_WAY}",
            "If the class matters, let the devices at the edges of the networks trust DSCP; capture packets at the "
            "server to see in which direction it is lost.",
        )
    ]


def _judgeECN(came: Mapping[int, set[int]], arrived: Arrived) -> list[Problem]:
    values = {tos: {each & 3 for each in seen} for tos, seen in came.items() if tos <= CE}
    # CE on some of the packets that allow it is what a congested queue sets.
    changed = {ecn: seen for ecn, seen in values.items() if not ({ecn} <= seen <= {ecn, CE} and (ecn or seen == {0}))}
    if not changed:
        return []
    into = ", ".join(f"{nameECN(ecn)} arrives as {_or(nameECN, seen)}" for ecn, seen in changed.items())
    advice = "Look for the device that rewrites the TOS byte: it should leave its last two bits alone (RFC 3168, 5)."
    if all(seen == {0} for seen in changed.values()):
        cause, text, meaning = (
            "ecn-cleared",
            f"the path clears ECN: {into}",
            "Congestion is then signalled by loss only.",
        )
    elif all(seen == {CE} for seen in changed.values()):
        cause, text = "ecn-congested", f"the path sets CE on every packet: {into}"
        meaning = "Connections with ECN slow down as if each packet met congestion."
        advice = "Look for a queue that is always full, or for a device that rewrites the TOS byte."
    else:
        cause, text, meaning = "ecn-remarked", f"the path changes ECN: {into}", "It signals congestion wrongly."
    return [Problem(Status.NOTE, cause, text, _show(changed, arrived), f"{meaning} {EITHER_WAY}", advice)]


def _nameMark(tos: int) -> str:
    """Return the name of a TOS that is sent."""
    if tos <= CE:
        return nameECN(tos) if tos else "no mark"
    return nameClass(tos >> 2)


def _show(changed: Iterable[int], arrived: Arrived) -> tuple[str, ...]:
    """Return a line for each TOS that was `changed`: what the answers had."""

    def whole(tos: int) -> str:
        return f"{nameClass(tos >> 2)} with {nameECN(tos & 3)}"

    return tuple(
        f"sent {whole(tos)}, came back {_or(whole, {*arrived[tos]})} ({len(arrived[tos])} answers)" for tos in changed
    )


def _or(name: Callable[[int], str], values: Collection[int]) -> str:
    return " or ".join(map(name, sorted(values)))
