"""The tables of codes, reasons, fields and words in the documents are those of the code."""

import json
import re
from collections.abc import Iterator, Mapping

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.cli import cli
from echoup.client.connect.trace import Step
from echoup.client.exitcodes import ExitCode
from echoup.client.ping.reports.nagios import NagiosStatus
from echoup.client.ping.reports.report import PERCENTILES
from echoup.client.ping.requirement import CERTIFICATE, COUNTS, STEPS, TIMES, parseRequirement
from echoup.proxyheader import ClientTLS, ProxyHeader
from echoup.server.listening.listeners import parseListener
from echoup.server.log.jsonlog import OWN
from echoup.server.reasons import EndReason
from echoup.server.settings import Limits, Plan
from echoup.server.tap import logSettings
from echoup.verdict import Verdict
from tests.support.documents import PACKAGE, Document, Table, codesIn, readDocuments

SIGNALLED = 143
"""The exit code after SIGTERM, of which the client's enum knows nothing: the signal itself ends it."""

PAGE = "docs/operating.md"

FIELDS = ("id", "listener", "peer", "bytes", "seconds", "reason")
"""The fields of every line of --log-connections; tests/system/test_docs.py holds them to a real one."""


def tablesOf(pages: Mapping[str, Document], *heads: str) -> Iterator[tuple[str, Table]]:
    """Return the tables whose first head is one of `heads`, with the places of these tables."""
    for name, page in pages.items():
        for table in page.tables:
            if table.heads[0].lower() in heads:
                yield f"{name}:{table.line}", table


def firstCodes(table: Table) -> list[str]:
    """Return the code in the first column of a table, or the plain cells of one that has none."""
    return [code for row in table.rows for code in codesIn(row[0]) or [row[0]]]


def exitCodes(text: str) -> set[int]:
    """Return the exit codes that a text gives as such."""
    return {int(code) for code in re.findall(r"[Ee]xit code (?:is )?`?([0-9]+)", " ".join(text.split()))}


class TableTests(SynchronousTestCase):
    """The tables of the documents are those of the code."""

    def setUp(self) -> None:
        """Read the documents."""
        self.pages = readDocuments()

    def test_exitCodesAreTheEnums(self) -> None:
        """A table of exit codes has codes that exist; at least one table has them all."""
        known = {*map(int, ExitCode), SIGNALLED}
        tables = [
            (where, {int(code) for row in table.rows for code in re.findall("[0-9]+", row[0])})
            for where, table in tablesOf(self.pages, "code", "exit code")
        ]
        assert [(where, codes - known) for where, codes in tables if codes - known] == []
        assert known in [codes for _, codes in tables]

    def test_everyExitCodeOfTheClientIsListed(self) -> None:
        """docs/client.md's table of exit codes has every code, in their order."""
        ((_, table),) = tablesOf({"docs/client.md": self.pages["docs/client.md"]}, "code")
        listed = [int(row[0]) for row in table.rows]
        assert listed == [*ExitCode, SIGNALLED] == sorted(listed)

    def test_helpHasTheExitCodes(self) -> None:
        """What `--help` of a command says of exit codes has them all."""
        for command in cli.commands.values():
            _, _, said = str(command.help).partition("Exit codes:")
            codes = re.findall(r"(?<!\S)([0-9]+)(?= [a-zA-Z])", said.partition("\n\n")[0])
            assert {*map(int, codes)} == {*map(int, ExitCode), SIGNALLED}, command.name

    def test_mentionedExitCodesExist(self) -> None:
        """Every exit code in a sentence is the client's, or one of the daemon's: 0, 1, and those of signals."""
        known = {*map(int, ExitCode), SIGNALLED}
        assert [name for name, page in self.pages.items() if exitCodes(page.text) - known] == []

    def test_reasonsAreTheEnums(self) -> None:
        """The table of reasons has each that a log line can have, in any order; a killed worker logs none."""
        ((_, table),) = tablesOf({PAGE: self.pages[PAGE]}, "reason")
        assert sorted(firstCodes(table)) == sorted({each.value for each in EndReason} - {EndReason.KILLED.value})

    def test_exampleLinesHaveFieldsAndReasonsThatExist(self) -> None:
        """The examples of a connection's line have the fields of the code, and reasons of it."""
        lines = [
            line for page in self.pages.values() for line in re.findall(r"^ *connection (id=.*)$", page.text, re.M)
        ]
        assert len(lines) >= 2
        for line in lines:
            fields = dict(re.findall(r"(\w+)=(\S+)", line))
            assert tuple(fields)[: len(FIELDS)] == FIELDS, line
            assert {*fields} - {*FIELDS, "error"} <= detailFields(), line
            EndReason(fields["reason"])

    def test_settingsLineIsReal(self) -> None:
        """The line of the settings is the one of a daemon without options."""
        plan = Plan(listeners=(parseListener("127.0.0.1:8081"),), limits=Limits())
        with capturedLogs() as events:
            logSettings(plan)
        assert f"    {formatEvent(events[0])}\n" in self.pages[PAGE].section("Settings")

    def test_membersOfTheLogAreTheCodes(self) -> None:
        """The page has the members of each JSON object of the log, in their order, and an example with them."""
        section = Document("x", self.pages[PAGE].section("The log as JSON"))
        (table,) = section.tables
        assert tuple(firstCodes(table)) == OWN
        (example,) = (json.loads(block.text) for block in section.blocks if block.language == "json")
        assert tuple(example) == (*OWN[:-1], *FIELDS)
        words = " ".join(f"{name}={example[name]}" for name in FIELDS).replace("0.00213", "0.002")
        assert example["message"] == f"connection {words}"

    def test_fieldsAreTheCodes(self) -> None:
        """The tables of fields have each that a PROXY header or TLS adds to a line, and no field that doesn't exist."""
        fields = {field for _, table in tablesOf(self.pages, "field") for field in firstCodes(table)}
        assert fields - {*FIELDS, "error"} == detailFields()

    def test_stepsAndVerdictsAreTheEnums(self) -> None:
        """docs/ping.md has a table of all steps, in their order, and one of the words of a probe's line."""
        ((_, steps),) = tablesOf(self.pages, "step")
        assert firstCodes(steps) == [each.value for each in Step]
        ((_, lines),) = tablesOf(self.pages, "line")
        words = {*firstCodes(lines)}
        assert words <= {each.value for each in (*Verdict, *Step)}
        assert {each.value for each in Verdict} <= words

    def test_metricsAreThoseOfRequirements(self) -> None:
        """The table of metrics has each that `--require` takes, and percentiles that it takes."""
        ((_, table),) = tablesOf(self.pages, "metric")
        metrics = firstCodes(table)
        assert {name for name in metrics if not re.match("p[0-9]", name)} == {
            "loss",
            *COUNTS,
            *TIMES,
            *STEPS,
            CERTIFICATE,
        }
        for name in {*metrics} - {CERTIFICATE}:
            parseRequirement(f"{name}<1{'%' if name == 'loss' else '' if name in COUNTS else 'ms'}")

    def test_gaugesAreThoseOfTheReport(self) -> None:
        """The table of gauges has each that the report for Prometheus may write."""
        ((_, table),) = tablesOf(self.pages, "gauge")
        first, written = "", []
        for name in firstCodes(table):
            first = first if name.startswith("_") else name
            written.append(name if name == first else first.rpartition("_")[0] + name)
        source = (PACKAGE / "echoup/client/ping/reports/prometheus.py").read_text()
        names = [
            *re.findall(r'set_\(\s*"(\w+)"', source),
            *(f"seconds_{name}" for name in ("min", "avg", "max", "stddev")),
        ]
        assert sorted(written) == sorted(f"echoup_ping_{name}" for name in names)

    def test_membersOfObjectsAreTheCodes(self) -> None:
        """docs/ping.md names the members of the objects in a probe's and a summary's object.

        tests/client/ping/reports/test_jsonlines.py holds the other rows of these tables to what is written.
        """
        rows = [row for _, table in tablesOf(self.pages, "member") for row in table.rows]
        said = {name: row[1] for row in rows for name in codesIn(row[0])}
        assert {"step", "seconds", "error", "tcp", "state", "rtt", "retransmits"} <= {*codesIn(said["phases"])}
        assert {"seconds", "first", "last", "over"} <= {*codesIn(said["outage"])}
        assert {"require", "met", "value"} <= {*codesIn(said["requirements"])}
        assert [int(each) for each in re.findall('"([0-9]+)"', said["percentiles"])] == [*PERCENTILES]

    def test_statesOfNagiosAreTheEnums(self) -> None:
        """docs/ping.md names the exit code of every state of Nagios."""
        said = re.findall(r"\b([0-9]) ([A-Z]{2,})\b", self.pages["docs/ping.md"].text)
        assert {(int(code), name) for code, name in said} == {(int(each), each.name) for each in NagiosStatus}


def detailFields() -> set[str]:
    """Return the fields that a PROXY header, and our own TLS, add to a connection's line."""
    header = ProxyHeader(None, None, b"a", b"b", ClientTLS(True, True, b"c", b"d", b"e"))
    noted = re.findall(r"\.note\((\w+)=", (PACKAGE / "echoup/server/stream/arrival.py").read_text())
    return {*noted, *header.fields} - {"error"}


class CheckerTests(SynchronousTestCase):
    """The checks find what is wrong."""

    def test_tableIsFound(self) -> None:
        """A table is found by its first head, and gives its first column."""
        page = Document("x", "text\n| Code | a |\n|---|---|\n| `1`, `2` | `9` |\n| 3 | |\n\n| b |\n|---|\n| 4 |\n")
        ((where, table),) = tablesOf({"x": page}, "code", "exit code")
        assert (where, firstCodes(table)) == ("x:2", ["1", "2", "3"])

    def test_exitCodeIsFound(self) -> None:
        """Exit codes are found in sentences, over the ends of lines."""
        assert exitCodes("it ends with exit\ncode 5; the exit code is 12. Exit code 4") == {5, 12, 4}
