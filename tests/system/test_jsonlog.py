"""With `--log-format json` the log has a flat object in each line, from the first to the last."""

import json
import re
import signal
from pathlib import Path

from tests.support.commands import twistd
from tests.support.daemon import Daemon
from tests.support.waiting import eventually

MEMBERS = ["time", "level", "logger", "message"]


def test_everyLineIsAFlatObject(reactor: str, tmp_path: Path) -> None:
    """A start, a session in a worker and a stop are objects whose members are texts and numbers."""
    options = ["--workers=2", "--max-connections=100", "--log-connections"]
    with Daemon.start(tmp_path, *options, environment={"ECHOUP_LOG_FORMAT": "json"}) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"
        eventually(lambda: "reason=done" in daemon.text)
        assert daemon.stop() == 143
    events = [json.loads(line) for line in daemon.text.splitlines()]
    for event in events:
        assert [*event][:4] == MEMBERS, event
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
        assert not [value for value in event.values() if isinstance(value, dict | list)], event
    first, last = events[0], events[-1]
    assert (first["max-connections"], first["workers"], first["listen"]) == (100, 2, "127.0.0.1:0")
    assert last["message"] == "Server Shut Down."
    (ended,) = [event for event in events if event["message"].startswith("connection ")]
    assert (ended["bytes"], ended["reason"], ended["level"]) == (5, "done", "info")
    assert isinstance(ended["seconds"], float)


def test_rotatedFilesAreObjects(reactor: str, tmp_path: Path) -> None:
    """`twistd --logfile` writes objects as well, and SIGUSR1 makes it go on in a new file."""
    log = tmp_path / "echoup.log"
    command = [*twistd(f"--reactor={reactor}", "-n", "--pidfile="), f"--logfile={log}"]
    with LoggingToFile.start(tmp_path, "--log-format=json", command=command) as daemon:
        daemon.signal(signal.SIGUSR1)
        eventually((tmp_path / "echoup.log.1").exists)
        daemon.stop()
    before, after = ((tmp_path / name).read_text().splitlines() for name in ("echoup.log.1", "echoup.log"))
    assert json.loads(before[0])["message"].startswith("settings: ")
    assert json.loads(after[-1])["message"] == "Server Shut Down."
    assert all([*json.loads(line)][:4] == MEMBERS for line in before + after)


class LoggingToFile(Daemon):
    """A daemon whose log is a file of its own."""

    @property
    def text(self) -> str:
        """Its log so far."""
        path = self.log.with_name("echoup.log")
        return path.read_text() if path.exists() else ""
