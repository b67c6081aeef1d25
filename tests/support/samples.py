"""Sample results of probes, and a sample certificate."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from trustme import CA

from echoup.client.connect.trace import Phase, Step, Trace
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.judge import judge
from echoup.client.ping.reports.report import Report
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.result import Result, interrupted
from echoup.client.ping.statistics import Outcome, Statistics
from echoup.verdict import Reply

NOW = datetime(2030, 1, 1, tzinfo=UTC)
BEGINNING = NOW - timedelta(days=30)
RIGHT = CA(organization_name="Us").issue_cert("there.example", not_before=BEGINNING, not_after=NOW + timedelta(days=3))
"""A certificate that is valid from BEGINNING on, and at NOW for another three days."""

WORDS = {ExitCode.WRONG: "corrupted", ExitCode.SHORT: "closed", ExitCode.TIMED_OUT: "timed out"}


def judged(sent: bytes, received: bytes) -> Reply:
    """Return the reply to `sent` when `received` came back."""
    reply = Reply()
    reply.send(sent)
    reply.receive(received)
    return reply


def traced(*phases: Phase, certificate: bytes | None = None) -> Trace:
    """Return a trace of `phases`."""
    trace = Trace(lambda: 0.0)
    trace.phases += phases
    trace.certificate = certificate
    return trace


def probe(seq: int = 1, seconds: float = 0.001, code: ExitCode = ExitCode.OK, **changes: Any) -> Result:
    """Return the result of a probe that began at second `seq`; a failed one unless `code` is OK."""
    fields: dict[str, Any] = {
        "at": 1e9 + seq,
        "began": float(seq),
        "ended": seq + seconds,
        "reply": judged(b"abc", b"ABC" if code is ExitCode.OK else b""),
        "trace": traced(Phase(Step.CONNECT, float(seq), {"address": "127.0.0.1:1"}, seq + seconds)),
        "error": PathError(code, f"there:1: {WORDS.get(code, code.name)} {seq}") if code else None,
        "local": "127.0.0.1:4",
        "remote": "127.0.0.1:1",
    }
    return Result(seq=seq, seconds=seconds, **fields | changes)


def interruptedAt(seq: int, *phases: Phase, **changes: Any) -> Result:
    """Return the result of a probe that was interrupted after two seconds."""
    return probe(seq, 2.0, error=interrupted(2.0), trace=traced(*phases), **changes)


def summed(*results: Result) -> Statistics:
    """Return the finished statistics of `results`."""
    statistics = Statistics()
    for result in results:
        statistics.sent += 1
        statistics.add(result)
    statistics.finish()
    return statistics


TARGET = "there:1"
"""The target of the sample results, as messages name it."""


def told(
    report: Report,
    *results: Result,
    requirements: tuple[Requirement, ...] = (),
    others: Mapping[str, tuple[Result, ...]] | None = None,
) -> None:
    """Pass `results` of TARGET, and those of `others` by their names, to `report`, from the beginning to the end."""
    each = {TARGET: results, **(others or {})}
    report.begin([*each], 3)
    for target, its in each.items():
        for result in its:
            report.add(result, target)
            report.tick({target: summed(result)}, 0.0)
    everything = {target: summed(*its) for target, its in each.items()}
    report.end([Outcome(target, its, *judge(its, requirements)) for target, its in everything.items()], requirements)


def ended(statistics: Statistics, code: ExitCode = ExitCode.OK) -> list[Outcome]:
    """Return how a run with TARGET alone ended."""
    return [Outcome(TARGET, statistics, code)]


UNMET = Requirement("avg<0us", "avg", 0.0, isInclusive=False)
"""A requirement that nothing can meet."""
