"""The command line: what it accepts, what it prints, and how it exits."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from errno import EMFILE, ENOENT
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from signal import SIGTERM
from tempfile import TemporaryFile
from typing import Any

import click
from twisted.internet import asyncioreactor
from twisted.trial.unittest import SynchronousTestCase

from echoup.client import run as runModule
from echoup.client.cli import cli, main
from echoup.client.connect.resolve import Family
from echoup.client.conversation.console import converse
from echoup.client.conversation.pipe import pipe
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.reports.jsonlines import JSONReport
from echoup.client.ping.reports.nagios import NagiosReport, NagiosStatus
from echoup.client.ping.reports.prometheus import PrometheusReport
from echoup.client.ping.reports.text import TextReport
from echoup.client.ping.requirement import parseRequirement
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.session import ping
from echoup.client.ping.statistics import Outcome, Statistics
from echoup.client.run import complain
from echoup.client.target.parse import parseTarget
from echoup.durations import parseDuration
from echoup.upper import IMPLEMENTATION
from tests.support.doubles import raised
from tests.support.invocations import COMMANDS
from tests.support.properties import given, st
from tests.support.samples import probe, summed


class CommandTestCase(SynchronousTestCase):
    """A test of commands that install and run no reactor."""

    def setUp(self) -> None:
        """Record what would be installed and run."""
        self.installed: list[str] = []
        self.ran: list[Any] = []
        self.patch(asyncioreactor, "install", lambda: self.installed.append("asyncio"))
        self.replaceRun(self.run_)

    def replaceRun(self, run: Callable[..., int]) -> None:
        """Let every command run with `run`."""
        for module in COMMANDS:
            self.patch(module, "run", run)

    def terminal(self) -> None:
        """Let standard input and output be terminals."""
        self.patch(sys, "stdin", Terminal())
        self.patch(sys, "stdout", Terminal())

    def run_(self, reactor: object, *command: object) -> int:
        """Replace `run`; no other code is the one that this returns."""
        self.ran.append(command)
        return 99


class MainTests(CommandTestCase):
    """`main` exits with a code, and reports a mistake of the user in one line."""

    def main(self, *arguments: str) -> tuple[object, str, str]:
        """Return the exit code of a command, and its output on stdout and stderr."""
        self.patch(sys, "argv", ["echoup", *arguments])
        self.patch(sys, "stdout", stdout := StringIO())
        self.patch(sys, "stderr", stderr := StringIO())
        error = raised(SystemExit, main)
        assert error is not None
        return error.code, stdout.getvalue(), stderr.getvalue()

    def test_mistakeIsOneLine(self) -> None:
        """A mistake is one line on stderr, and exit code 2."""
        for arguments, words in (
            (["--colour"], "No such option"),
            (["conect"], "No such command 'conect'."),
            (["connect", "8081"], "Invalid value for TARGET: '8081' is a port without a host"),
            (["connect", "a", "b"], "unexpected b after TARGET a"),
            (["connect", "--timeout"], "Option '--timeout' requires an argument."),
            (["connect", "--timeout=soon"], "Invalid value for '-W' / '--timeout': 'soon' is not a duration"),
            (["connect", "--timeout=0"], "Invalid value for '-W' / '--timeout': '0' is not a duration of more than 0"),
            (["connect", "--timeout=-1"], "Invalid value for '-W' / '--timeout': '-1' is not a duration"),
            (
                ["ping", "-i", "inf"],
                "Invalid value for '-i' / '--interval': 'inf' is not a duration such as 5, 0.5, 500ms, 5s or 2m",
            ),
            (["ping", "-i", "-1"], "Invalid value for '-i' / '--interval'"),
            (["ping", "-c", "0"], "Invalid value for '-c' / '--count'"),
            (["ping", "-s", "0"], "Invalid value for '-s' / '--size'"),
            (["ping", "-W", "0"], "Invalid value for '-W' / '--timeout'"),
            (["ping", "-w", "0"], "Invalid value for '-w' / '--deadline': '0' is not a duration of more than 0"),
            (["ping", "a", "8081"], "TARGET is one word: write a:8081 instead of a 8081"),
            (["ping", "a", "b", "8081"], "Invalid value for TARGET: '8081' is a port without a host"),
            (["ping", "a", "b", "a:8081"], "there are two TARGETs for a:8081"),
            (["ping", *map("a:{}".format, range(1, 258))], "there are 257 TARGETs, and at most 256 can be probed at"),
            (["ping", "a", "udp:b", "--half-close"], "--half-close needs a stream, not UDP"),
            (["ping", "--require", "TLS<50ms", "tls:a", "b"], "Invalid value for --require: TLS<50ms can't be met"),
            (["ping", "--require", "certificate>14d"], "Invalid value for --require: certificate>14d can't be met"),
            (
                ["ping", "-s", "65508", "udp:a"],
                "--size 65508 does not fit a UDP datagram, which has at most 65507 bytes",
            ),
            (["ping", "--half-close", "udp:a"], "--half-close needs a stream, not UDP"),
            (["ping", "--half-close", "--keep"], "--keep and --half-close are mutually exclusive"),
            (["ping", "--json", "--format", "prometheus", "-c1"], "--json and --format prometheus are mutually"),
            (["ping", "--format", "xml"], "Invalid value for '--format': 'xml' is not one of"),
            (["ping", "--require", "p99<5"], "Invalid value for '--require': 'p99<5' is not METRIC<VALUE"),
            (["ping", "--require", "wrong<1"], "Invalid value for '--require': 'wrong<1' is not METRIC<VALUE"),
            (["connect", "two\nlines"], "Invalid value for TARGET: 'two\\nlines' is not an address"),
            (["connect", "a", "two\nlines"], "unexpected two\\nlines after TARGET a"),
            (
                ["connect", "--timeout=nan"],
                "Invalid value for '-W' / '--timeout': 'nan' is not a duration such as 5, 0.5, 500ms, 5s or 2m",
            ),
        ):
            code, stdout, stderr = self.main(*arguments)
            assert (code, stdout) == (ExitCode.USAGE, "")
            assert stderr.startswith(f"echoup: {words}")
            assert len(stderr.splitlines()) == 1

    def test_noCommandShowsHelp(self) -> None:
        """Without a command it shows the help on stderr, and exits with code 2."""
        code, stdout, stderr = self.main()
        assert (code, stdout) == (ExitCode.USAGE, "")
        assert "connect" in stderr

    def test_helpIsNoMistake(self) -> None:
        """`-h` and `--help` show how to use it, with exit code 0."""
        for arguments in (["-h"], ["--help"], ["connect", "-h"], ["connect", "--help"]):
            code, stdout, stderr = self.main(*arguments)
            assert (code, stderr) == (ExitCode.OK, "")
            assert stdout.startswith("Usage: ")

    def test_helpListsExitCodes(self) -> None:
        """The help of each command lists every exit code."""
        for command in ("connect", "ping"):
            text = self.main(command, "--help")[1]
            for code in (*ExitCode, 128 + SIGTERM):
                assert re.search(rf" {code:d} \w", text), code

    def test_versionIsPrinted(self) -> None:
        """`--version` prints the version, and which implementation upper-cases."""
        shown = f"echoup {version('echoup')} (upper-casing in {IMPLEMENTATION})\n"
        assert self.main("--version") == (ExitCode.OK, shown, "")

    def test_commandSetsExitCode(self) -> None:
        """What the command returns is the exit code."""
        assert self.main("connect") == (99, "", "")

    def test_noMemoryIsMistake(self) -> None:
        """A size for which there isn't enough memory is a mistake of the user."""

        def fail(*_: object) -> int:
            raise MemoryError

        self.replaceRun(fail)
        message = "echoup: not enough memory for --size 1073741824\n"
        assert self.main("ping", "-s1073741824", "-c1") == (ExitCode.USAGE, "", message)

    def test_unwritableErrorKeepsExitCode(self) -> None:
        """Where stderr can't be written the exit code is the same, and Python writes nothing more at the exit."""
        for arguments in ([], ["conect"]):
            self.patch(sys, "argv", ["echoup", *arguments])
            self.patch(sys, "stderr", self.enterContext(Path("/dev/full").open("w")))
            error = raised(SystemExit, main)
            assert error
            assert error.code == ExitCode.USAGE
            sys.stderr.flush()

    def test_unwritableOutputIsTold(self) -> None:
        """Where the help can't be written that is told in one line, and Python writes nothing more at the exit."""
        self.patch(runModule, "isPipe", lambda _: False)  # descriptor 1, which isn't the test's
        for arguments in (["--help"], ["--version"], ["ping", "--help"]):
            self.patch(sys, "argv", ["echoup", *arguments])
            self.patch(sys, "stdout", self.enterContext(Path("/dev/full").open("w")))
            self.patch(sys, "stderr", stderr := StringIO())
            error = raised(SystemExit, main)
            assert error
            assert (error.code, stderr.getvalue()) == (ExitCode.BROKEN_PIPE, "echoup: the output can't be written\n")
            sys.stdout.flush()

    def test_outputIsEscaped(self) -> None:
        """Of a text, what the encoding of stdout or stderr hasn't is escaped, whichever command prints it."""
        with TemporaryFile("w+", encoding="ascii") as stdout, TemporaryFile("w+", encoding="ascii") as stderr:
            self.patch(sys, "stdout", stdout)
            self.patch(sys, "stderr", stderr)

            def talk(*_: object) -> int:
                print("é \udcff")
                complain("é \udcff")
                return 99

            self.replaceRun(talk)
            self.patch(sys, "argv", ["echoup", "connect"])
            assert raised(SystemExit, main)
            for stream, expected in ((stdout, "\\xe9 \\udcff\n"), (stderr, "\\xe9 \\udcff\n")):
                stream.seek(0)
                assert stream.read() == expected

    def test_localTroubleBeforeReactor(self) -> None:
        """That there are no descriptors for the reactor itself is one line, with the code of local trouble."""

        def fail(*_: object) -> int:
            raise OSError(EMFILE, "Too many open files")

        self.replaceRun(fail)
        message = "echoup: Too many open files (this process has no file descriptors left, see ulimit -n)\n"
        assert self.main("connect") == (ExitCode.LOCAL, "", message)
        self.replaceRun(self.failToRun)
        assert raised(FileNotFoundError, self.main, "connect"), "another error is no trouble that a user could mend"

    def failToRun(self, *_: object) -> int:
        """Fail with another error of the system."""
        raise FileNotFoundError(ENOENT, "No such file or directory")

    def test_pluginFailsInOneLine(self) -> None:
        """Under Nagios a mistake is one line on stdout, and UNKNOWN, which pages nobody."""
        for arguments, words in (
            ([], "--format nagios needs --count, such as -c 3"),
            (["-c1", "--colour"], "No such option"),
            (["-c0"], "Invalid value for '-c' / '--count'"),
            (["-c1", "-W", "soon"], "Invalid value for '-W' / '--timeout': 'soon' is not a duration"),
            (["-c1", "8081"], "Invalid value for TARGET: '8081' is a port without a host"),
            (["-c1", "a", "80"], "TARGET is one word: write a:80 instead of a 80"),
            (["-c1", "--require=p99<5|s"], "Invalid value for '--require': 'p99<5/s' is not METRIC<VALUE"),
            (["-c1", "--keep", "--half-close"], "--keep and --half-close are mutually exclusive"),
            (["-c1", "--json"], "--json and --format nagios are mutually exclusive"),
            (["-c"], "Option '-c' requires an argument."),
        ):
            for form in (["--format", "nagios"], ["--format=nagios"]):
                code, stdout, stderr = self.main("ping", *form, *arguments)
                assert (code, stderr) == (NagiosStatus.UNKNOWN, ""), arguments
                assert stdout.startswith(f"ECHOUP UNKNOWN - {words}"), stdout
                assert stdout.endswith("\n")
                assert (len(stdout.splitlines()), "|" in stdout) == (1, False)

    def test_pluginStillHelps(self) -> None:
        """Under Nagios the help is the same."""
        code, stdout, _ = self.main("ping", "--format", "nagios", "-h")
        assert (code, stdout.startswith("Usage: ")) == (ExitCode.OK, True)

    def test_pluginReportsErrors(self) -> None:
        """Whatever ends a check before its line is written makes a line of its own, and UNKNOWN."""
        for error, words in (
            (PathError(ExitCode.USAGE, "cannot speak TLS with a:1: /b: No such file"), "cannot speak TLS with a:1: /b"),
            (OSError(EMFILE, "Too many open files"), "Too many open files (this process has no file descriptors left"),
            (MemoryError(), "not enough memory for --size 56"),
            (ZeroDivisionError("no"), "ZeroDivisionError: no"),
            (FileNotFoundError(ENOENT, "No such file"), "FileNotFoundError: [Errno 2] No such file"),
        ):
            self.failure = error
            self.replaceRun(self.fail_)
            code, stdout, _ = self.main("ping", "-c1", "--format", "nagios")
            assert (code, len(stdout.splitlines())) == (NagiosStatus.UNKNOWN, 1)
            assert stdout.startswith(f"ECHOUP UNKNOWN - {words}"), stdout

    def fail_(self, *_: object) -> int:
        """Fail with an error."""
        raise self.failure

    def test_pluginReportsOnce(self) -> None:
        """A failure that the report has told has no second line on stdout, and the status of the report."""

        def fail(reactor: object, talk: object, target: object, schedule: object, report: Any, *_: object) -> int:
            report.begin(["there"], 1)
            report.end([Outcome("there", summed(probe(code=ExitCode.SHORT)), ExitCode.SHORT)], [])
            raise PathError(ExitCode.SHORT, "closed early")

        self.replaceRun(fail)
        code, stdout, stderr = self.main("ping", "-c1", "--format", "nagios")
        assert (code, stderr) == (NagiosStatus.CRITICAL, "echoup: closed early\n")
        assert stdout.startswith("ECHOUP CRITICAL - 0 of 1 answered by there, down since seq 1; ")
        assert len(stdout.splitlines()) == 1

    def test_helpFitsTerminal(self) -> None:
        """No line of any help is longer than 80 columns, whatever the width of the terminal, if it has that many."""
        for columns in ("", "80", "200"):
            self.patch(os, "environ", {**os.environ, "COLUMNS": columns})
            for command in ("", *cli.commands):
                _, stdout, _ = self.main(*command.split(), "--help")
                assert max(map(len, stdout.splitlines())) <= 80, command

    def test_helpExplainsDurations(self) -> None:
        """The help of a command that takes durations says once what they are, and shows the defaults as such."""
        for name, command in cli.commands.items():
            text = " ".join(self.main(name, "--help")[1].split())
            assert text.count("A DURATION is a number of seconds, or has a unit: 250us, 500ms, 5s, 2m.") == 1
            for option in command.params:
                if option.name in ("timeout", "interval"):
                    assert re.search(rf"--{option.name} DURATION [^\]]*\[default: {option.default}\]", text), text
                    assert parseDuration(str(option.default))

    def test_interruptBeforeReactor(self) -> None:
        """Ctrl-C before the reactor runs exits like Ctrl-C later."""

        def interrupt(*_: object) -> int:
            raise KeyboardInterrupt

        self.replaceRun(interrupt)
        assert self.main("connect")[0] == ExitCode.INTERRUPTED

    def test_pingMistakeIsOneLine(self) -> None:
        """A mistake in the options of `ping` is one line on stderr, and exit code 2."""
        for arguments, words in (
            (
                ["-inan"],
                "Invalid value for '-i' / '--interval': 'nan' is not a duration such as 5, 0.5, 500ms, 5s or 2m",
            ),
            (
                ["-Wnan"],
                "Invalid value for '-W' / '--timeout': 'nan' is not a duration such as 5, 0.5, 500ms, 5s or 2m",
            ),
            (["--format=prometheus"], "--format prometheus needs --count, such as -c 3"),
            (["--require=loss>1%"], "Invalid value for '--require': 'loss>1%' is not METRIC<VALUE"),
            (["127.0.0.1:0"], "Invalid value for TARGET: '127.0.0.1:0' has port 0"),
        ):
            code, stdout, stderr = self.main("ping", *arguments)
            assert (code, stdout) == (ExitCode.USAGE, "")
            assert stderr.startswith(f"echoup: {words}"), stderr
            assert len(stderr.splitlines()) == 1


class ConnectTests(CommandTestCase):
    """`connect` takes a target, a timeout and the options of the path, and chooses the prompt or the pipe."""

    def called(self, *arguments: str) -> Any:
        """Return what the command runs, and with which arguments."""
        assert cli.main(["connect", *arguments], standalone_mode=False) == 99
        return self.ran.pop()

    def test_defaultIsLocalDaemon(self) -> None:
        """Without arguments the target is the local daemon, the timeout ten seconds."""
        assert self.called() == (pipe, parseTarget("127.0.0.1:8081"), 10.0)

    def test_targetsAreParsed(self) -> None:
        """It accepts what `parseTarget` accepts."""
        for text in ("example.org", "[::1]:1", "unix:/run/echoup", "tls:example.org:443", "udp:example.org"):
            assert self.called(text, "--timeout", "0.5") == (pipe, parseTarget(text), 0.5)

    def test_terminalGetsPrompt(self) -> None:
        """A terminal gets the prompt and the reactor that it needs, anything else the pipe on the default one."""
        for input_, output, expected in (
            (Terminal(), Terminal(), (converse, ["asyncio"])),
            (Terminal(), StringIO(), (pipe, [])),
            (StringIO(), Terminal(), (pipe, [])),
            (None, None, (pipe, [])),
        ):
            self.patch(sys, "stdin", input_)
            self.patch(sys, "stdout", output)
            self.installed.clear()
            assert (self.called()[0], self.installed) == expected

    def test_timeoutIsThatOfPing(self) -> None:
        """The timeout has the same names as that of `ping`."""
        for arguments in (["-W", "0.5"], ["-W0.5"], ["--timeout=0.5"]):
            assert self.called(*arguments)[2] == 0.5

    def test_historyIsKeptUnlessRefused(self) -> None:
        """The prompt keeps its history, unless --no-history is given; the pipe takes the option too."""
        assert self.called("--no-history")[0] is pipe
        self.terminal()
        for arguments, keepsHistory in (([], True), (["--no-history"], False)):
            assert self.called(*arguments) == (converse, parseTarget("127.0.0.1:8081"), 10.0, keepsHistory)

    def test_infiniteTimeoutIsRefused(self) -> None:
        """A timeout that is no finite number of seconds is refused, also where Python has a float for it."""
        for text in ("nan", "inf", "-inf", ""):
            assert raised(click.UsageError, self.called, f"--timeout={text}"), text

    @given(st.text(st.characters(), min_size=1))
    def test_anyTargetIsTakenOrRefused(self, text: str) -> None:
        """Any target is either accepted or refused in one line."""
        if error := raised(click.UsageError, self.called, "--", text):
            assert len(error.format_message().splitlines()) == 1


class PingTests(CommandTestCase):
    """`ping` takes a target and a schedule, and makes a report."""

    def called(self, *arguments: str) -> Any:
        """Return what the command runs, and with which arguments."""
        code = cli.main(["ping", *arguments], standalone_mode=False)
        assert code == (NagiosStatus.UNKNOWN if "nagios" in arguments else 99)
        return self.ran.pop()

    def test_defaultIsLocalDaemonOnceASecond(self) -> None:
        """Without arguments it probes the local daemon once a second, until Ctrl-C."""
        talk, targets, schedule, report, requirements = self.called()
        assert (talk, targets, schedule) == (ping, [parseTarget("127.0.0.1:8081")], Schedule(None, 1.0, 5.0, 56))
        assert (type(report), requirements) == (TextReport, [])

    def test_optionsReachSchedule(self) -> None:
        """Each option sets its field of the target, the schedule or the requirements."""
        arguments = ["-c3", "-i0.5", "-W2", "-s1000", "-6", "--keep", "--require=p99<5ms", "--require=late<1", "a"]
        _, targets, schedule, _, requirements = self.called(*arguments)
        assert targets == [replace(parseTarget("a"), family=Family.IPV6)]
        assert schedule == Schedule(3, 0.5, 2.0, 1000, keep=True)
        assert requirements == [parseRequirement("p99<5ms"), parseRequirement("late<1")]
        assert self.called("--half-close")[2].halfClose
        assert self.called("-w2")[2] == Schedule(None, 1.0, 5.0, 56, deadline=2.0)

    def test_severalTargetsAreParsed(self) -> None:
        """Several targets keep their order, and have the same options."""
        targets = self.called("b:1", "-4", "a", "udp:c")[1]
        assert targets == [replace(parseTarget(text), family=Family.IPV4) for text in ("b:1", "a", "udp:c")]

    def test_deadlineServesFormatsInsteadOfCount(self) -> None:
        """The formats that write only at the end take a deadline in place of a count."""
        for form in ("prometheus", "nagios"):
            assert self.called("--format", form, "-w3")[2].deadline == 3

    def test_timestampsReachReport(self) -> None:
        """With -D the lines of probes have the time."""
        self.patch(sys, "stdout", output := StringIO())
        for arguments, isTimed in (([], False), (["-D"], True), (["--timestamps"], True)):
            self.called(*arguments)[3].add(probe(), "a:8081")
            assert output.getvalue().startswith("[") == isTimed
            output.truncate(output.seek(0))

    def test_durationsHaveUnits(self) -> None:
        """Every option that takes seconds takes a duration."""
        for text, seconds in (("5", 5.0), ("0.5", 0.5), ("500ms", 0.5), ("250us", 0.00025), ("5s", 5.0), ("2m", 120.0)):
            schedule = self.called("-W", text, "-i", text, "-w", text)[2]
            assert (schedule.timeout, schedule.interval, schedule.deadline) == (seconds, seconds, seconds)
        assert self.called("-i0ms")[2].interval == 0

    def test_formatChoosesReport(self) -> None:
        """Each format has its report."""
        for arguments, kind in (
            ([], TextReport),
            (["--json"], JSONReport),
            (["--format", "json"], JSONReport),
            (["--format", "nagios", "-c1"], NagiosReport),
            (["--format", "prometheus", "-c1"], PrometheusReport),
        ):
            assert type(self.called(*arguments)[3]) is kind

    def test_reportGoesToStandardOutput(self) -> None:
        """A report is written to standard output, if there is one."""
        self.patch(sys, "stdout", output := StringIO())
        report = self.called("--json")[3]
        report.begin(["there"], 1)
        report.end([Outcome("there", Statistics(), ExitCode.OK)], [])
        assert output.getvalue().startswith('{"schema": 1, "type": "summary"')
        self.patch(sys, "stdout", None)
        report.end([], [])


class Terminal(StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True
