"""The report that programs read: one JSON object a line."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from echoup.client.connect.trace import Phase
from echoup.client.exitcodes import ExitCode
from echoup.client.ping.reports.report import PERCENTILES, Report
from echoup.client.ping.requirement import COUNTS, Requirement
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Outage, Outcome
from echoup.escaping import printable

SCHEMA = 1
"""The version of the JSON; it increases when a member changes or is removed, not when one is added."""


class JSONReport(Report):
    """Writes one JSON object a line: one of type `probe` for each probe, then one of type `summary`.

    All times are in seconds, all shares 0 to 1; an unknown value is null.
    """

    def __init__(self, write: Callable[[str], None], quiet: bool = False) -> None:
        """`quiet`: only the summary."""
        super().__init__(write)
        self._quiet = quiet

    def add(self, result: Result, target: str) -> None:
        """Write the object of a probe."""
        if self._quiet:
            return
        reply = result.reply
        self._writeObject(
            "probe",
            target,
            seq=result.seq,
            at=_instant(datetime.fromtimestamp(result.at, UTC)),
            verdict=result.verdict and result.verdict.value,
            code=int(result.error.code if result.error else ExitCode.OK),
            step=result.step and result.step.value,
            error=result.error and str(result.error),
            local=result.local,
            remote=result.remote,
            sent=reply.sent,
            received=reply.received,
            wrongAt=reply.wrongAt,
            expected=None if reply.wrongAt is None else printable(reply.expected),
            got=None if reply.wrongAt is None else printable(reply.got),
            seconds=result.seconds,
            phases=[_phase(phase, result) for phase in result.trace.phases],
            certificate=_certificate(result),
        )

    def end(self, outcomes: Sequence[Outcome], requirements: Sequence[Requirement]) -> None:
        """Write a summary for each target."""
        counts = ("sent", "answered", "lost", "wrong", "unfinished", "unsent", "untimed", *COUNTS)
        for outcome in outcomes:
            statistics = outcome.statistics
            self._writeObject(
                "summary",
                outcome.target,
                **{name: getattr(statistics, name) for name in (*counts, "loss", "min", "avg", "max", "stddev")},
                percentiles={str(p): statistics.percentile(p) for p in PERCENTILES},
                outage=statistics.outage and _outage(statistics.outage),
                downSince=statistics.current and statistics.current.first,
                requirements=[
                    {"require": each.text, "met": each.isMet(statistics), "value": each.value(statistics)}
                    for each in requirements
                ],
                code=int(outcome.code),
            )

    def _writeObject(self, kind: str, target: str, **members: Any) -> None:
        line = {"schema": SCHEMA, "type": kind, "target": target, **members}
        text = json.dumps(line, default=str).replace("\x7f", "\\u007f")  # the only control character that it leaves
        self._write(text + "\n")


def _instant(moment: datetime) -> str:
    """Return a moment of UTC as RFC 3339 writes it, to the microsecond."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _phase(phase: Phase, result: Result) -> dict[str, Any]:
    seconds = None if result.seconds is None else phase.seconds
    known = {"step": phase.step.value, "seconds": seconds, "error": phase.error}
    tcp = phase.tcp and {"state": phase.tcp.state, "rtt": phase.tcp.rtt, "retransmits": phase.tcp.retransmits}
    return known | phase.details | {"tcp": tcp}


def _certificate(result: Result) -> dict[str, Any] | None:
    if not result.trace.certificate:
        return None
    from echoup.tls.certificateinfo import parseCertificate

    certificate = parseCertificate(result.trace.certificate)
    if certificate is None:
        return None
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "notBefore": _instant(certificate.notBefore),
        "notAfter": _instant(certificate.notAfter),
        "daysLeft": certificate.daysLeft(datetime.fromtimestamp(result.at, UTC)),
    }


def _outage(outage: Outage) -> dict[str, Any]:
    seconds = outage.seconds if outage.isOver else None
    return {"seconds": seconds, "first": outage.first, "last": outage.last, "over": outage.isOver}
