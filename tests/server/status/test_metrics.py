"""The metrics are those of an overview, in the formats of Prometheus."""

import json
import re
import subprocess
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import cast

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parseOpenMetrics
from prometheus_client.parser import text_string_to_metric_families as parseText
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import capturedLogs
from twisted.trial.unittest import SkipTest

from echoup.reactor.uvloopreactor import UvloopReactor
from echoup.server.counts import DURATIONS, SIZES, Total
from echoup.server.datagram.returnpath import DatagramRefusal
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.listeners import AddressListener
from echoup.server.overview import DatagramListenerView, ListenerView, Overview, WorkerView
from echoup.server.reasons import EndReason, ProxyResult, Refusal, TLSResult
from echoup.server.settings import Limits, Plan
from echoup.server.status import metrics
from echoup.server.status.health import Health
from echoup.server.status.metrics import MetricsResource, reactorName
from echoup.tls.certificateinfo import CertificateInfo
from tests.support.documents import codesIn, readDocuments
from tests.support.services import ResourceTestCase, Response, ShownService

ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""What Prometheus 3 accepts."""

EXPIRY = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
CERTIFICATE = cast(
    "ServerCertificate", SimpleNamespace(info=CertificateInfo("CN=echo.example", "CN=ca", EXPIRY, EXPIRY))
)

PLAIN = Plan(listeners=(AddressListener("8081", None, 8081),), limits=Limits())
FULL = Plan(
    listeners=(AddressListener("8081", None, 8081), AddressListener("tls:8443", None, 8443, certificate=CERTIFICATE)),
    limits=Limits(maxConnections=100),
    proxies=(ip_network("192.0.2.0/24"),),
)

ORDER = ("listener", "version", "result", "reason", "le", "python", "twisted", "reactor", "upper")
"""The order of labels in the tests; the formats sort them."""

Values = dict[tuple[str, ...], float]


class MetricsTestCase(ResourceTestCase):
    """A test of a scrape."""

    def prepare(self, plan: Plan) -> None:
        """Let the site show a service that serves `plan`."""
        self.service = ShownService(plan)
        self.health = Health(self.service)
        self.resource = MetricsResource(self.reactor, self.service, self.health)

    def setUp(self) -> None:
        """Show a plan with one plain listener."""
        super().setUp()
        self.prepare(PLAIN)

    def show(self, **fields: object) -> None:
        """Let the next overview have `fields`."""
        overview = {"counts": self.service.counts, "listeners": (), "datagramListeners": (), **fields}
        self.service.shown = Overview(**overview)  # type: ignore[arg-type]

    def showAll(self) -> None:
        """Show a daemon that has every metric."""
        self.prepare(FULL)
        queue = ListenerView(description="8081", addresses=(), queue=0, queueLimit=4096)
        self.show(listeners=(queue,), datagramListeners=(view("udp:8081"),))

    def scrape(self, accept: str = "", method: str = "GET") -> Response:
        """Return the response to a scrape."""
        return self.ask(self.resource, accept=accept, method=method)

    def values(self) -> dict[str, Values]:
        """Return the values by the name of their sample, without the common prefix, and by those of their labels."""
        found: dict[str, Values] = {}
        for family in parseText(self.scrape().body.decode()):
            assert family.documentation.endswith("."), family.name
            for sample in family.samples:
                values = found.setdefault(sample.name.removeprefix("echoup_"), {})
                key = tuple(sample.labels[name] for name in sorted(sample.labels, key=ORDER.index))
                assert key not in values
                values[key] = sample.value
        return found


class FormatTests(MetricsTestCase):
    """The client chooses the format."""

    def test_textIsTheDefault(self) -> None:
        """Without Accept, and with one that names no known format, the answer is in Prometheus' text format."""
        for accept in ("", "*/*", "text/html", "text/plain; version=0.0.4"):
            answer = self.scrape(accept)
            assert answer.code == 200
            assert answer.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8", accept
            assert answer.body.endswith(b"\n")
            assert list(parseText(answer.body.decode()))

    def test_openMetricsIsAnswered(self) -> None:
        """What Prometheus accepts gets OpenMetrics, which its own parser takes, the strictest there is."""
        for accept in ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0", ACCEPT):
            answer = self.scrape(accept)
            assert answer.fields["content-type"].startswith("application/openmetrics-text; version=1.0.0;"), accept
            assert answer.body.endswith(b"\n# EOF\n")
            assert list(parseOpenMetrics(answer.body.decode()))

    def test_newerTextIsAnswered(self) -> None:
        """A client that accepts the text format 1.0.0 with escaping gets a text format."""
        answer = self.scrape("text/plain;version=1.0.0;escaping=allow-utf-8")
        assert answer.fields["content-type"].startswith("text/plain; version=")
        assert list(parseText(answer.body.decode()))

    def test_senselessVersionsAreNoError(self) -> None:
        """A version that isn't numbers gets an answer, too: some releases of the library choke on it."""
        for accept in ("application/openmetrics-text;version=abc", "text/plain;version=1.x;escaping=y", ";;=,=", "é"):
            answer = self.scrape(accept)
            assert (answer.code, "version" in answer.fields["content-type"]) == (200, True), accept

    def test_faultIsAnAnswer(self) -> None:
        """A fault of the daemon is answered as such."""
        self.patch(self.service, "overview", lambda: 1 / 0)
        assert self.scrape().code == 500

    def test_headHasNoBody(self) -> None:
        """HEAD gets the header fields of GET, and no body."""
        self.patch(metrics, "processMetrics", lambda _: iter(()))  # their length changes
        answer = self.scrape(method="HEAD")
        assert answer.body == b""
        assert answer.fields["content-length"] == str(len(self.scrape().body))

    def test_clientThatLeavesBeforeTheAnswerIsForgotten(self) -> None:
        """Nothing happens if a client is gone when the overview comes."""
        self.service.isSlow = True
        client = self.connect(self.resource)
        client.offer(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.reactor.until(lambda: bool(self.service.waiting))
        client.reset()
        self.reactor.turn()
        with capturedLogs() as events:
            self.service.waiting.pop().callback(None)
        assert events == []

    def test_descriptionsAreEscaped(self) -> None:
        """Whatever a description has, it is one value of a label."""
        description = 'unix:/run/a"b\\c\\n d{e="f"}'
        self.prepare(Plan(listeners=(AddressListener(description, None, 0),), limits=Limits()))
        assert self.values()["connections_open"] == {(description,): 0}


class ValueTests(MetricsTestCase):
    """Each metric has the values of the overview."""

    def test_everyKnownLabelIsThereAtZero(self) -> None:
        """From the start there is a value for every listener and reason."""
        self.prepare(FULL)
        self.show(datagramListeners=(view("udp:8081"),))
        found = self.values()
        names = ("8081", "tls:8443")
        for name in ("connections_opened_total", "connections_open"):
            assert found[name] == {(name,): 0 for name in names}
        assert found["connections_closed_total"] == {(name, each.value): 0 for name in names for each in EndReason}
        assert found["connections_refused_total"] == {(name, each.value): 0 for name in names for each in Refusal}
        assert found["proxy_headers_total"] == {(name, *each.value): 0 for name in names for each in ProxyResult}
        assert found["tls_handshakes_total"] == {("tls:8443", *each.value): 0 for each in TLSResult}
        dropped = {("udp:8081", each.label): 0 for each in DatagramRefusal}
        assert found["datagrams_dropped_total"] == dropped
        assert found["received_bytes_total"] == {(name,): 0 for name in (*names, "udp:8081")}
        assert found["connection_duration_seconds_bucket"].keys() >= {("+Inf",)}

    def test_onlyWhatIsConfiguredHasMetrics(self) -> None:
        """Without TLS, proxies, UDP and a kernel that tells its queues there are no metrics of these."""
        names = "".join(self.values())
        for word in ("tls", "proxy", "datagram", "queue"):
            assert word not in names

    def test_countsAreShown(self) -> None:
        """The counts of each listener are shown under its description."""
        self.prepare(FULL)
        plain, secure = self.service.counts.listeners.values()
        plain.add(Total.OPENED, 10)
        plain.add(EndReason.DONE, 3)
        plain.add(EndReason.REFUSED, 2)
        plain.add(Refusal.PEER, 2)
        plain.add(Total.RECEIVED, 2**60)
        plain.add(Total.SENT, 7)
        secure.add(TLSResult.FAILED, 4)
        secure.add(ProxyResult.VERSION_2, 5)
        self.service.counts.setOpen(waiting=1, paused=2)
        found = self.values()
        assert found["connections_opened_total"]["8081",] == 10
        assert found["connections_closed_total"]["8081", "done"] == 3
        assert found["connections_open"] == {("8081",): 5, ("tls:8443",): 0}
        assert found["connections_refused_total"]["8081", "peer"] == 2
        assert found["received_bytes_total"]["8081",] == 2**60
        assert found["sent_bytes_total"]["8081",] == 7
        assert found["tls_handshakes_total"]["tls:8443", "unknown", "failed"] == 4
        assert found["proxy_headers_total"]["tls:8443", "2", "ok"] == 5
        assert (found["connections_waiting"], found["connections_paused"]) == ({(): 1}, {(): 2})
        assert found["connections_limit"] == {(): 100}

    def test_histogramsAreCumulative(self) -> None:
        """Each bucket includes those below it; the last is the count, and the sum is exact."""
        for seconds, size in ((0.0005, 0), (0.05, 1), (2.0, 65536), (9999.0, 2**40)):
            self.service.counts.observe(seconds, size)
        found = self.values()
        bounds = ["0.001", "0.01", "0.1", "1.0", "10.0", "60.0", "600.0", "3600.0", "+Inf"]
        durations = dict(zip([(bound,) for bound in bounds], (1, 1, 2, 2, 3, 3, 3, 3, 4), strict=True))
        assert found["connection_duration_seconds_bucket"] == durations
        assert found["connection_duration_seconds_count"] == {(): 4}
        assert found["connection_duration_seconds_sum"] == {(): 10001.0505}
        assert [*found["connection_received_bytes_bucket"].values()] == [2, 2, 2, 2, 3, 3, 3, 3, 4]
        assert found["connection_received_bytes_sum"] == {(): 2**40 + 65537}
        assert (len(DURATIONS), len(SIZES)) == (8, 8)

    def test_queuesOfEqualDescriptionsAreAdded(self) -> None:
        """Listeners with one description have one value; one whose kernel doesn't tell has none."""
        views = [ListenerView(description="127.0.0.1:0", addresses=(), queue=each, queueLimit=10) for each in (1, 2)]
        views.append(ListenerView(description="unix:/run/echoup", addresses=()))
        self.show(listeners=tuple(views))
        found = self.values()
        assert found["accept_queue"] == {("127.0.0.1:0",): 3}
        assert found["accept_queue_limit"] == {("127.0.0.1:0",): 20}

    def test_datagramsAreShown(self) -> None:
        """The counts of UDP listeners are shown, those of equal descriptions added."""
        self.show(datagramListeners=(view("udp:0", 10, 4), view("udp:0", 20, 6), view("udp:8081")))
        found = self.values()
        assert found["datagrams_received_total"] == {("udp:0",): 30, ("udp:8081",): 0}
        assert found["datagrams_answered_total"] == {("udp:0",): 10, ("udp:8081",): 0}
        assert found["datagrams_dropped_total"]["udp:0", "rate"] == 20
        assert sum(found["datagrams_dropped_total"].values()) == 20
        assert found["received_bytes_total"] == {("8081",): 0, ("udp:0",): 300, ("udp:8081",): 0}
        assert found["sent_bytes_total"] == {("8081",): 0, ("udp:0",): 100, ("udp:8081",): 0}

    def test_certificatesExpiryIsShown(self) -> None:
        """A certificate's expiry is shown, unless it can't be parsed."""
        self.prepare(FULL)
        assert self.values()["tls_certificate_not_after_timestamp_seconds"] == {("tls:8443",): EXPIRY.timestamp()}
        self.patch(CERTIFICATE, "info", None)
        assert "tls_certificate_not_after_timestamp_seconds" not in self.values()

    def test_drainingIsShown(self) -> None:
        """It is 0, and 1 once the daemon is told to stop."""
        assert self.values()["draining"] == {(): 0}
        self.health.isDraining = True
        assert self.values()["draining"] == {(): 1}

    def test_servingWorkersAreCounted(self) -> None:
        """Without workers one process serves; with workers those that do, even if that is none."""
        found = self.values()
        assert (found["workers"], found["worker_restarts_total"]) == ({(): 1}, {(): 0})
        for states, serving in ((("serving", "starting", "serving"), 2), (("ended", "starting"), 0)):
            self.show(
                workers=tuple(
                    WorkerView(number=i, pid=2**22 + i, state=state, startedAt=0.0) for i, state in enumerate(states)
                ),
                workerRestarts=3,
            )
            found = self.values()
            assert (found["workers"], found["worker_restarts_total"]) == ({(): serving}, {(): 3})

    def test_processIsThatOfDaemonAndWorkersThatRun(self) -> None:
        """The metrics of the process are of the daemon and its workers, except one that has ended."""
        asked: list[int] = []
        self.patch(metrics, "processMetrics", lambda pids: iter(asked.extend(pids) or ()))  # type: ignore[func-returns-value]
        states = ("starting", "serving", "ended")
        self.show(
            workers=tuple(WorkerView(number=i, pid=i, state=state, startedAt=0.0) for i, state in enumerate(states))
        )
        self.values()
        assert asked == [0, 1]

    def test_processIsShown(self) -> None:
        """The metrics of the process are there, under their usual names."""
        assert self.values()["process_open_fds"][()] > 2

    def test_buildIsShown(self) -> None:
        """The build says the versions, the reactor by the name of its option, and what upper-cases."""
        (labels,) = self.values()["build_info"]
        assert len(labels) == 5
        assert all(labels)

    def test_reactorsHaveTheNamesOfTheOption(self) -> None:
        """A reactor is named as `--reactor` names it."""
        names = {"epoll": EPollReactor, "poll": PollReactor, "select": SelectReactor}
        names |= {"asyncio": AsyncioSelectorReactor, "uvloop": UvloopReactor}
        for name, kind in names.items():
            assert reactorName(kind.__new__(kind)) == name


class DocumentTests(MetricsTestCase):
    """docs/metrics.md has the metrics that there are."""

    def setUp(self) -> None:
        """Read the page, and show every metric."""
        super().setUp()
        self.page = readDocuments()["docs/metrics.md"]
        self.showAll()

    def test_everyMetricIsInTheTable(self) -> None:
        """The table has each metric, with its labels."""
        found: dict[str, set[str]] = {}
        for family in parseText(self.scrape().body.decode()):
            name = family.name + {"counter": "_total"}.get(family.type, "")
            found[name] = {label for sample in family.samples for label in sample.labels}
        tables = {table.heads[0]: table for table in self.page.tables}
        assert {row[0].strip("`"): {*codesIn(row[1])} for row in tables["Name"].rows} == found

    def test_everyReasonToDropIsInTheTable(self) -> None:
        """The table of the reasons for which datagrams are dropped has all of them."""
        tables = {table.heads[0]: table for table in self.page.tables}
        labels = [code for row in tables["Label"].rows for code in codesIn(row[0])]
        assert labels == [refusal.label for refusal in DatagramRefusal]

    def test_reasonsInSentencesAreTheEnums(self) -> None:
        """The sentences name the reasons of refusals, and the results of what comes before a stream."""
        words = {code for _, code in self.page.codes}
        assert {each.value for each in (EndReason.REFUSED, EndReason.KILLED, *Refusal)} <= words
        assert {each.value[1] for each in (*TLSResult, *ProxyResult)} <= words

    def test_queriesAreValid(self) -> None:
        """Prometheus' own tool takes the queries, and their metrics exist."""
        needPromtool()
        queries = [line for block in self.page.blocks if block.language == "promql" for line in block.text.splitlines()]
        assert len(queries) > 5
        rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
        path = Path(self.enterContext(TemporaryDirectory())) / "rules"
        path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
        command = ["promtool", "check", "rules", str(path)]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        known = re.findall("^# TYPE ([a-z_]+)", self.scrape().body.decode(), re.MULTILINE)
        named = re.findall(r"\b(?:echoup|process)_\w+", " ".join(queries))
        assert {name.removesuffix("_bucket") for name in named} <= {*known}


class PromtoolTests(MetricsTestCase):
    """Prometheus' own tool finds no fault."""

    def test_promtoolFindsNoFault(self) -> None:
        """`promtool check metrics`, which reads text, says nothing about the fewest metrics, nor about all of them."""
        needPromtool()
        fewest = self.scrape().body
        self.showAll()
        for scraped in (fewest, self.scrape().body):
            command = ["promtool", "check", "metrics"]
            checked = subprocess.run(command, input=scraped, capture_output=True, timeout=60, check=False)
            assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def needPromtool() -> None:
    """Skip the test without Prometheus' tool."""
    if not which("promtool"):
        raise SkipTest("promtool is missing: prometheus")


def view(description: str, received: int = 0, answered: int = 0) -> DatagramListenerView:
    """Return the view of a UDP listener whose datagrams had 10 bytes, and that dropped those over the rate."""
    dropped = dict.fromkeys(DatagramRefusal, 0) | {DatagramRefusal.RATE: received - answered}
    return DatagramListenerView(
        description=description,
        addresses=(description,),
        received=received,
        answered=answered,
        dropped=dropped,
        receivedBytes=10 * received,
        sentBytes=10 * answered,
    )
