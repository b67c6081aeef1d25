"""Answers are told apart: right, unchanged, cut, altered, foreign."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.datagrams.answers import DatagramAnswers, Fault, WrongAnswer
from echoup.client.diagnose.datagramsocket import ArrivedDatagram


class DatagramAnswersTests(SynchronousTestCase):
    """`DatagramAnswers` finds the datagram that an answer belongs to."""

    def setUp(self) -> None:
        """Send nothing yet."""
        self.answers = DatagramAnswers()

    def arrive(self, data: bytes) -> None:
        """Let an answer arrive."""
        self.answers.judge(ArrivedDatagram(data, 0, 0.0))

    def test_rightAnswersAreCountedInTheirOrder(self) -> None:
        """Each right answer is counted for its datagram, in the order in which they come; copies count again."""
        sent = [self.answers.next(64) for _ in range(3)]
        for number in (1, 0, 1):
            self.arrive(sent[number].upper())
        assert self.answers.order == [1, 0, 1]
        assert {number: len(arrivals) for number, arrivals in self.answers.arrived.items()} == {1: 2, 0: 1}
        assert self.answers.lost(range(3)) == 1
        assert self.answers.wrong == []

    def test_datagramsDifferAndHaveALowercaseLetter(self) -> None:
        """No two datagrams are the same, unless they have one byte, and no answer is its datagram."""
        for size in (1, 2, 15, 16, 64, 65_507):
            sent = [self.answers.next(size) for _ in range(20)]
            assert {len(data) for data in sent} == {size}
            assert all(data != data.upper() for data in sent)
            assert size == 1 or len({*sent}) == 20

    def test_wrongAnswersAreExplained(self) -> None:
        """What is wrong with an answer is told, and from which offset on."""
        for _ in range(3):
            sent = self.answers.next(64)
        answer = sent.upper()
        for data, expected in (
            (sent, WrongAnswer(Fault.UNCHANGED, 64)),
            (answer[:50], WrongAnswer(Fault.CUT, 64, 50)),
            (b"", WrongAnswer(Fault.CUT, 64, 0)),
            (answer[:40] + bytes([answer[40] ^ 0x80]) + answer[41:], WrongAnswer(Fault.ALTERED, 64, 40)),
            (b"something else", WrongAnswer(Fault.FOREIGN)),
        ):
            self.arrive(data)
            assert self.answers.wrong[-1] == expected
        assert self.answers.order == []
