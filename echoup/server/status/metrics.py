"""`/metrics`: what a daemon counts, for Prometheus. docs/metrics.md explains each metric.

The library only writes the formats. Its metrics, which a process keeps up to date, have no part in this: each scrape
makes all of them anew, from an overview of the daemon.
"""

import platform
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from echoup.server.counts import DURATIONS, SIZES, Total
from echoup.server.datagram.returnpath import DatagramRefusal
from echoup.server.overview import IMainService, Overview
from echoup.server.reasons import Counted, EndReason, ProxyResult, Refusal, TLSResult
from echoup.server.settings import Plan
from echoup.server.status.health import Health
from echoup.server.status.process import processMetrics
from echoup.server.status.request import Request
from echoup.upper import IMPLEMENTATION

Values = dict[tuple[str, ...], float]
"""The values of a metric, by those of its labels."""


class MetricsResource(Resource):
    """The metrics, in the format that the client accepts: Prometheus' text, or OpenMetrics."""

    isLeaf = True

    def __init__(self, reactor: object, service: IMainService, health: Health) -> None:
        """Show what `service` counts, and by `health` whether it drains."""
        super().__init__()
        self._service = service
        self._health = health
        self._build = {
            "version": version("echoup"),
            "python": platform.python_version(),
            "twisted": version("twisted"),
            "reactor": reactorName(reactor),
            "upper": IMPLEMENTATION,
        }

    def render_GET(self, request: Request) -> int:
        """Answer as soon as there is an overview."""
        Deferred.fromCoroutine(self._answer(request)).addErrback(request.processingFailed)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        accept = b",".join(request.requestHeaders.getRawHeaders(b"accept", [])).decode("latin-1")
        try:
            encode, contentType = choose_encoder(accept)
        except TypeError:  # the version of a format isn't a number
            encode, contentType = choose_encoder("")
        registry = CollectorRegistry()
        overview = await self._service.overview()
        registry.register(Scrape(self._service.plan, overview, self._health.isDraining, self._build))
        document = encode(registry)
        request.setHeader("Content-Type", contentType)
        request.finishWith(document)


def reactorName(reactor: object) -> str:
    """Return the name of `reactor` that `--reactor` takes."""
    return type(reactor).__module__.rpartition(".")[2].removesuffix("reactor")


class Scrape(Collector):
    """The metrics of one overview."""

    def __init__(self, plan: Plan, overview: Overview, isDraining: bool, build: dict[str, str]) -> None:
        """`build` are the labels of the metric of that name."""
        self._plan = plan
        self._overview = overview
        self._isDraining = isDraining
        self._build = build

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics that have a value."""
        groups = (
            self._daemon(),
            self._connections(),
            self._histograms(),
            self._bytes(),
            self._beginnings(),
            self._datagrams(),
        )
        yield from (metric for group in groups for metric in group if metric.samples)
        yield from processMetrics(worker.pid for worker in self._overview.workers if worker.state != "ended")

    def _daemon(self) -> Iterator[Metric]:
        overview = self._overview
        yield InfoMetricFamily("echoup_build", "The version of echoup, and of what it runs on.", self._build)
        yield _metric(Gauge, "draining", "1 if the daemon has been told to stop, else 0.", {(): self._isDraining})
        serving = sum(worker.state == "serving" for worker in overview.workers) if overview.workers else 1
        yield _metric(Gauge, "workers", "Processes that serve connections.", {(): serving})
        restarts = overview.workerRestarts
        yield _metric(Counter, "worker_restarts", "Workers started in place of one that had ended.", {(): restarts})

    def _connections(self) -> Iterator[Metric]:
        counts, views = self._overview.counts, self._overview.listeners
        opened = self._total(Total.OPENED)
        yield _metric(Counter, "connections_opened", "Connections accepted, refused ones included.", opened, "listener")
        isOpen = _byListener((name, each.open) for name, each in counts.listeners.items())
        yield _metric(Gauge, "connections_open", "Connections that are open.", isOpen, "listener")
        yield self._counted("connections_closed", "Connections that have ended.", EndReason, "reason")
        yield self._counted("connections_refused", "Connections that were never served.", Refusal, "reason")
        yield _metric(Gauge, "connections_waiting", "Open connections that wait for a place.", {(): counts.waiting})
        text = "Open connections that are not read because bytes wait for the peer."
        yield _metric(Gauge, "connections_paused", text, {(): counts.paused})
        limit = self._plan.limits.maxConnections
        yield _metric(Gauge, "connections_limit", "The value of --max-connections; 0 is no limit.", {(): limit})
        queued = _byListener((view.description, view.queue) for view in views)
        text = "Connections that the kernel holds until the daemon accepts them."
        yield _metric(Gauge, "accept_queue", text, queued, "listener")
        limits = _byListener((view.description, view.queueLimit) for view in views)
        yield _metric(Gauge, "accept_queue_limit", "The most connections that the kernel holds.", limits, "listener")

    def _histograms(self) -> Iterator[Metric]:
        counts = self._overview.counts
        text = "Durations of the connections that have ended."
        yield _histogram("connection_duration_seconds", text, DURATIONS, *counts.durations)
        text = "Bytes received on the connections that have ended."
        yield _histogram("connection_received_bytes", text, SIZES, *counts.sizes)

    def _bytes(self) -> Iterator[Metric]:
        views = self._overview.datagramListeners
        received = self._total(Total.RECEIVED) | _byListener((each.description, each.receivedBytes) for each in views)
        yield _metric(Counter, "received_bytes", "Bytes of streams and datagrams received.", received, "listener")
        sent = self._total(Total.SENT) | _byListener((each.description, each.sentBytes) for each in views)
        yield _metric(Counter, "sent_bytes", "Bytes sent back, as far as the kernel took them.", sent, "listener")

    def _beginnings(self) -> Iterator[Metric]:
        """Yield the metrics of what comes before a stream."""
        certificates = {each.description: each.certificate for each in self._plan.listeners if each.certificate}
        labels = ("version", "result")
        yield self._counted("tls_handshakes", "TLS handshakes that have ended.", TLSResult, *labels, of=certificates)
        infos = {name: certificate.info for name, certificate in certificates.items()}
        expiries = _byListener((name, info.notAfter.timestamp()) for name, info in infos.items() if info)
        text = "When the certificate in use expires, in seconds since 1970."
        yield _metric(Gauge, "tls_certificate_not_after_timestamp_seconds", text, expiries, "listener")
        if self._plan.proxies:
            yield self._counted("proxy_headers", "PROXY headers that were awaited.", ProxyResult, *labels)

    def _datagrams(self) -> Iterator[Metric]:
        views = self._overview.datagramListeners
        received = _byListener((each.description, each.received) for each in views)
        yield _metric(Counter, "datagrams_received", "Datagrams received.", received, "listener")
        answered = _byListener((each.description, each.answered) for each in views)
        yield _metric(Counter, "datagrams_answered", "Datagrams answered.", answered, "listener")
        dropped: Values = {}
        for refusal in DatagramRefusal:
            each = _byListener((each.description, each.dropped[refusal]) for each in views)
            dropped |= {(*listener, refusal.label): number for listener, number in each.items()}
        yield _metric(Counter, "datagrams_dropped", "Datagrams not answered.", dropped, "listener", "reason")

    def _total(self, total: Total) -> Values:
        return _byListener((name, each[total]) for name, each in self._overview.counts.listeners.items())

    def _counted(
        self, name: str, text: str, kind: type[Counted], *labels: str, of: Collection[str] | None = None
    ) -> Metric:
        """Return a counter of each of a `kind`, with `labels` for its values; only of the listeners `of`."""
        values = {
            (listener, *(each.value if isinstance(each.value, tuple) else (each.value,))): counts[each]
            for listener, counts in self._overview.counts.listeners.items()
            for each in kind
            if of is None or listener in of
        }
        return _metric(Counter, name, text, values, "listener", *labels)


def _metric(
    kind: type[Counter | Gauge], name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str
) -> Metric:
    family = kind(f"echoup_{name}", text, labels=labels)
    for each, value in values.items():
        family.add_metric(each, value)
    return family


def _histogram(name: str, text: str, bounds: Sequence[float], buckets: Sequence[int], total: float) -> Metric:
    """Return a histogram of `buckets`, each without those below it."""
    texts = map(floatToGoString, (*bounds, inf))
    return HistogramMetricFamily(f"echoup_{name}", text, [*zip(texts, accumulate(buckets), strict=True)], total)


def _byListener(values: Iterable[tuple[str, float | None]]) -> Values:
    """Return the sums of `values` for each description; several listeners may have the same."""
    sums: Values = {}
    for description, value in values:
        if value is not None:
            sums[description,] = sums.get((description,), 0) + value
    return sums
