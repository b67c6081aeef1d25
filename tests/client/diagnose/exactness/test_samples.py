"""The payloads of the check `exact`."""

from unittest import TestCase

from echoup.client.diagnose.exactness.samples import SIZES, Kind, opening, samples, text
from tests.support.doubles import raised


class SampleTests(TestCase):
    """The payloads are what their names say."""

    def setUp(self) -> None:
        """Make them."""
        self.samples = samples("198.51.100.7")

    def named(self, name: str) -> bytes:
        """Return the payload whose name begins with `name`."""
        (found,) = (sample.data for sample in self.samples if sample.name.startswith(name))
        return found

    def test_allValuesOccur(self) -> None:
        """All byte values occur, line ends in all forms, and UTF-8 beside what isn't."""
        assert bytes(range(256)) in self.named("all 256")
        for end in (b"a\r\nb", b"b\nc", b"c\rd", b"\n\r", b"\r\n\r\n"):
            assert end in self.named("line ends")
        assert "😀".encode() in self.named("UTF-8")
        assert raised(UnicodeDecodeError, self.named("UTF-8").decode)

    def test_eachIsNewAndTellsAnEcho(self) -> None:
        """No payload is like that of another run, and in each of more than a byte upper case differs."""
        others = {sample.data for sample in samples("198.51.100.7") if len(sample.data) > 1}
        for sample in [*self.samples, opening()]:
            assert sample.data != sample.data.upper()
            assert sample.data not in others

    def test_piecesCoverThePayload(self) -> None:
        """The pieces are single bytes, or a burst of many small writes."""
        dribbled, burst = (sample for sample in self.samples if sample.kind is Kind.PIECES)
        assert set(dribbled.pieces) == {1}
        assert (sum(dribbled.pieces), sum(burst.pieces)) == (len(dribbled.data), len(burst.data))
        assert len(burst.pieces) == 200

    def test_lookalikesHaveOurAddressAndATwin(self) -> None:
        """A look-alike has our address, in which gateways take an interest, and random text of the same shape."""
        lookalikes = [sample for sample in self.samples if sample.kind is Kind.LOOKALIKE]
        assert {sample.protocol for sample in lookalikes} == {"HTTP", "SIP", "FTP"}
        assert b"PORT 198,51,100,7,200,21\r\n" in self.named("an FTP PORT")
        assert b"c=IN IP4 198.51.100.7\r\n" in self.named("a SIP INVITE")
        for sample in lookalikes:
            assert len(sample.twin) == len(sample.data)
            assert sample.twin.count(b"\r\n") == sample.data.count(b"\r\n")
            for word in (b"HTTP/1.", b"SIP/2.0", b"PORT ", b"227 Entering"):
                assert word not in sample.twin

    def test_addressOfVersion6IsLeftOutOfFTP(self) -> None:
        """FTP's PORT has an IPv4 address even where ours is none."""
        assert any(b"PORT 192,0,2,1," in sample.data for sample in samples("fd00::1"))

    def test_sizesAreExact(self) -> None:
        """The sizes are those that are asked for."""
        assert [len(sample.data) for sample in self.samples if sample.kind is Kind.SIZE] == [*SIZES]
        assert text(0) == b""
