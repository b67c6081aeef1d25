"""Events of the log as flat objects of JSON."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    Logger,
    LogPublisher,
    capturedLogs,
    eventAsJSON,
    eventFromJSON,
)
from twisted.python import log
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.log import logqueue
from echoup.server.log.jsonlog import OWN, formatJSON
from echoup.server.log.logqueue import queueLog
from tests.support.properties import given, st

NAMES = st.text().filter(lambda name: not name.startswith("log_"))
"""Names of fields; those that begin so are Twisted's, and their values aren't any."""

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


class JSONTests(SynchronousTestCase):
    """`formatJSON` makes one line of an event."""

    def setUp(self) -> None:
        """Make a logger whose events are in `events`."""
        self.events: list[LogEvent] = []
        self.source = Logger("test", observer=cast("ILogObserver", self.events.append))

    @property
    def members(self) -> dict[str, Any]:
        """The members of the last event's line."""
        line = formatJSON(self.events[-1])
        assert line is not None
        assert line.endswith("}\n")
        assert line.isascii()
        members: dict[str, Any] = json.loads(line)
        assert not [value for value in members.values() if isinstance(value, dict | list)]
        return members

    def test_membersOfAnEvent(self) -> None:
        """The members are the time, the level, the logger, the text, and each field of the event."""
        self.source.warn(
            "refused {connections} of {peer}", connections=3, peer="192.0.2.7:5", seconds=0.25, isLast=True
        )
        self.events[-1]["log_time"] = 1796000000.9996
        assert self.members == {
            "time": "2026-11-30T00:53:20.999Z",
            "level": "warn",
            "logger": "test",
            "message": "refused 3 of 192.0.2.7:5",
            "connections": 3,
            "peer": "192.0.2.7:5",
            "seconds": 0.25,
            "isLast": True,
        }
        assert [*self.members][:4] == [*OWN[:4]]

    def test_fieldsThatAreNoValuesAreTexts(self) -> None:
        """Objects, lists and bytes are texts, also those that can't be shown, and so is a number that JSON lacks."""

        class Strange:
            def __str__(self) -> str:
                raise RuntimeError

        self.source.info("x", a=[1, 2], b={"a": 1}, c=b"bytes", d=float("nan"), e=float("inf"), f=None, g=Strange())
        assert {name: self.members[name] for name in "abcdef"} == {
            "a": "[1, 2]",
            "b": "{'a': 1}",
            "c": "bytes",
            "d": "nan",
            "e": "inf",
            "f": None,
        }
        assert "Strange" in self.members["g"]

    def test_fieldsKeepTheirNames(self) -> None:
        """A field with the name of another member has an underscore after it, and that member a value of its own."""
        fields = {"time": 5, "level": "x", "logger": 1, "message": "hello", "traceback": None}
        self.events.append({"log_time": 0.0, "log_format": "{message} {time}", **fields})
        assert self.members["message"] == "hello 5"
        assert {name: self.members[f"{name}_"] for name in OWN} == fields
        assert (self.members["level"], self.members["logger"]) == ("info", "-")

    def test_failureHasATraceback(self) -> None:
        """A failure is its message and its traceback, as one text."""
        try:
            raise ValueError("no")
        except ValueError:
            self.source.failure("it failed", Failure())
        assert (self.members["message"], self.members["level"]) == ("it failed", "critical")
        assert self.members["traceback"].startswith("Traceback")
        assert self.members["traceback"].endswith("ValueError: no\n")

    def test_oldEvents(self) -> None:
        """An event of `twisted.python.log` has its text, and none of its own fields; nor does one that passed there."""
        with capturedLogs() as events:
            log.msg("hello", "world", system="old")
        self.events += events
        assert {**self.members, "time": ""} == {"time": "", "level": "info", "logger": "old", "message": "hello world"}
        self.source.info("bytes: {size}", size=7)
        LegacyLogObserverWrapper(lambda _: None)(self.events[-1])  # type: ignore[arg-type]  # a function, as in practice
        assert self.members.keys() == {*OWN[:4], "size"}

    def test_relayedEvent(self) -> None:
        """An event that came from a worker, as Twisted's JSON, has the same members."""
        self.source.info("connection peer={peer} seconds={seconds:.3f}", peer="unix", seconds=0.5)
        before = self.members
        self.events.append(eventFromJSON(eventAsJSON(self.events[-1])))
        del self.events[-1]["log_flattened"]  # as `WorkerProcess` does
        assert self.members == before
        assert before["seconds"] == 0.5

    def test_eventWithoutText(self) -> None:
        """An event without a text has no line, as in a log of texts."""
        self.source.info("")
        assert formatJSON(self.events[-1]) is None

    @given(st.dictionaries(NAMES, SCALARS | st.lists(SCALARS) | st.binary()))
    def test_anyFields(self, fields: dict[str, Any]) -> None:
        """Any fields make one flat object."""
        self.events.append({"log_time": 0.0, "log_format": "x", "log_namespace": "test", **fields})
        assert set(self.members) <= {*fields, *OWN, *(f"{name}_" for name in OWN)}

    def test_noticeOfTheQueueIsJSON(self) -> None:
        """What the log's thread says of dropped lines is an object as well, and their number is a number."""
        with TemporaryDirectory() as folder:
            observer = FileLogObserver(file := LogFile("log", folder), formatJSON)  # type: ignore[arg-type]  # as twistd does
            self.addCleanup(file.close)
            (queue,) = queueLog(LogPublisher(observer))
            self.patch(logqueue, "BOUND", 0)
            self.patch(logqueue, "GATHERING", 60.0)
            for text in "abc":
                Logger("test", observer=observer).info(text)
            queue.finish()
            first, notice = map(json.loads, Path(file.path).read_text().splitlines())
        assert first["message"] == "a"
        assert (notice["level"], notice["lines"]) == ("warn", 2)
        assert notice["message"].startswith("dropped 2 lines of the log here")
