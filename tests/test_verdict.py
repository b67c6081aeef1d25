"""A reply is judged by its bytes alone, however they were split."""

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from echoup.upper import upper
from echoup.verdict import Reply, Verdict
from tests.support.properties import given, st

STREAMS = st.binary(max_size=200) | st.text("abyzAZ\n", max_size=200).map(str.encode)


@st.composite
def splits(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Draw a way to split `data`, with empty pieces too."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def replies(draw: st.DrawFn, sent: bytes, received: bytes) -> Reply:
    """Draw the Reply to `sent` when `received` came back, in any pieces, as soon as it could or later."""
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
    """`Reply` finds out what became of the bytes that were sent."""

    def assertWrongAt(self, offset: int, reply: Reply) -> None:
        """Check that `reply` is neither right nor an echo, from `offset` on."""
        assert (reply.verdict, reply.wrongAt) == (Verdict.CORRUPTED, offset)
        assert f"byte {offset} of the reply" in str(reply)

    def test_nothing(self) -> None:
        """Where nothing was sent and nothing came, all is well."""
        assert str(Reply()) == "uppercased: 0 of 0 bytes came back"

    @given(st.data(), STREAMS)
    def test_uppercased(self, data: st.DataObject, sent: bytes) -> None:
        """The upper case of all that was sent is right, and nothing is outstanding."""
        reply = data.draw(replies(sent, upper(sent)))
        assert (reply.verdict, reply.wrongAt, reply.outstanding) == (Verdict.UPPERCASED, None, 0)
        assert str(reply) == f"uppercased: {len(sent)} of {len(sent)} bytes came back"

    @given(st.data(), STREAMS, STREAMS)
    def test_short(self, data: st.DataObject, start: bytes, rest: bytes) -> None:
        """The upper case of only a part is short by the rest."""
        reply = data.draw(replies(start + b"x" + rest, upper(start)))
        assert (reply.verdict, reply.wrongAt, reply.outstanding) == (Verdict.SHORT, None, 1 + len(rest))
        assert str(reply) == f"short: {len(start)} of {len(start) + 1 + len(rest)} bytes came back"

    @given(st.data(), STREAMS, STREAMS, STREAMS)
    def test_unchanged(self, data: st.DataObject, start: bytes, returned: bytes, rest: bytes) -> None:
        """What came back as it was sent is unchanged, whether or not all of it came."""
        start = upper(start)
        reply = data.draw(replies(start + b"x" + returned + rest, start + b"x" + returned))
        assert (reply.verdict, reply.wrongAt) == (Verdict.UNCHANGED, len(start))
        assert len(str(reply).splitlines()) == 1

    @given(st.data(), STREAMS, STREAMS, st.integers(0, 255))
    def test_corrupted(self, data: st.DataObject, start: bytes, rest: bytes, wrong: int) -> None:
        """A byte that is neither the one sent nor its upper case is found, whatever follows it."""
        byte = bytes([wrong])
        sent = b"n" if wrong in b"mM" else b"m"
        self.assertWrongAt(len(start), data.draw(replies(start + sent + rest, upper(start) + byte + upper(rest))))

    @given(st.data(), STREAMS)
    def test_partlyUnchanged(self, data: st.DataObject, start: bytes) -> None:
        """An echo of which one byte is in upper case is no echo."""
        sent = upper(start) + b"xy"
        self.assertWrongAt(len(start), data.draw(replies(sent, upper(start) + b"xY")))

    @given(st.data(), STREAMS, STREAMS)
    def test_extra(self, data: st.DataObject, sent: bytes, extra: bytes) -> None:
        """Bytes that come back after all that was sent are wrong from the first of them on, and called too many."""
        reply = data.draw(replies(sent, upper(sent) + b"X" + extra))
        assert (reply.verdict, reply.wrongAt) == (Verdict.CORRUPTED, len(sent))
        message = f"corrupted: more came back than was sent: {reply.received} bytes for {len(sent)}"
        assert str(reply).partition("; it begins")[0] == message

    def test_extraAfterWrong(self) -> None:
        """Where already what was sent came back wrong, that is told, however much comes after it."""
        reply = Reply()
        reply.send(b"abc")
        reply.receive(b"AXCDE")
        self.assertWrongAt(1, reply)

    def test_unsent(self) -> None:
        """Where nothing was sent, it's told how the reply begins."""
        reply = Reply()
        reply.receive(b"220 hi\n")
        message = 'more came back than was sent: 7 bytes for 0; it begins with "220 hi\\n"'
        assert str(reply) == f"corrupted: {message}"

    def test_unasked(self) -> None:
        """Bytes that come before any were sent are wrong, and stay so."""
        reply = Reply()
        reply.receive(b"A")
        reply.send(b"a")
        self.assertWrongAt(0, reply)
        assert reply.outstanding == 0

    def test_memory(self) -> None:
        """Nothing of what has come back stays in memory."""
        reply = Reply()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(32):
            reply.send(b"x" * 2**20)
            reply.receive(b"X" * 2**20)
        assert tracemalloc.get_traced_memory()[0] - before < 2**20
        assert reply.received == 32 * 2**20
