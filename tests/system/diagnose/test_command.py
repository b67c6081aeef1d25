"""The command itself: its end, its output, and a terminal."""

import json
import signal
import subprocess

from echoup.client.diagnose.session import INTERRUPTED
from echoup.client.exitcodes import ExitCode
from tests.support.daemon import Daemon
from tests.support.diagnoses import DIAGNOSE
from tests.support.terminal import Terminal
from tests.support.waiting import eventually


def test_interruptReportsWhatIsKnown(daemon: Daemon) -> None:
    """Ctrl-C ends the checks, the object has what was found until then, and the exit code is 130."""
    before = daemon.descriptors
    command = [*DIAGNOSE, "--json", "--only", "resolve", "--only", "idle", "--idle", "60m", daemon.address.target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        eventually(lambda: daemon.descriptors > before)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (ExitCode.INTERRUPTED, b"")
    found = {check["name"]: (check["status"], check["summary"]) for check in json.loads(stdout)["checks"]}
    assert found["resolve"][0] == "ok"
    assert found["idle"] == ("skipped", INTERRUPTED)
    eventually(lambda: daemon.descriptors <= before)


def test_readerThatExitsEndsIt(daemon: Daemon) -> None:
    """Where nobody reads the report any more, the command ends without a word, with 141."""
    command = [*DIAGNOSE, "--skip", "buffering", daemon.address.target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith(b"ECHOUP ")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == ExitCode.BROKEN_PIPE


def test_noServerIsSaidAtOnce() -> None:
    """Without a server the check of the addresses says so, and the others are skipped for that reason."""
    done = subprocess.run([*DIAGNOSE, "--json", "127.0.0.1:1"], capture_output=True, text=True, timeout=60, check=False)
    report = json.loads(done.stdout)
    statuses = {check["name"]: check["status"] for check in report["checks"]}
    assert (done.returncode, report["cause"]["cause"]) == (ExitCode.UNREACHABLE, "address-refused")
    assert {name for name, status in statuses.items() if status != "skipped"} == {"resolve", "reach"}
    assert done.stderr.startswith("echoup: 127.0.0.1:1: reach: ")
    assert len(done.stderr.splitlines()) == 1


def test_terminalShowsWhatIsUnderWay(daemon: Daemon) -> None:
    """On a terminal there is a line for each check that is under way, and none of these is left at the end."""
    with Terminal(*DIAGNOSE, "--skip", "udp", daemon.address.target) as terminal:
        eventually(lambda: not terminal._read())
        assert terminal.text.endswith("\nno fault found")
        assert "...      buffering" in terminal.written.decode()
        assert "..." not in terminal.text
        assert terminal.exits() == ExitCode.OK
