"""Questions to one nameserver."""

import socket

from twisted.internet.defer import CancelledError, Deferred
from twisted.names import dns

from echoup.client.diagnose.nameservers.answers import Answer, DNSResult
from echoup.client.diagnose.nameservers.query import TRIES, ask, parseAnswer
from echoup.clock import RunningTime
from tests.support.doubles import ReactorTestCase
from tests.support.nameserver import SILENCE, Records, answerTo, nameserver
from tests.support.properties import damaged, given, st

NAME = "there.example"

FORMAT_ERROR = dns.EFORMAT


class QuestionTests(ReactorTestCase):
    """`ask` tells what a nameserver says of each kind of address."""

    def ask(self, port: int, address: str = "127.0.0.1") -> "Deferred[list[Answer]]":
        """Return what the nameserver says within three seconds."""
        clock = RunningTime(self.reactor)
        return Deferred.fromCoroutine(ask(self.reactor, clock, address, NAME, ("A", "AAAA"), 3, port))

    def said(self, records: Records) -> tuple[Answer, Answer]:
        """Return what a nameserver with `records` says."""
        with nameserver("127.0.0.1", records, 0) as port:
            asked = self.ask(port)
            self.reactor.until(lambda: asked.called)
        first, second = self.successResultOf(asked)
        return first, second

    def test_addressesAreFound(self) -> None:
        """Both kinds of addresses are found."""
        first, second = self.said({(NAME, "A"): ["192.0.2.1", "192.0.2.2"], (NAME, "AAAA"): ["2001:db8::1"]})
        assert (first.kind, first.result, first.addresses) == (
            "A",
            DNSResult.FOUND,
            frozenset({"192.0.2.1", "192.0.2.2"}),
        )
        assert (second.kind, second.result, second.addresses) == ("AAAA", DNSResult.FOUND, frozenset({"2001:db8::1"}))
        assert first.seconds is not None

    def test_otherAnswersAreTold(self) -> None:
        """No address, no such name, a failure, a refusal and anything else are told apart."""
        for found, outcome in (
            ([], DNSResult.NO_ADDRESS),
            (dns.ENAME, DNSResult.NO_NAME),
            (dns.ESERVER, DNSResult.FAILED),
            (dns.EREFUSED, DNSResult.REFUSED),
            (FORMAT_ERROR, DNSResult.OTHER),
        ):
            first, second = self.said({(NAME, "A"): ["192.0.2.1"], (NAME, "AAAA"): found})
            assert (first.result, second.result) == (DNSResult.FOUND, outcome)

    def test_silenceIsConfirmed(self) -> None:
        """A nameserver is silent if none of several questions is answered; a late answer counts."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(10)
            asked = self.ask(server.getsockname()[1])
            self.reactor.advance(2.9)
            assert not asked.called
            questions = [server.recvfrom(4096) for _ in range(2 * TRIES)]
            data, client = questions[0]
            answer = answerTo(data, {(NAME, "A"): ["192.0.2.1"], (NAME, "AAAA"): ["2001:db8::1"]})
            assert answer is not None
            server.sendto(answer, client)
            self.reactor.advance(0.2)
        answers = self.successResultOf(asked)
        assert sorted(each.result.name for each in answers) == ["FOUND", "SILENT"]
        (late,) = [each.seconds for each in answers if each.seconds is not None]
        assert 2.8 < late < 3.1

    def test_closedPortIsTold(self) -> None:
        """A port on which nothing listens is told from silence, at once."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            port = other.getsockname()[1]
        asked = self.ask(port)
        self.reactor.until(lambda: asked.called)
        assert [each.result for each in self.successResultOf(asked)] == [DNSResult.CLOSED] * 2

    def test_noWayIsTold(self) -> None:
        """An address that this machine can't send to is told; here it is no address at all."""
        asked = self.ask(53, "nowhere")
        assert [each.result for each in self.successResultOf(asked)] == [DNSResult.UNREACHABLE] * 2

    def test_cancelledQuestionLeavesNothing(self) -> None:
        """Cancelling closes the sockets."""
        with nameserver("127.0.0.1", {(NAME, "A"): SILENCE, (NAME, "AAAA"): SILENCE}, 0) as port:
            asked = self.ask(port)
            self.reactor.turn()
            assert self.reactor.getReaders()
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
        assert {*self.reactor.getReaders()} <= self.reactor._internalReaders
        assert self.reactor.getDelayedCalls() == []


class AnswerTests(ReactorTestCase):
    """`parseAnswer` takes only the answer to the question."""

    def answer(self, **changes: object) -> bytes:
        """Return an answer with some fields changed."""
        message = dns.Message(7, answer=1)
        message.addQuery(NAME.encode(), dns.A)
        for name, value in changes.items():
            setattr(message, name, value)
        return message.toStr()

    def test_othersAreRefused(self) -> None:
        """What isn't DNS, no answer, or the answer to another question, counts for nothing."""
        assert parseAnswer(self.answer(), 7, "A") == (DNSResult.NO_ADDRESS, frozenset())
        for data in (b"", b"garbage", self.answer(answer=0), self.answer(id=8)):
            assert parseAnswer(data, 7, "A") is None

    def test_answerWithoutItsEndIsOfNoUse(self) -> None:
        """One that is cut, and doesn't say so, isn't taken for one without an address."""
        message = dns.Message(7, answer=1)
        message.answers = [dns.RRHeader(NAME.encode(), dns.A, payload=dns.Record_A("192.0.2.1"))]
        data = message.toStr()
        assert parseAnswer(data, 7, "A") == (DNSResult.FOUND, frozenset({"192.0.2.1"}))
        for end in range(12, len(data)):
            assert parseAnswer(data[:end], 7, "A") == (DNSResult.OTHER, frozenset()), end

    @given(st.data())
    def test_damagedAnswerRaisesNothing(self, data: st.DataObject) -> None:
        """A damaged answer is no answer, or says something."""
        parsed = parseAnswer(damaged(data, self.answer()), 7, "A")
        assert parsed is None or isinstance(parsed[0], DNSResult)

    def test_cutAnswerHasAddresses(self) -> None:
        """A truncated answer means that there are many."""
        assert parseAnswer(self.answer(trunc=1), 7, "A") == (DNSResult.CUT, frozenset())
