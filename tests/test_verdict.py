"""A reply is judged by its bytes, however they are split."""

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from echoup.escaping import printable
from echoup.upper import upper
from echoup.verdict import SHOWN, Reply, Verdict
from tests.support.properties import given, st

STREAMS = st.binary(max_size=200) | st.text("abyzAZ\n", max_size=200).map(str.encode)


@st.composite
def splits(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Draw a way to split `data`, with empty pieces too."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def replies(draw: st.DrawFn, sent: bytes, received: bytes) -> Reply:
    """Draw the Reply to `sent` when `received` came back, in any pieces, as soon as possible or later."""
    reply = Reply()
    outgoing = draw(splits(sent))
    incoming = draw(splits(received))
    promptly = draw(st.booleans())
    while incoming:
        due = min(reply.received + len(incoming[0]), len(sent)) if promptly else len(sent)
        while reply.sent < due:
            reply.send(outgoing.pop(0))
        reply.receive(incoming.pop(0))
    for chunk in outgoing:
        reply.send(chunk)
    return reply


class ReplyTests(SynchronousTestCase):
    """`Reply` tells what happened to the bytes that were sent."""

    def assertWrongAt(self, offset: int, reply: Reply) -> None:
        """Check that `reply` is corrupted, at `offset` first."""
        assert (reply.verdict, reply.wrongAt) == (Verdict.CORRUPTED, offset)
        assert f"byte {offset} of the reply" in str(reply)

    def test_nothingSentIsUppercased(self) -> None:
        """If nothing was sent and nothing came, the verdict is uppercased."""
        assert str(Reply()) == "uppercased: 0 of 0 bytes came back"

    @given(st.data(), STREAMS)
    def test_upperCaseOfEverythingIsUppercased(self, data: st.DataObject, sent: bytes) -> None:
        """The upper case of everything that was sent is right, and nothing is outstanding."""
        reply = data.draw(replies(sent, upper(sent)))
        assert (reply.verdict, reply.wrongAt, reply.outstanding) == (Verdict.UPPERCASED, None, 0)
        assert str(reply) == f"uppercased: {len(sent)} of {len(sent)} bytes came back"

    @given(st.data(), STREAMS, STREAMS)
    def test_upperCaseOfAPartIsShort(self, data: st.DataObject, start: bytes, rest: bytes) -> None:
        """The upper case of a part is short by the rest."""
        reply = data.draw(replies(start + b"x" + rest, upper(start)))
        assert (reply.verdict, reply.wrongAt, reply.outstanding) == (Verdict.SHORT, None, 1 + len(rest))
        assert str(reply) == f"short: {len(start)} of {len(start) + 1 + len(rest)} bytes came back"

    @given(st.data(), STREAMS, STREAMS, STREAMS)
    def test_sentBytesAreUnchanged(self, data: st.DataObject, start: bytes, returned: bytes, rest: bytes) -> None:
        """Bytes that came back as they were sent are unchanged, whether or not all of them came."""
        start = upper(start)
        reply = data.draw(replies(start + b"x" + returned + rest, start + b"x" + returned))
        assert (reply.verdict, reply.wrongAt) == (Verdict.UNCHANGED, len(start))
        assert len(str(reply).splitlines()) == 1

    @given(st.data(), STREAMS, STREAMS, st.integers(0, 255))
    def test_otherByteIsCorrupted(self, data: st.DataObject, start: bytes, rest: bytes, wrong: int) -> None:
        """A byte that is neither the one sent nor its upper case is corrupted, whatever follows it."""
        byte = bytes([wrong])
        sent = b"n" if wrong in b"mM" else b"m"
        self.assertWrongAt(len(start), data.draw(replies(start + sent + rest, upper(start) + byte + upper(rest))))

    @given(st.data(), STREAMS)
    def test_partlyUnchangedIsCorrupted(self, data: st.DataObject, start: bytes) -> None:
        """Bytes of which some came back unchanged and one in upper case are corrupted."""
        sent = upper(start) + b"xy"
        self.assertWrongAt(len(start), data.draw(replies(sent, upper(start) + b"xY")))

    @given(st.data(), STREAMS, STREAMS)
    def test_extraBytesAreCorrupted(self, data: st.DataObject, sent: bytes, extra: bytes) -> None:
        """Bytes that come back after everything that was sent are wrong from the first on, and called too many."""
        reply = data.draw(replies(sent, upper(sent) + b"X" + extra))
        assert (reply.verdict, reply.wrongAt) == (Verdict.CORRUPTED, len(sent))
        size = "1 byte" if reply.received == 1 else f"{reply.received} bytes"
        message = f"corrupted: more came back than was sent: {size} for {len(sent)}"
        assert str(reply).partition("; it begins")[0] == message

    @given(st.data(), STREAMS, STREAMS)
    def test_wrongBytesAreShownBesideExpected(self, data: st.DataObject, start: bytes, rest: bytes) -> None:
        """The first wrong bytes are kept, and as many of those in their place; in any pieces, and never more."""
        sent, received = start + b"m" + rest, upper(start) + b"?" + rest
        reply = data.draw(replies(sent, received))
        assert (reply.expected, reply.got) == (upper(b"m" + rest)[:SHOWN], (b"?" + rest)[:SHOWN])
        assert printable(reply.expected) in str(reply)
        assert len(str(reply).splitlines()) == 1

    def test_fewBytesAreShown(self) -> None:
        """The message has some bytes from the wrong one on; if that is the first, those at the reply's start."""
        for start, message in (
            (b"", 'sent; it begins with "X\\x1bllo \\xff 0123456789abcdef", expected "HELLO \\xff "'),
            (b"12", 'sent: expected "HELLO \\xff ", got "X\\x1bllo \\xff "'),
        ):
            reply = Reply()
            reply.send(start + b"hello \xff 0123456789abcdefghij")
            reply.receive(start + b"X\x1bllo \xff 0123456789abcdefghij")
            assert str(reply).endswith(message)

    def test_alertIsToldAlone(self) -> None:
        """A TLS alert is told as such; the expected bytes would say nothing more."""
        reply = Reply()
        reply.send(b"hello")
        reply.receive(b"\x15\3\3\0\2\2\x0a")
        assert str(reply).endswith("; it is a TLS alert, so the server speaks TLS and may expect --tls")

    def test_expectedIsOnlyWhatWasSent(self) -> None:
        """Bytes that were sent after the wrong ones had come aren't shown in their place."""
        reply = Reply()
        reply.receive(b"AB")
        reply.send(b"cdefgh")
        reply.receive(b"EF")
        assert (reply.expected, reply.got) == (b"", b"ABEF")

    def test_wrongByteIsToldBeforeExtraBytes(self) -> None:
        """If a byte that was sent came back wrong, that is told, however many extra bytes follow."""
        reply = Reply()
        reply.send(b"abc")
        reply.receive(b"AXCDE")
        self.assertWrongAt(1, reply)

    def test_beginningOfAnUnaskedReplyIsShown(self) -> None:
        """If nothing was sent, the message shows how the reply begins."""
        reply = Reply()
        reply.receive(b"220 hi\n")
        message = 'more came back than was sent: 7 bytes for 0; it begins with "220 hi\\n"'
        assert str(reply) == f"corrupted: {message}"

    def test_bytesBeforeTheRequestStayWrong(self) -> None:
        """Bytes that come before any were sent are wrong, also after the same are sent."""
        reply = Reply()
        reply.receive(b"A")
        reply.send(b"a")
        self.assertWrongAt(0, reply)
        assert reply.outstanding == 0

    def test_returnedBytesAreFreed(self) -> None:
        """Bytes that have come back don't stay in memory."""
        reply = Reply()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(32):
            reply.send(b"x" * 2**20)
            reply.receive(b"X" * 2**20)
        assert tracemalloc.get_traced_memory()[0] - before < 2**20
        assert reply.received == 32 * 2**20
