"""What the path does to DSCP and ECN is named."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.datagrams.marks import MARKS, judgeMarks, nameClass
from echoup.client.diagnose.finding import Status


class JudgeMarksTests(SynchronousTestCase):
    """`judgeMarks` says what is changed, and nothing of what is kept."""

    def judge(self, changes: dict[int, list[int]]) -> list[tuple[str, str]]:
        """Return causes and texts where some marks arrive with `changes`."""
        problems = judgeMarks({tos: [tos, tos] for tos in MARKS} | changes)
        assert all(
            problem.status is (Status.WARN if problem.cause == "tos-lost" else Status.NOTE) for problem in problems
        )
        return [(problem.cause, problem.text) for problem in problems]

    def test_keptIsNotSaid(self) -> None:
        """Where all is kept there is nothing to say, nor where a queue marks some packets with CE."""
        assert self.judge({}) == []
        assert self.judge({1: [1, 3], 2: [3, 2]}) == []

    def test_changesAreNamed(self) -> None:
        """Each change has its cause, and its text names what changed."""
        lost: list[int] = []
        for changes, expected in (
            ({tos: [0] for tos in MARKS}, ("tos-cleared", "the answers have neither DSCP nor ECN")),
            ({184: [0], 136: [0], 32: [0]}, ("dscp-cleared", "the path clears DSCP (EF, AF41, CS1)")),
            ({184: [0], 136: [0]}, ("dscp-cleared", "the path clears DSCP (EF, AF41; CS1 is kept)")),
            ({184: [0, 184]}, ("dscp-remarked", "the path remarks DSCP: EF arrives as CS0 or EF")),
            (
                {0: [40], 136: [12]},
                ("dscp-remarked", "the path remarks DSCP: CS0 arrives as AF11, AF41 arrives as DSCP 3"),
            ),
            ({3: [0]}, ("ecn-cleared", "the path clears ECN: CE arrives as Not-ECT")),
            ({0: [3]}, ("ecn-congested", "the path sets CE on every packet: Not-ECT arrives as CE")),
            ({1: [2]}, ("ecn-remarked", "the path changes ECN: ECT(1) arrives as ECT(0)")),
            ({184: lost}, ("tos-lost", "datagrams with EF are lost, others pass")),
        ):
            assert self.judge(changes) == [expected]

    def test_whatIsSilentAltogetherTellsNothing(self) -> None:
        """Without an answer to the datagrams without a mark nothing is said of the others."""
        silent: dict[int, list[int]] = {tos: [] for tos in MARKS}
        assert self.judge(silent) == []

    def test_classesHaveNames(self) -> None:
        """The names are those of the RFCs."""
        names = {
            0: "CS0",
            1: "LE",
            8: "CS1",
            10: "AF11",
            38: "AF43",
            44: "VOICE-ADMIT",
            46: "EF",
            56: "CS7",
            63: "DSCP 63",
        }
        assert {dscp: nameClass(dscp) for dscp in names} == names
