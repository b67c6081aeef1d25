"""What machines read of probes."""

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from trustme import CA
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.connect.trace import Phase, Step
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.reports.machine import JSONReport, NagiosReport, NagiosStatus
from echoup.client.ping.reports.prometheus import PrometheusReport
from echoup.client.ping.reports.report import Report
from echoup.client.ping.requirement import Requirement, parseRequirement
from echoup.client.ping.result import Result
from echoup.client.ping.session import judge
from tests.support.certificates import NAME, inDER
from tests.support.doubles import raised
from tests.support.properties import given, st
from tests.support.samples import UNMET, interruptedAt, judged, probe, summed, traced


def told(report: Report, *results: Result, requirements: tuple[Requirement, ...] = ()) -> None:
    """Tell `report` of `results`, from the beginning to the end."""
    code, _ = judge(summed(*results), requirements)
    report.begin("there:1", 3)
    for result in results:
        report.add(result)
        report.tick(summed(result), 0.0)
    report.end(summed(*results), requirements, code)


class JSONTests(SynchronousTestCase):
    """`JSONReport` writes JSON lines."""

    def objects(self, *results: Result, quiet: bool = False, requirements: tuple[Requirement, ...] = ()) -> list[Any]:
        """Return what is written for `results`, each write one line."""
        written: list[str] = []
        told(JSONReport(written.append, quiet), *results, requirements=requirements)
        assert all(text.index("\n") == len(text) - 1 for text in written)
        return [json.loads(text) for text in written]

    def test_answered(self) -> None:
        """An answered probe has all the members, and its phases have their details."""
        tcp = TCPInfo("ESTABLISHED", 0.0005, 1)
        phase = Phase(Step.CONNECT, 1.0, {"address": "127.0.0.1:1"}, 1.5, None, tcp)
        assert self.objects(probe(trace=traced(phase)))[0] == {
            "schema": 1,
            "type": "probe",
            "target": "there:1",
            "seq": 1,
            "at": "2001-09-09T01:46:41.000000Z",
            "verdict": "uppercased",
            "code": 0,
            "step": None,
            "error": None,
            "local": "127.0.0.1:4",
            "remote": "127.0.0.1:1",
            "sent": 3,
            "received": 3,
            "wrongAt": None,
            "seconds": 0.001,
            "phases": [
                {
                    "step": "connect",
                    "seconds": 0.5,
                    "error": None,
                    "address": "127.0.0.1:1",
                    "tcp": {"state": "ESTABLISHED", "rtt": 0.0005, "retransmits": 1},
                }
            ],
            "certificate": None,
        }

    def test_failed(self) -> None:
        """A probe that failed says how, where and why; a phase that isn't over has no time."""
        phase = Phase(Step.ALL_BYTES, 1.0, {})
        (first, second, _) = self.objects(
            probe(1, code=ExitCode.WRONG, reply=judged(b"abc", b"AX"), trace=traced(phase)),
            probe(2, code=ExitCode.UNREACHABLE, local=None, remote=None),
        )
        assert (first["verdict"], first["wrongAt"], first["received"], first["code"]) == ("corrupted", 1, 2, 1)
        assert first["phases"] == [{"step": "all bytes", "seconds": None, "error": None, "tcp": None}]
        assert (second["verdict"], second["code"], second["step"], second["local"]) == (None, 4, "connect", None)
        assert second["error"] == "there:1: UNREACHABLE 2"

    def test_certificate(self) -> None:
        """A certificate is described, unless it can't be read."""
        (first, second, _) = self.objects(
            probe(trace=traced(certificate=inDER(CA().issue_cert(NAME)))), probe(trace=traced(certificate=b"junk"))
        )
        assert set(first["certificate"]) == {"subject", "issuer", "notBefore", "notAfter", "daysLeft"}
        assert first["certificate"]["notBefore"] < first["certificate"]["notAfter"]
        assert first["certificate"]["notAfter"].endswith("Z")
        assert second["certificate"] is None

    def test_summary(self) -> None:
        """The last object sums it up; with `quiet` it is the only one."""
        results = (probe(1, 0.25), probe(2, code=ExitCode.TIMED_OUT))
        (summary,) = self.objects(*results, quiet=True, requirements=(parseRequirement("p99<1s"), UNMET))
        assert summary == {
            "schema": 1,
            "type": "summary",
            "target": "there:1",
            "sent": 2,
            "answered": 1,
            "lost": 1,
            "wrong": 0,
            "unfinished": 0,
            "duplicates": 0,
            "reordered": 0,
            "late": 0,
            "loss": 0.5,
            "min": 0.25,
            "avg": 0.25,
            "max": 0.25,
            "stddev": 0.0,
            "percentiles": {"50": 0.25, "90": 0.25, "95": 0.25, "99": 0.25},
            "outage": {"seconds": summed(*results).outage.seconds, "first": 2, "last": 2, "over": False},  # type: ignore[union-attr]
            "requirements": [
                {"require": "p99<1s", "met": True, "value": 0.25},
                {"require": "avg<0us", "met": False, "value": 0.25},
            ],
            "code": 5,
        }

    def test_unfinished(self) -> None:
        """Probes that aren't over were sent, but are no loss, and have no objects."""
        written: list[str] = []
        report = JSONReport(written.append)
        report.begin("there:1", 3)
        statistics = summed(probe(1), probe(2, code=ExitCode.TIMED_OUT))
        statistics.begin()
        statistics.interrupt(interruptedAt(3))
        report.end(statistics, [], ExitCode.TIMED_OUT)
        (summary,) = map(json.loads, written)
        assert (summary["sent"], summary["unfinished"], summary["lost"], summary["loss"]) == (3, 1, 1, 0.5)

    def test_nothing(self) -> None:
        """Without any probe there is a summary, in which nothing is known."""
        (summary,) = self.objects()
        assert (summary["avg"], summary["percentiles"]["50"], summary["outage"]) == (None, None, None)

    def test_documented(self) -> None:
        """docs/ping.md tells of every member, and of no other, in its two tables of them."""
        text = (Path(__file__).parents[4] / "docs" / "ping.md").read_text()
        tables = text.split("| member | what it is |\n")[1:]
        for written, table in zip(self.objects(probe()), tables, strict=True):
            rows = re.findall(r"^\| (`.*?) \|", table.partition("\n\n")[0], re.MULTILINE)
            assert re.findall(r"`(\w+)`", " ".join(rows)) == list(written)
        (one, _) = self.objects(probe(trace=traced(certificate=inDER(CA().issue_cert(NAME)))))
        (members,) = re.findall(r"^\| `certificate` \| (.*) \|$", text, re.MULTILINE)
        assert re.findall(r"`(\w+)`", members) == list(one["certificate"])


class NagiosTests(SynchronousTestCase):
    """`NagiosReport` writes what Nagios and its like read."""

    def line(self, *results: Result, requirements: tuple[Requirement, ...] = ()) -> str:
        """Return what is written for `results`: one line."""
        written: list[str] = []
        told(NagiosReport(written.append), *results, requirements=requirements)
        (line,) = written
        assert line.index("\n") == len(line) - 1
        return line[:-1]

    def test_right(self) -> None:
        """When all was answered it is OK, and the numbers follow."""
        assert self.line(probe(1, 0.00041), requirements=(parseRequirement("avg<1s"),)) == (
            "ECHOUP OK - 1 of 1 answered by there:1, avg 0.410 ms"
            " | time=0.000410s;;;0 loss=0%;;;0;100 wrong=0;;;0 outage=0.000s;;;0"
        )

    def test_required(self) -> None:
        """A requirement that isn't met is a warning, and is named."""
        text, _, _ = self.line(probe(), requirements=(parseRequirement("avg<1s"), UNMET)).partition(" | ")
        assert text == "ECHOUP WARNING - 1 of 1 answered by there:1, avg 1.00 ms; avg<0us: not met (1.00 ms)"

    def test_failed(self) -> None:
        """A probe that failed is critical, and is told of; a time that there isn't is U."""
        assert self.line(probe(code=ExitCode.TIMED_OUT)) == (
            "ECHOUP CRITICAL - 0 of 1 answered by there:1; there:1: timed out 1"
            " | time=U;;;0 loss=100%;;;0;100 wrong=0;;;0 outage=0.001s;;;0"
        )

    def test_nothing(self) -> None:
        """Where nothing was sent nothing is known."""
        assert self.line().startswith("ECHOUP UNKNOWN - 0 of 0 answered")

    @given(st.text())
    def test_foreign(self, text: str) -> None:
        """Whatever an error says, there is one line and one `|`."""
        line = self.line(probe(error=PathError(ExitCode.TLS_FAILED, text)))
        assert line.isprintable()
        assert line.count("|") == 1

    def test_status(self) -> None:
        """The status is the exit code that a plugin has; it follows from that of the command."""
        for results, code, status in (
            ([probe()], ExitCode.OK, NagiosStatus.OK),
            ([probe()], ExitCode.WRONG, NagiosStatus.WARNING),
            ([probe(code=ExitCode.WRONG)], ExitCode.WRONG, NagiosStatus.CRITICAL),
            ([probe(code=ExitCode.TIMED_OUT)], ExitCode.TIMED_OUT, NagiosStatus.CRITICAL),
            ([probe(code=ExitCode.TIMED_OUT)], ExitCode.OK, NagiosStatus.OK),
            ([], ExitCode.OK, NagiosStatus.UNKNOWN),
        ):
            report = NagiosReport(lambda _: None)
            report.begin("there:1", 56)
            report.end(summed(*results), [], code)
            assert report.status is status
        assert list(map(int, NagiosStatus)) == [0, 1, 2, 3]

    def test_tooMuchLost(self) -> None:
        """More losses than may be, or a longer outage, are critical; the failure is told once, and each requirement."""
        for requirement, found in (("loss<20%", "50 %"), ("outage<1ms", "1001 ms")):
            results = (probe(1, code=ExitCode.TIMED_OUT), probe(2))
            text, _, _ = self.line(*results, requirements=(parseRequirement(requirement),)).partition(" | ")
            assert text == (
                "ECHOUP CRITICAL - 1 of 2 answered by there:1, avg 1.00 ms;"
                f" there:1: timed out 1; {requirement}: not met ({found})"
            )
        met = (parseRequirement("loss<90%"), parseRequirement("outage<9s"), UNMET)
        line = self.line(probe(1, code=ExitCode.TIMED_OUT), probe(2), requirements=met)
        assert line.startswith("ECHOUP WARNING - ")

    def test_unfinished(self) -> None:
        """When no probe was over nothing is known, whatever began."""
        written: list[str] = []
        report = NagiosReport(written.append)
        report.begin("there:1", 56)
        statistics = summed()
        statistics.begin()
        report.end(statistics, [], ExitCode.OK)
        assert written[0].startswith("ECHOUP UNKNOWN - 0 of 1 answered by there:1 |")

    def test_unwritten(self) -> None:
        """A status that couldn't be written is unknown."""

        def fail(_: str) -> None:
            raise PathError(ExitCode.BROKEN_PIPE, "no")

        report = NagiosReport(fail)
        assert raised(PathError, told, report, probe())
        assert report.status is NagiosStatus.UNKNOWN


class PrometheusTests(SynchronousTestCase):
    """`PrometheusReport` writes the text format of Prometheus."""

    def samples(self, *results: Result, requirements: tuple[Requirement, ...] = ()) -> dict[str, float]:
        """Return what is written for `results`, as Prometheus reads it: a name, or `name:label`, and its value."""
        written: list[str] = []
        told(PrometheusReport(written.append), *results, requirements=requirements)
        (text,) = written
        found = {}
        for family in text_string_to_metric_families(text):
            assert family.type == "gauge"
            for sample in family.samples:
                assert sample.labels.pop("target") == "there:1"
                found[":".join([sample.name.removeprefix("echoup_ping_"), *sample.labels.values()])] = sample.value
        return found

    def test_answered(self) -> None:
        """All that is known is told; a requirement even if it isn't met."""
        certificate = inDER(CA().issue_cert(NAME))
        trace = traced(
            Phase(Step.CONNECT, 0.0, {}, 9.0, "Connection refused"),
            Phase(Step.CONNECT, 0.0, {}, 0.5),
            certificate=certificate,
        )
        found = self.samples(probe(1, 0.25), probe(2, 0.25, trace=trace), requirements=(UNMET,))
        assert found.pop("certificate_expiry_timestamp_seconds") > 1e9
        assert found == {
            "up": 1,
            "probes:answered": 2,
            "probes:lost": 0,
            "probes:wrong": 0,
            **{f"seconds:{percent}": 0.25 for percent in (50, 90, 95, 99)},
            **{f"seconds_{name}": 0.25 for name in ("min", "avg", "max")},
            "seconds_stddev": 0,
            "phase_seconds:connect": 0.5,
            "outage_seconds": 0,
            "requirement_met:avg<0us": 0,
        }

    def test_failed(self) -> None:
        """What isn't known isn't told."""
        found = self.samples(probe(2, code=ExitCode.TIMED_OUT))
        assert found.pop("outage_seconds") > 0
        assert found == {"up": 0, "probes:answered": 0, "probes:lost": 1, "probes:wrong": 0}
