"""The JSON object of a diagnosis."""

import json

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.conclusion import conclude
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.reports.jsonobject import DiagnosisJSON
from echoup.client.exitcodes import ExitCode

LOST = Problem(Status.FAIL, "hole", "lost\x7f", ("seen \x1b",), "means", "try", ExitCode.TIMED_OUT)


class ObjectTests(SynchronousTestCase):
    """`DiagnosisJSON` writes one object, in one line, at the end."""

    def test_objectHasEverything(self) -> None:
        """The object has the target, each check with its problems and figures, the cause and the exit code."""
        written: list[str] = []
        report = DiagnosisJSON(written.append)
        report.begin("there:1", ["resolve", "mtu", "udp", "idle"])
        report.add("mtu", Finding("bad", (LOST,), {"pathMTU": 1300}), 0.25)
        report.tell("udp", "words")
        report.add("udp", skipped("refused"), 0)
        report.add("resolve", Finding("good"), 0.5)
        assert written == []
        report.end(conclude({"mtu": Finding("bad", (LOST,))}, isStrict=False))
        (text,) = written
        assert text.endswith("}\n")
        assert text.isprintable() or text[:-1].isprintable()
        problem = {
            "status": "fail",
            "cause": "hole",
            "text": "lost\x7f",
            "seen": ["seen \x1b"],
            "meaning": "means",
            "advice": "try",
            "code": 5,
        }
        checks = [
            ("resolve", "ok", "good", 0.5, {}, []),
            ("mtu", "fail", "bad", 0.25, {"pathMTU": 1300}, [problem]),
            ("udp", "skipped", "refused", 0, {}, []),
        ]
        members = ("name", "status", "summary", "seconds", "figures", "problems")
        assert json.loads(text) == {
            "schema": 1,
            "type": "diagnosis",
            "target": "there:1",
            "checks": [dict(zip(members, check, strict=True)) for check in checks],
            "cause": {"check": "mtu", **problem},
            "code": 5,
        }

    def test_noCauseIsNull(self) -> None:
        """Without a warning or a failure the cause is null."""
        note = Problem(Status.NOTE, "odd", "it is odd")
        for finding in (Finding("fine"), Finding("odd", (note,))):
            written: list[str] = []
            report = DiagnosisJSON(written.append)
            report.begin("there:1", ["mtu"])
            report.add("mtu", finding, 0)
            report.end(conclude({"mtu": finding}, isStrict=True))
            assert json.loads(written[0])["cause"] is None
            assert json.loads(written[0])["code"] == len(finding.problems)
