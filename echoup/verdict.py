"""The judgement on a reply, which tells what happened on the path."""

from collections import deque
from enum import Enum

from echoup.escaping import printable
from echoup.plurals import counted
from echoup.upper import upper

SHOWN = 8
"""Bytes from the first wrong one on that are shown, and as many of those in their place."""

START = 24
"""Bytes at the beginning of a reply that are shown if the first of them is wrong."""

_TLS_ALERT = b"\x15\x03"
"""A record of type 21 and a version 3.x (RFC 8446, 5.1); GnuTLS, for one, sends it to clients that speak no TLS."""


class Verdict(Enum):
    """What happened to the bytes that were sent; the values are the words that users read."""

    UPPERCASED = "uppercased"
    """Everything came back, in upper case: the application answered."""
    UNCHANGED = "unchanged"
    """The bytes came back as they were sent: something in between answered."""
    CORRUPTED = "corrupted"
    """The bytes that came back are neither: something altered them, or added some."""
    SHORT = "short"
    """The bytes that came back are right, but some are missing: something cut them."""


class Reply:
    """Compares the bytes that come back with those that were sent, while both streams grow.

    Only bytes that were sent and have not come back yet are kept in memory.
    """

    sent = 0
    """Bytes sent."""

    received = 0
    """Bytes that came back."""

    wrongAt: int | None = None
    """The offset of the first byte that isn't the upper case of the one sent."""

    start = b""
    """The first bytes that came back, START at most."""

    got = b""
    """The bytes from `wrongAt` on, SHOWN at most."""

    expected = b""
    """What should have come in their place; fewer if that was not sent."""

    def __init__(self) -> None:
        self._pending: deque[memoryview] = deque()
        self._unchanged = True

    @property
    def outstanding(self) -> int:
        """Bytes that have yet to come back."""
        return max(0, self.sent - self.received)

    @property
    def verdict(self) -> Verdict:
        """The judgement, supposing that nothing more comes."""
        if self.wrongAt is not None:
            return Verdict.UNCHANGED if self._unchanged else Verdict.CORRUPTED
        return Verdict.SHORT if self.outstanding else Verdict.UPPERCASED

    def __str__(self) -> str:
        """Return the verdict and its evidence in one line."""
        return f"{self.verdict.value}: {self.evidence}"

    @property
    def evidence(self) -> str:
        """What the verdict follows from, in words."""
        if self.verdict is Verdict.UNCHANGED:
            return "the bytes came back as they were sent, so something in between answered"
        if self.wrongAt is None:
            return f"{self.received} of {self.sent} bytes came back"
        if self.wrongAt >= self.sent:
            return f"more came back than was sent: {counted(self.received, 'byte')} for {self.sent}{self._hint}"
        why = f"byte {self.wrongAt} of the reply is not the upper case of the one sent"
        expected = f'expected "{printable(self.expected)}"'
        if self.wrongAt:
            return f'{why}: {expected}, got "{printable(self.got)}"'
        return f"{why}{self._hint}" if self._isAlert else f"{why}{self._hint}, {expected}"

    @property
    def _hint(self) -> str:
        """What the start of a wrong reply tells about the program that answered; empty if its first byte is right."""
        if self.wrongAt:
            return ""
        if self._isAlert:
            return "; it is a TLS alert, so the server speaks TLS and may expect --tls"
        return f'; it begins with "{printable(self.start)}"'

    @property
    def _isAlert(self) -> bool:
        return self.start.startswith(_TLS_ALERT)

    def send(self, data: bytes) -> None:
        """Record that `data` is sent."""
        if data:
            self.sent += len(data)
            self._pending.append(memoryview(data))

    def receive(self, data: bytes) -> None:
        """Judge `data`, the next bytes that came back."""
        original = self._take(len(data))
        expected = upper(original)
        if self.wrongAt is None:
            if data != expected:
                different = firstDifference(data, expected)
                self.wrongAt = self.received + different
                self._show(data[different:], expected[different:])
        elif len(self.got) < SHOWN:
            self._show(data, expected)
        if data != original:
            self._unchanged = False
        self.start += data[: START - len(self.start)]
        self.received += len(data)

    def _show(self, data: bytes, expected: bytes) -> None:
        """Keep the first wrong bytes, and those expected in their place as long as the two are side by side."""
        if len(self.expected) == len(self.got):
            self.expected += expected[: SHOWN - len(self.expected)]
        self.got += data[: SHOWN - len(self.got)]

    def _take(self, size: int) -> bytes:
        """Remove and return the next `size` pending bytes, or all if there are fewer."""
        taken = []
        while size and self._pending:
            chunk = self._pending.popleft()
            if len(chunk) > size:
                self._pending.appendleft(chunk[size:])
                chunk = chunk[:size]
            taken.append(chunk)
            size -= len(chunk)
        return b"".join(taken)


def firstDifference(data: bytes, expected: bytes) -> int:
    """Return the first offset at which two different byte strings differ."""
    common = min(len(data), len(expected))
    return next((i for i in range(common) if data[i] != expected[i]), common)
