"""The bytes that a probe sends."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.ping.payload import makePayload
from echoup.upper import upper


class PayloadTests(SynchronousTestCase):
    """`makePayload` makes text that only an echo service can answer."""

    def test_payloadIsLineOfText(self) -> None:
        """It has the given size, is one line of ASCII, and differs from its answer in the first byte."""
        for size in [*range(1, 100), 2**20]:
            data = makePayload(size)
            assert len(data) == size
            assert data.isascii()
            assert data[0] != upper(data)[0]
            assert data.count(b"\n") == data.endswith(b"\n") == (size > 1)
            assert data.rstrip(b"\n").decode().isprintable()

    def test_payloadIsNewEachTime(self) -> None:
        """It's another one each time, made of all letters."""
        payloads = [makePayload(20) for _ in range(1000)]
        assert len(set(payloads)) == 1000
        assert len(set(b"".join(payloads))) == 65
        assert {makePayload(1) for _ in range(1000)} == {bytes([letter]) for letter in range(97, 123)}
