"""The JSON lines that programs read of probes."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from trustme import CA
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.connect.trace import Phase, Step
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.reports.jsonlines import JSONReport
from echoup.client.ping.requirement import Requirement, parseRequirement
from echoup.client.ping.result import Result
from tests.support.certificates import NAME, inDER
from tests.support.properties import given, st
from tests.support.samples import TARGET, UNMET, ended, interruptedAt, judged, probe, summed, told, traced


class JSONTests(SynchronousTestCase):
    """`JSONReport` writes JSON lines."""

    def objects(self, *results: Result, quiet: bool = False, requirements: tuple[Requirement, ...] = ()) -> list[Any]:
        """Return what is written for `results`; each write is one line."""
        written: list[str] = []
        told(JSONReport(written.append, quiet), *results, requirements=requirements)
        assert all(text.index("\n") == len(text) - 1 for text in written)
        return [json.loads(text) for text in written]

    def test_answeredProbeHasAllMembers(self) -> None:
        """An answered probe has all members, and its phases have their details."""
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
            "expected": None,
            "got": None,
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

    def test_failedProbeHasReason(self) -> None:
        """A failed probe has its verdict, its step and its error; a phase that didn't end has no time."""
        phase = Phase(Step.ALL_BYTES, 1.0, {})
        (first, second, _) = self.objects(
            probe(1, code=ExitCode.WRONG, reply=judged(b"abc", b"AX"), trace=traced(phase)),
            probe(2, code=ExitCode.UNREACHABLE, local=None, remote=None),
        )
        assert (first["verdict"], first["wrongAt"], first["received"], first["code"]) == ("corrupted", 1, 2, 1)
        assert (first["expected"], first["got"]) == ("B", "X")
        assert first["phases"] == [{"step": "all bytes", "seconds": None, "error": None, "tcp": None}]
        assert (second["verdict"], second["code"], second["step"], second["local"]) == (None, 4, "connect", None)
        assert second["error"] == "there:1: UNREACHABLE 2"

    def test_certificateIsDescribed(self) -> None:
        """A certificate is described, unless it can't be parsed."""
        (first, second, _) = self.objects(
            probe(trace=traced(certificate=inDER(CA().issue_cert(NAME)))), probe(trace=traced(certificate=b"junk"))
        )
        assert set(first["certificate"]) == {"subject", "issuer", "notBefore", "notAfter", "daysLeft"}
        assert first["certificate"]["notBefore"] < first["certificate"]["notAfter"]
        assert first["certificate"]["notAfter"].endswith("Z")
        assert second["certificate"] is None

    def test_summaryIsLast(self) -> None:
        """The last object sums up the probes; with `quiet` it is the only one."""
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
            "unsent": 0,
            "untimed": 0,
            "duplicates": 0,
            "reordered": 0,
            "late": 0,
            "loss": 0.5,
            "min": 0.25,
            "avg": 0.25,
            "max": 0.25,
            "stddev": 0.0,
            "percentiles": {"50": 0.25, "90": 0.25, "95": 0.25, "99": 0.25},
            "outage": {"seconds": None, "first": 2, "last": 2, "over": False},
            "downSince": 2,
            "requirements": [
                {"require": "p99<1s", "met": True, "value": 0.25},
                {"require": "avg<0us", "met": False, "value": 0.25},
            ],
            "code": 5,
        }

    @given(st.text().map(lambda text: f"{text}\x1b\x7f\n\u202e"))
    def test_anyErrorIsPrintable(self, text: str) -> None:
        """No text from outside can command a terminal or begin a line; a program reads it as it was."""
        written: list[str] = []
        error = PathError(ExitCode.TLS_FAILED, text)
        phase = Phase(Step.TLS, 0.0, {"cipher": text}, 1.0, text)
        told(JSONReport(written.append), probe(error=error, trace=traced(phase), local=text, remote=text))
        assert all(line.removesuffix("\n").isprintable() for line in written)
        one = json.loads(written[0])
        assert (one["error"], one["remote"], one["phases"][0]["cipher"]) == (text, text, text)

    def test_targetsHaveSummaries(self) -> None:
        """Each object names its target, and each target has a summary, in the order given, with its own code."""
        written: list[str] = []
        told(JSONReport(written.append), probe(), others={"b:1": (probe(1, code=ExitCode.TIMED_OUT),)})
        objects = [json.loads(line) for line in written]
        assert [(one["type"], one["target"], one["code"]) for one in objects] == [
            ("probe", "there:1", 0),
            ("probe", "b:1", 5),
            ("summary", "there:1", 0),
            ("summary", "b:1", 5),
        ]

    def test_unfinishedIsCounted(self) -> None:
        """An interrupted probe was sent and isn't lost, and has no object."""
        written: list[str] = []
        report = JSONReport(written.append)
        report.begin([TARGET], 3)
        statistics = summed(probe(1), probe(2, code=ExitCode.TIMED_OUT))
        statistics.sent += 1
        statistics.interrupt(interruptedAt(3))
        report.end(ended(statistics, ExitCode.TIMED_OUT), [])
        (summary,) = map(json.loads, written)
        assert (summary["sent"], summary["unfinished"], summary["lost"], summary["loss"]) == (3, 1, 1, 0.5)

    def test_unsentIsCountedApart(self) -> None:
        """A probe that wasn't sent has an object with its code, and in the summary it is neither sent nor lost."""
        first, second, summary = self.objects(probe(1, code=ExitCode.LOCAL), probe(2))
        assert (first["code"], first["verdict"], first["step"], second["code"]) == (8, None, "connect", 0)
        assert (summary["sent"], summary["unsent"], summary["lost"], summary["loss"]) == (1, 1, 0, 0)
        assert (summary["outage"], summary["code"]) == (None, 8)

    def test_answerInAPauseHasNoTime(self) -> None:
        """An answer that was read after a pause of this process is counted, and its times are null."""
        (first, _, summary) = self.objects(replace(probe(1), seconds=None), probe(2, 0.25))
        assert (first["code"], first["seconds"], first["phases"][0]["seconds"]) == (0, None, None)
        assert (summary["answered"], summary["untimed"], summary["max"]) == (2, 1, 0.25)

    def test_noProbeHasSummary(self) -> None:
        """Without any probe there is a summary, in which all values are unknown."""
        (summary,) = self.objects()
        assert (summary["avg"], summary["percentiles"]["50"], summary["outage"]) == (None, None, None)

    def test_documentListsMembers(self) -> None:
        """docs/ping.md lists every member, and no other, in its two tables of them."""
        text = (Path(__file__).parents[4] / "docs" / "ping.md").read_text()
        tables = text.split("| member | what it is |\n")[1:]
        for written, table in zip(self.objects(probe()), tables, strict=True):
            rows = re.findall(r"^\| (`.*?) \|", table.partition("\n\n")[0], re.MULTILINE)
            assert re.findall(r"`(\w+)`", " ".join(rows)) == list(written)
        (one, _) = self.objects(probe(trace=traced(certificate=inDER(CA().issue_cert(NAME)))))
        (members,) = re.findall(r"^\| `certificate` \| (.*) \|$", text, re.MULTILINE)
        assert re.findall(r"`(\w+)`", members) == list(one["certificate"])
