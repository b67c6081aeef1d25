"""The report for the textfile collector of Prometheus' node_exporter."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from echoup.client.exitcodes import ExitCode
from echoup.client.ping.reports.report import PERCENTILES, Report
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Statistics
from echoup.tls.certificateinfo import parseCertificate


class PrometheusReport(Report):
    """Writes gauges of this run at the end, in the text format, each with the label `target`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(write)
        self._last: Result | None = None
        self._lastTimed: Result | None = None
        self._certificate: bytes | None = None
        self._registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}

    def add(self, result: Result) -> None:
        """Remember the last probe that was sent, the last answered one that has a time, and the last certificate."""
        if not result.isUnsent and (not self._last or result.seq > self._last.seq):
            self._last = result
        isTimed = result.isAnswered and result.seconds is not None
        if isTimed and (not self._lastTimed or result.seq > self._lastTimed.seq):
            self._lastTimed = result
        self._certificate = result.trace.certificate or self._certificate

    def end(self, statistics: Statistics, requirements: Sequence[Requirement], code: ExitCode) -> None:
        """Write all gauges that have a value."""
        isUp = float(self._last.isAnswered) if self._last else None
        self._set("up", "1 if the last probe that was sent was answered", isUp)
        for result in ("answered", "lost", "wrong", "unsent"):
            self._set("probes", "Probes by their result", getattr(statistics, result), result=result)
        for p in PERCENTILES:
            self._set("seconds", "Times of the answered probes", statistics.percentile(p), percentile=str(p))
        for name in ("min", "avg", "max", "stddev"):
            self._set(f"seconds_{name}", "Of the times of the answered probes", getattr(statistics, name))
        for phase in self._lastTimed.trace.phases if self._lastTimed else ():
            if not phase.error:
                self._set(
                    "phase_seconds",
                    "Steps of the last answered probe that has a time",
                    phase.seconds,
                    step=phase.step.value,
                )
        outage = statistics.outage
        self._set("untimed", "Answered probes without a time: echoup was paused meanwhile", statistics.untimed)
        self._set(
            "outage_seconds",
            "The longest outage; one that is not over counts until its last failed probe",
            outage.seconds if outage else 0.0,
        )
        if self._certificate and (certificate := parseCertificate(self._certificate)):
            expiry = certificate.notAfter.timestamp()
            self._set("certificate_expiry_timestamp_seconds", "When the server's certificate expires", expiry)
        for each in requirements:
            self._set(
                "requirement_met", "1 if the requirement is met", float(each.isMet(statistics)), require=each.text
            )
        self._write(generate_latest(self._registry).decode())

    def _set(self, name: str, documentation: str, value: float | None, **labels: str) -> None:
        if value is None:
            return
        if name not in self._gauges:
            full = f"echoup_ping_{name}"
            self._gauges[name] = Gauge(full, documentation, ("target", *labels), registry=self._registry)
        self._gauges[name].labels(target=self._target, **labels).set(value)
