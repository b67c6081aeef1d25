"""What attempts to connect say of a path."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.attempts import AddressAttempts, ConnectAttempt, Reach, judgeReach
from echoup.client.diagnose.finding import Problem, Status
from echoup.client.exitcodes import ExitCode, PathError


def works(retransmits: int = 0, seconds: float = 0.001, rtt: float = 0.0004, **changes: Any) -> ConnectAttempt:
    """Return an attempt that worked."""
    return ConnectAttempt(seconds, TCPInfo("ESTABLISHED", rtt, retransmits, rtt), **changes)


REFUSED = ConnectAttempt(error=PathError(ExitCode.UNREACHABLE, "Connection refused"))
SILENT = ConnectAttempt(error=PathError(ExitCode.TIMED_OUT, "timed out after 5 s"))
UNREACHABLE = ConnectAttempt(error=PathError(ExitCode.UNREACHABLE, "No route to host"))
RESET = ConnectAttempt(error=PathError(ExitCode.SHORT, "the server reset the connection before it was used"))
NOT_SENT = ConnectAttempt(error=PathError(ExitCode.LOCAL, "Network is unreachable (no route)"))
RESENT = works(1, 1.001)


class AttemptsTests(SynchronousTestCase):
    """`judgeReach` tells which addresses fail, and whether SYNs are lost."""

    def judge(self, *found: tuple[ConnectAttempt, ...]) -> list[Problem]:
        """Return the problems of addresses with these attempts."""
        addresses = [AddressAttempts(f"192.0.2.{number}", each) for number, each in enumerate(found, 1)]
        return [*judgeReach(addresses, 5)]

    def assertFound(self, problems: list[Problem], status: Status, cause: str, text: str) -> None:
        """Check the only problem."""
        (problem,) = problems
        assert (problem.status, problem.cause, problem.text) == (status, cause, text)
        assert problem.seen
        assert problem.meaning
        assert problem.advice

    def test_workingAddressesAreFine(self) -> None:
        """Addresses that work are fine, also beside one that this machine has no way to."""
        assert self.judge((works(),) * 5) == []
        assert self.judge((works(),), (works(),), (NOT_SENT,)) == []

    def test_deadServerFails(self) -> None:
        """Where no address works, the check fails with the exit code of what matters most."""
        for found, cause, text, code in (
            ([REFUSED], "address-refused", "connections to 192.0.2.1 are refused", ExitCode.UNREACHABLE),
            (
                [REFUSED, REFUSED],
                "address-refused",
                "connections to 192.0.2.1, 192.0.2.2 are refused",
                ExitCode.UNREACHABLE,
            ),
            ([SILENT], "address-silent", "connections to 192.0.2.1 are not answered within 5 s", ExitCode.TIMED_OUT),
            ([SILENT, REFUSED], "address-refused", "connections to 192.0.2.2 are refused", ExitCode.UNREACHABLE),
            (
                [UNREACHABLE],
                "address-unreachable",
                "connections to 192.0.2.1 fail: No route to host",
                ExitCode.UNREACHABLE,
            ),
            ([RESET], "address-reset", "connections to 192.0.2.1 are reset at once", ExitCode.SHORT),
            (
                [RESET, SILENT],
                "address-silent",
                "connections to 192.0.2.2 are not answered within 5 s",
                ExitCode.TIMED_OUT,
            ),
            (
                [NOT_SENT],
                "local-trouble",
                "connections to 192.0.2.1 can't be made from this machine: Network is unreachable (no route)",
                ExitCode.LOCAL,
            ),
        ):
            problems = self.judge(*[(each, each) for each in found])
            self.assertFound(problems, Status.FAIL, cause, text)
            assert problems[0].code is code

    def test_partlyDeadServerIsAWarning(self) -> None:
        """An address that fails beside one that works costs some clients time."""
        for attempt, cause, says in (
            (SILENT, "address-silent", "are not answered"),
            (REFUSED, "address-refused", "are refused"),
            (UNREACHABLE, "address-unreachable", "fail"),
            (RESET, "address-reset", "are reset at once"),
        ):
            problems = self.judge((attempt, attempt), (works(),))
            self.assertFound(
                problems, Status.WARN, cause, f"connections to 192.0.2.1 {says}, and those to 192.0.2.2 work"
            )

    def test_lostSYNsAreCounted(self) -> None:
        """The share of connections whose SYN was sent again is told, with the path's rtt; one of them is chance."""
        says = "although the path's rtt is 0.4 ms: the accept queue is full, or SYNs are dropped"
        text = f"the SYN was sent again on 3 of 5 connections to 192.0.2.1, {says}"
        self.assertFound(self.judge((RESENT,) * 3 + (works(),) * 2), Status.WARN, "syn-sent-again", text)
        assert self.judge((RESENT,) + (works(),) * 9) == []
        text = f"the SYN was sent again on 1 of 10 connections to 192.0.2.1, {says}"
        self.assertFound(self.judge((SILENT,) + (works(),) * 9), Status.WARN, "syn-sent-again", text)

    def test_slowPathIsNoLoss(self) -> None:
        """On a path with a round-trip time of a second the SYN is sent again, too, and nothing is lost."""
        (problem,) = self.judge((works(1, 1.2, 1.2),) * 5)
        assert (problem.status, problem.cause) == (Status.WARN, "slow-path")
        assert "1.2 s" in problem.text

    def test_timeTellsWhereTheKernelDoesNot(self) -> None:
        """Without TCP_INFO the time to connect tells, unless the process was paused."""
        assert ConnectAttempt(1.01).isResent
        assert not ConnectAttempt(1.01, isPaused=True).isResent
        assert not ConnectAttempt(0.9).isResent
        assert not SILENT.isResent
        (problem,) = self.judge((ConnectAttempt(1.01),) * 5)
        assert "the rtt isn't known" in problem.text

    def test_reachFollowsFromTheError(self) -> None:
        """The error of a connection tells how it ended."""
        ends = [each.reach for each in (works(), REFUSED, UNREACHABLE, SILENT, RESET, NOT_SENT)]
        assert ends == [*Reach]

    def test_figuresAreJSON(self) -> None:
        """The figures have the least times, and what failed."""
        assert AddressAttempts("192.0.2.1", (RESENT, works(seconds=0.002), SILENT)).figures() == {
            "address": "192.0.2.1",
            "outcome": "works",
            "reason": "",
            "connections": 3,
            "seconds": 0.002,
            "rtt": 0.0004,
            "synSentAgain": 1,
            "unanswered": 1,
        }
        assert AddressAttempts("192.0.2.1", (REFUSED,)).figures()["reason"] == "Connection refused"
