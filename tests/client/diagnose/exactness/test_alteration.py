"""What was done to a reply."""

from unittest import TestCase

from echoup.client.diagnose.exactness import alteration
from echoup.client.diagnose.exactness.alteration import findAlteration
from tests.support.properties import given, st

SENT = b"one\r\ntwo\nthree\rfour\0five\xff\xffsix \xc3\xa9\xe9 \xff\xfd\x01 end"


class AlterationTests(TestCase):
    """Known conversions have a name, and every wrong reply has an offset."""

    def test_rightReplyHasNone(self) -> None:
        """A reply that is right, or the beginning of a right one, has no alteration."""
        for size in (0, 1, 10, len(SENT)):
            assert findAlteration(SENT, SENT.upper()[:size]) is None

    def test_conversionsAreNamed(self) -> None:
        """A conversion is named, on the way there, on the way back and on both, and so is its beginning."""
        for cause, words, convert in alteration._CONVERSIONS:
            for received in (convert(SENT).upper(), convert(SENT.upper()), convert(convert(SENT).upper())):
                expected = SENT.upper()
                if received == expected:
                    continue
                for reply in (received, received[:-1]):
                    found = findAlteration(SENT, reply)
                    if found is None:
                        continue
                    assert found.cause in (cause, alteration.CONTROLS, alteration.ENCODING, alteration.CASE), words
                    assert reply[: found.offset] == expected[: found.offset]

    def test_commonConversionsHaveTheirWords(self) -> None:
        """The conversions that people meet are told apart."""
        right = SENT.upper()
        for cause, words, received in (
            (alteration.LINE_ENDS, "CR LF became LF", right.replace(b"\r\n", b"\n")),
            (alteration.LINE_ENDS, "LF without CR became CR LF", right.replace(b"TWO\n", b"TWO\r\n")),
            (alteration.LINE_ENDS, "every CR was dropped", right.replace(b"\r", b"")),
            (alteration.EIGHTH_BIT, "the 8th bit of each byte was cleared", bytes(byte & 127 for byte in right)),
            (alteration.CONTROLS, "NUL was dropped", right.replace(b"\0", b"")),
            (alteration.TELNET, "IAC (0xFF) was doubled", right.replace(b"\xff", b"\xff\xff")),
            (alteration.TELNET, "two IAC (0xFF) became one", right.replace(b"\xff\xff", b"\xff")),
            (alteration.ENCODING, "what isn't UTF-8 became U+FFFD", right.decode(errors="replace").encode()),
            (alteration.CASE, "the reply is in lower case", right.lower()),
            (alteration.ADDED, "4 bytes came first that nobody sent", b"HI\r\n" + right),
            (alteration.ADDED, "1 byte followed that nobody sent", right + b"\n"),
            (alteration.UNKNOWN, "changed", right.replace(b"TWO", b"SIX")),
        ):
            found = findAlteration(SENT, received)
            assert found
            assert (found.cause, found.words) == (cause, words)

    def test_twoWaysAreNamed(self) -> None:
        """Different conversions of line ends in the two directions are both named."""
        found = findAlteration(SENT, SENT.upper().replace(b"\r", b"").replace(b"\n", b"\r\n"))
        assert found
        assert found.words == "every CR was dropped on the way there, LF became CR LF on the way back"

    def test_evidenceSurroundsTheFirstWrongByte(self) -> None:
        """The evidence has the offset, and both versions of the bytes around it, escaped."""
        found = findAlteration(b"a" * 100 + b"\r\nb", b"A" * 100 + b"\x1bB")
        assert found
        assert found.evidence == r'from byte 100: expected "AAAA\r\nB", received "AAAA\x1bB"'

    def test_largeRepliesAreJudgedByTheirFirstFault(self) -> None:
        """In a large reply, too, the conversion is named."""
        sent = b"a" * 100_000 + b"\r\n" * 50_000
        found = findAlteration(sent, sent.upper().replace(b"\r\n", b"\n"))
        assert found
        assert (found.words, found.offset) == ("CR LF became LF", 100_000)

    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_offsetIsThatOfTheFirstDifference(self, sent: bytes, received: bytes) -> None:
        """Whatever came, the offset is that of the first byte that isn't right."""
        found = findAlteration(sent, received)
        expected = sent.upper()
        assert (found is None) == expected.startswith(received)
        if found:
            assert expected[: found.offset] == received[: found.offset]
            assert expected[found.offset : found.offset + 1] != received[found.offset : found.offset + 1]
