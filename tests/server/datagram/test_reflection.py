"""The guard answers clients, and nothing by which others could come to harm."""

from socket import if_nametoindex
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.datagram import reflection
from echoup.server.datagram.reflection import ADDRESSES, BURST, REPLIES, RETURN, ReflectionGuard
from echoup.server.datagram.returnpath import ReturnPath
from tests.support.properties import given, st

CLIENT = ("198.51.100.7", 40_000)
US = ("192.0.2.1", 8081)

RATE = 5000


class GuardTestCase(SynchronousTestCase):
    """A test with a guard."""

    def setUp(self) -> None:
        """Make a guard whose clock the test advances."""
        self.clock = Clock()
        self.guard = ReflectionGuard(self.clock, RATE)
        self.addCleanup(self.guard.stop)

    def answers(self, data: bytes = b"hello", sender: Any = CLIENT, asked: tuple[str, int] | None = US) -> bool:
        """Whether the guard lets the datagram be answered."""
        return not self.guard.refusalOf(data, data.upper(), ReturnPath(sender, asked))


class ReflectionGuardTests(GuardTestCase):
    """`ReflectionGuard` lets clients be answered, and nothing that would harm a third party."""

    def test_clientsAreAnswered(self) -> None:
        """Senders that can be clients are answered, over IPv4 and IPv6."""
        for sender in (CLIENT, ("127.0.0.1", 1024), ("2001:db8::7", 65535, 0, 0), ("fe80::1", 5000, 0, 3)):
            assert self.answers(sender=sender), sender

    def test_systemPortsAreRefused(self) -> None:
        """Ports below 1024 are refused: services there would answer an answer."""
        for port in (0, 7, 19, 53, 1023):
            assert not self.answers(sender=(CLIENT[0], port)), port

    def test_ownPortsAreRefused(self) -> None:
        """A port with the number of one of ours is refused at every address: it may be ours."""
        self.guard.ports.add(CLIENT[1])
        for host in (CLIENT[0], US[0], "2001:db8::7"):
            assert not self.answers(sender=(host, CLIENT[1])), host
        assert self.answers(sender=(CLIENT[0], CLIENT[1] + 1))

    def test_addressesThatAreNoHostsAreRefused(self) -> None:
        """Senders with an address that isn't one host's are refused."""
        for host in ("0.0.0.0", "224.0.0.1", "239.255.255.250", "255.255.255.255", "::", "ff02::1"):  # noqa: S104  # a sender
            assert not self.answers(sender=(host, CLIENT[1])), host

    def test_datagramsToManyHostsAreRefused(self) -> None:
        """A datagram that was sent to many hosts is refused: many would answer it."""
        assert not self.answers(asked=None)

    def test_burstThenRateIsAnsweredForEachAddress(self) -> None:
        """From each address the datagrams of BURST are answered at once, then RATE a second."""
        burst = int(BURST * RATE)
        assert sum(self.answers(b"a%d" % i) for i in range(burst + 100)) == burst
        self.clock.advance(1)
        other = ("198.51.100.8", CLIENT[1])
        assert sum(self.answers(b"b%d" % i, (CLIENT[0], 1024 + i)) for i in range(burst)) == RATE
        assert sum(self.answers(b"c%d" % i, other) for i in range(burst)) == burst

    def test_rateZeroIsNoLimit(self) -> None:
        """With a rate of 0 every datagram of an address is answered, and no address is remembered."""
        self.guard = ReflectionGuard(self.clock, 0)
        assert all(self.answers(b"a%d" % i) for i in range(3 * RATE))
        assert len(self.guard._rates) == 0

    def test_highestRateAnswersEverything(self) -> None:
        """At the highest rate that the option takes every datagram is answered, and own replies are refused."""
        self.clock.advance(1e9)  # where two times that are a nanosecond apart are the same number
        self.guard = ReflectionGuard(self.clock, 999_999_999)
        assert all(self.answers(b"a%d" % i) for i in range(3 * RATE))
        assert not self.answers(b"A1")

    @given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 30)), max_size=20))
    def test_anyBurstsGetTheRate(self, bursts: list[tuple[float, int]]) -> None:
        """However its datagrams come, an address gets its burst and its rate, neither more nor less."""
        clock = Clock()
        guard = ReflectionGuard(clock, 10)
        tokens = 20.0
        for pause, count in bursts:
            clock.advance(pause)
            tokens = min(tokens + pause * 10, 20)
            answered = sum(not guard.refusalOf(b"a", b"A", ReturnPath(CLIENT, US)) for _ in range(count))
            assert min(count, tokens) - 1.01 < answered < min(count, tokens) + 0.01
            tokens -= answered
        guard.stop()

    def test_manySpoofedSendersCostBoundedMemory(self) -> None:
        """At least ADDRESSES senders and REPLIES replies are remembered, and never more than twice as many."""
        for i in range(3 * max(ADDRESSES, REPLIES)):
            assert self.answers(sender=(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", 5000))
            assert len(self.guard._rates) <= 2 * ADDRESSES
            assert len(self.guard._replies) <= 2 * REPLIES
        assert len(self.guard._rates) >= ADDRESSES
        assert len(self.guard._replies) >= REPLIES

    def test_latestRepliesAreRecognised(self) -> None:
        """However many are sent within RETURN, the latest REPLIES replies are recognised."""
        self.patch(reflection, "REPLIES", 100)
        self.guard = ReflectionGuard(self.clock, 0)
        for count in (99, 100, 101, 207):
            datagrams = [b"A%d %d" % (count, i) for i in range(count)]
            assert all(map(self.answers, datagrams))
            assert not any(map(self.answers, datagrams[-100:]))

    def test_busyAddressIsRememberedBesideOthers(self) -> None:
        """An address that keeps sending isn't forgotten for others that come and go."""
        self.patch(reflection, "ADDRESSES", 10)
        self.guard = ReflectionGuard(self.clock, 10)
        answered = 0
        for i in range(40):
            answered += self.answers()
            for j in range(9):
                self.answers(sender=(f"10.0.{i}.{j}", 5000))
        assert 19 <= answered <= 20

    def test_memoryIsFreedAfterAFlood(self) -> None:
        """What a flood left is freed by the first datagram 2 BURST after it, or by two datagrams with BURST between."""
        for pauses in ((2 * BURST,), (BURST, BURST)):
            for i in range(1000):
                self.answers(sender=(f"10.0.{i >> 8}.{i & 255}", 5000))
            for pause in pauses:
                self.clock.advance(pause)
                self.answers()
            assert len(self.guard._rates) <= 2
            assert len(self.guard._replies) <= 2

    def test_refusalsAreLoggedOnceAMinute(self) -> None:
        """Refusals are logged at once, with sender and reason, then once a minute, and at the stop."""
        with capturedLogs() as events:
            self.answers(sender=("198.51.100.7", 53))
            assert [formatEvent(event) for event in events] == [
                "refused 1 datagram from 198.51.100.7:53: the source port is below 1024"
            ]
            for _ in range(1000):
                self.answers(sender=("2001:db8::7", 5000, 0, 0), asked=None)
            self.clock.advance(60)
            self.answers(sender=("ff02::1", 5000, 0, 0))
            self.guard.stop()
        assert [formatEvent(event) for event in events[1:]] == [
            "refused 1000 datagrams, the last from [2001:db8::7]:5000: it was sent to more than one host",
            "refused 1 datagram from [ff02::1]:5000: the source is not the address of one host",
        ]

    def test_refusedLinkLocalSenderIsLoggedWithInterface(self) -> None:
        """The log line names the interface of a link-local sender, which has the same address at every interface."""
        with capturedLogs() as events:
            self.answers(sender=("fe80::7", 5000, 0, if_nametoindex("lo")), asked=None)
        assert "from [fe80::7%lo]:5000:" in (formatEvent(events[0]) or "")

    def test_refusalIsLoggedWithItsReason(self) -> None:
        """The log line gives the reason of each kind of refusal."""
        host, port = CLIENT
        for ours, sender, asked, answered, reason in (
            (1, (host, 1023), US, 0, "the source port is below 1024"),
            (port, CLIENT, US, 0, "the source port is one of this daemon's"),
            (1, ("ff02::1", port, 0, 0), US, 0, "the source is not the address of one host"),
            (1, CLIENT, None, 0, "it was sent to more than one host"),
            (1, CLIENT, US, 2, "more than 1 a second from this address (--udp-rate)"),
        ):
            self.guard = ReflectionGuard(self.clock, 1)
            self.guard.ports.add(ours)
            with capturedLogs() as events:
                assert sum(self.answers(b"a%d" % i, sender, asked) for i in range(3)) == answered
                self.guard.stop()
            assert (formatEvent(events[0]) or "").endswith(f": {reason}"), reason
        self.guard = ReflectionGuard(self.clock, RATE)
        with capturedLogs() as events:
            assert [self.answers(b"A") for _ in range(2)] == [True, False]
            self.guard.stop()
        assert (formatEvent(events[0]) or "").endswith(": it is this daemon's own reply")


class ReturningTests(GuardTestCase):
    """Our own reply is recognised when it comes back; little else is taken for it."""

    def test_ownReplyIsRefused(self) -> None:
        """A reply that comes back is refused, whatever its bytes, also when it is empty."""
        for data in (b"hello", b"HELLO, WORLD", b"", b"0", b"\xe9" * 65_507):
            assert self.answers(data)
            assert not self.answers(data.upper())
            assert not self.answers(data.upper())

    def test_manyOwnRepliesAreRefusedInAnyOrder(self) -> None:
        """Each of many replies is recognised, in any order."""
        replies = [b"REPLY %d" % i for i in range(1000)]
        assert all(map(self.answers, replies))
        assert not any(map(self.answers, reversed(replies)))

    def test_repeatedLowercaseIsAnswered(self) -> None:
        """A client that repeats a datagram with a lowercase letter is answered every time."""
        assert all(self.answers(b"HELLO, WORLd") for _ in range(100))

    def test_repeatedUppercaseIsAnsweredOncePerReturn(self) -> None:
        """A client that repeats a datagram without a lowercase letter is answered at first, then once each RETURN."""
        answered = []
        for _ in range(30):
            answered.append(self.answers(b"HELLO"))
            self.clock.advance(RETURN / 10)
        assert sum(answered) == 3
        assert answered[0]

    def test_otherEndsAndBytesAreNoOwnReply(self) -> None:
        """The bytes of our reply are answered from another sender or to another address of ours; so are other bytes."""
        assert self.answers(b"HELLO")
        assert self.answers(b"HELLO", (CLIENT[0], CLIENT[1] + 1))
        assert self.answers(b"HELLO", ("198.51.100.8", CLIENT[1]))
        assert self.answers(b"HELLO", asked=("192.0.2.2", US[1]))
        assert self.answers(b"HELLO", asked=(US[0], US[1] + 1))
        assert self.answers(b"HELLO!")

    def test_ownReplyIsRecognisedUntilReturn(self) -> None:
        """Until RETURN each of the replies that are sent again and again is recognised."""
        for i in range(30):
            assert self.answers(b"A%d" % i)
            assert not any(self.answers(b"A%d" % j) for j in range(max(i - 3, 0), i + 1))
            self.clock.advance(RETURN * 0.3)

    def test_ownReplyIsForgottenAfterReturn(self) -> None:
        """After RETURN the same bytes are answered again."""
        assert self.answers(b"HELLO")
        self.clock.advance(RETURN)
        assert self.answers(b"HELLO")
