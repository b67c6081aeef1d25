"""The report for the textfile collector of Prometheus' node_exporter."""

from collections.abc import Callable, Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from echoup.client.connect.trace import Step
from echoup.client.ping.reports.report import PERCENTILES, Report
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Outcome
from echoup.tls.certificateinfo import parseCertificate


class PrometheusReport(Report):
    """Writes gauges of this run at the end, in the text format, each with the label `target`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(write)
        self._seen: dict[str, _Seen] = {}
        self._registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}

    def begin(self, targets: Sequence[str], size: int) -> None:
        """Remember something of each target."""
        self._seen = {target: _Seen() for target in targets}

    def add(self, result: Result, target: str) -> None:
        """Remember what later gauges need of a probe."""
        self._seen[target].add(result)

    def end(self, outcomes: Sequence[Outcome], requirements: Sequence[Requirement]) -> None:
        """Write all gauges that have a value."""
        for outcome in outcomes:
            set_ = partial(self._set, outcome.target)
            _describeProbes(set_, self._seen[outcome.target])
            _describeOutcome(set_, outcome)
            for each in requirements:
                isMet = each.isMet(outcome.statistics)
                set_("requirement_met", "1 if the requirement is met", isMet, require=each.text)
        self._write(generate_latest(self._registry).decode())

    def _set(self, target: str, name: str, documentation: str, value: float | None, **labels: str) -> None:
        if value is None:
            return
        if name not in self._gauges:
            full = f"echoup_ping_{name}"
            self._gauges[name] = Gauge(full, documentation, ("target", *labels), registry=self._registry)
        self._gauges[name].labels(target=target, **labels).set(value)


def _describeProbes(set_: Callable[..., None], seen: "_Seen") -> None:
    """Set what is known of single probes."""
    set_("up", "1 if the last probe that was sent was answered", seen.last and seen.last.isAnswered)
    failed = seen.lastFailed and seen.lastFailed.step
    for step in Step:
        set_("failed_step", "1 for the step in which the last failed probe failed", step is failed, step=step.value)
    for phase in seen.lastTimed.trace.phases if seen.lastTimed else ():
        if not phase.error:
            text = "Steps of the last answered probe that has a time"
            set_("phase_seconds", text, phase.seconds, step=phase.step.value)
    if seen.certificate and (certificate := parseCertificate(seen.certificate)):
        expiry = certificate.notAfter.timestamp()
        set_("certificate_expiry_timestamp_seconds", "When the server's certificate expires", expiry)


def _describeOutcome(set_: Callable[..., None], outcome: Outcome) -> None:
    """Set what is known of all probes."""
    statistics = outcome.statistics
    set_("exit_code", "The exit code for this target alone, 0 to 8", outcome.code)
    for result in ("answered", "lost", "wrong", "unsent"):
        set_("probes", "Probes by their result", getattr(statistics, result), result=result)
    for p in PERCENTILES:
        set_("seconds", "Times of the answered probes", statistics.percentile(p), percentile=str(p))
    for name in ("min", "avg", "max", "stddev"):
        set_(f"seconds_{name}", "Of the times of the answered probes", getattr(statistics, name))
    set_("untimed", "Answered probes without a time: echoup was paused meanwhile", statistics.untimed)
    longest, current = statistics.longest, statistics.current
    set_("outage_seconds", "The longest outage that is over; 0 if there is none", longest.seconds if longest else 0)
    text = "The number of the first probe of the outage that is not over; 0 if there is none"
    set_("down_since_seq", text, current.first if current else 0)


class _Seen:
    """What was seen of one target; of the probes it is the last in order of seq."""

    last: Result | None = None
    """The last probe that was sent."""
    lastTimed: Result | None = None
    """The last answered one that has a time."""
    lastFailed: Result | None = None
    """The last that was sent and failed."""
    certificate: bytes | None = None
    """The last certificate."""

    def add(self, result: Result) -> None:
        """Compare a probe that is over."""
        if not result.isUnsent:
            self.last = _later(self.last, result)
            if not result.isAnswered:
                self.lastFailed = _later(self.lastFailed, result)
        if result.isAnswered and result.seconds is not None:
            self.lastTimed = _later(self.lastTimed, result)
        self.certificate = result.trace.certificate or self.certificate


def _later(one: Result | None, other: Result) -> Result:
    return one if one and one.seq > other.seq else other
