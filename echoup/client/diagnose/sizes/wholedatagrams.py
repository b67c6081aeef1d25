"""How large a datagram may be that must not be cut into fragments: UDP with DF, to the byte."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from errno import EMSGSIZE
from typing import Any

from twisted.internet.task import deferLater

from echoup.client.diagnose.datagramsocket import DatagramSocket
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.sizes.narrowing import Bounds, letters, narrow
from echoup.client.exitcodes import PathError
from echoup.upper import upper

SMALL = 16
"""Bytes of the first datagram; the first so many bytes of each are what its answer is known by."""

ATTEMPTS = 3
"""How many times a datagram is sent before it counts as lost because of its size."""

PACE = 0.002
"""Seconds between two datagrams, so that they don't fill a buffer on the path."""

PATIENCE = 0.3
"""Seconds that an attempt has, at least."""


@dataclass(frozen=True)
class DatagramSizes:
    """What was found about the sizes of datagrams."""

    why: str = ""
    """Why nothing could be measured; empty if it was."""
    headers: int = 0
    """Bytes of the headers of IP and UDP in a packet."""
    bound: int = 0
    """The bytes of the largest datagram that our own interface takes."""
    largest: int = 0
    """The bytes of the largest that was answered."""
    isExact: bool = True
    """Whether one byte more wasn't answered, or can't be sent."""
    isAnnounced: bool = False
    """Whether the network said that some were too large (ICMP)."""

    @property
    def packet(self) -> int:
        """The bytes of the largest packet that was answered."""
        return self.largest + self.headers

    @property
    def isSilent(self) -> bool:
        """Whether the path takes less than our own interface, and no router says so."""
        return self.largest < self.bound and not self.isAnnounced

    @property
    def summary(self) -> str:
        """What was found, in words."""
        about = "" if self.isExact else "about "
        if self.isSilent:
            return f"UDP packets of more than {about}{self.packet} bytes vanish, and no router says so"
        limit = ", as a router says (ICMP)" if self.isAnnounced else ""
        return self.why or f"UDP: packets of {about}{self.packet} bytes{limit}"

    @property
    def figures(self) -> dict[str, Any] | None:
        """The same for programs."""
        if self.why:
            return None
        return {
            "largest": self.largest,
            "packet": self.packet,
            "interface": self.bound + self.headers,
            "isExact": self.isExact,
            "isAnnounced": self.isAnnounced,
        }


async def measureDatagrams(path: PathUnderTest) -> DatagramSizes:
    """Find the largest datagram that is answered; none of them may be cut into fragments."""
    try:
        opened = await path.openDatagrams(isWhole=True)
    except PathError as error:
        return DatagramSizes(f"UDP can't be sent: {error.reason}")
    with closing(opened):
        return await _Experiment(path, opened).run()


class _Experiment:
    """Datagrams of many sizes from one socket."""

    def __init__(self, path: PathUnderTest, opened: DatagramSocket) -> None:
        self._path, self._socket = path, opened
        self._beginnings: dict[bytes, int] = {}
        """The sizes of what was sent, by the beginning of the answer."""

    async def run(self) -> DatagramSizes:
        timeout, seconds = self._path.scope.timeout, self._path.clock.seconds
        began = seconds()
        if not (await self._try([SMALL], timeout / ATTEMPTS if self._path.isDatagram else min(timeout, PATIENCE)))[
            SMALL
        ]:
            isRefused = any(isinstance(error, ConnectionRefusedError) for error in self._socket.errors)
            return DatagramSizes("UDP is refused" if isRefused else "UDP isn't answered")
        wait = min(timeout, max(PATIENCE, 8 * (seconds() - began)))
        bound = self._bound()
        # When the largest isn't answered, it has all the time that a step has, before anything is said against it.
        for patience in (wait, timeout / ATTEMPTS):
            if not self._isAnnounced and (await self._try([bound], patience))[bound]:
                return DatagramSizes("", self._socket.headers, bound, bound)

        async def tryAll(sizes: Sequence[int]) -> dict[int, bool]:
            return await self._try(sizes, wait)

        if self._isAnnounced:
            announced = self._socket.mtu - self._socket.headers
            await tryAll([size for size in (announced, announced + 1) if SMALL < size < bound])
        bounds = Bounds(SMALL, bound).narrowed({size: size in self._answered for size in self._beginnings.values()})
        found = await narrow(bounds, tryAll) if bounds.passed < bounds.stuck else None
        largest = found.passed if found else max(self._answered)
        return DatagramSizes("", self._socket.headers, bound, largest, bool(found), self._isAnnounced)

    def _bound(self) -> int:
        """Return the size of the largest datagram that our interface takes; SMALL is one that it does."""
        taken, refused = SMALL, self._socket.largest + 1
        while refused - taken > 1:
            size = (taken + refused) // 2
            taken, refused = (size, refused) if self._send(size) else (taken, size)
        return taken

    async def _try(self, sizes: Sequence[int], wait: float) -> dict[int, bool]:
        """Send a datagram of each size, up to ATTEMPTS times, until it is answered; each has `wait` seconds.

        An error ends the wait for a single one.
        """
        for _ in range(ATTEMPTS):
            missing = sorted({*sizes} - self._answered)
            errors = len(self._socket.errors)
            for size in missing:
                self._send(size)
                await deferLater(self._path.clock, PACE)

            def isOver(errors: int = errors, isOne: bool = len(missing) == 1) -> bool:
                return self._answered.issuperset(sizes) or (isOne and len(self._socket.errors) > errors)

            await self._socket.wait(isOver, wait)
            if self._answered.issuperset(sizes):
                break
        return {size: size in self._answered for size in sizes}

    def _send(self, size: int) -> bool:
        """Send a datagram; return whether our own interface takes it."""
        data = letters(size)
        self._beginnings[upper(data[:SMALL])] = size
        refusal: OSError | None = None
        for _ in range(2):
            try:
                self._socket.send(data)
            except OSError as error:
                refusal = error
            else:
                if refusal:  # it was about an earlier one
                    self._socket.errors.append(refusal)
                return True
        return not refusal or refusal.errno != EMSGSIZE

    @property
    def _answered(self) -> set[int]:
        """The sizes that were answered; what a server has changed or cut counts, too."""
        beginnings = (upper(arrival.data[:SMALL]) for arrival in self._socket.arrivals)
        return {self._beginnings[each] for each in beginnings if each in self._beginnings}

    @property
    def _isAnnounced(self) -> bool:
        """Whether the network said that a datagram was too large."""
        return any(error.errno == EMSGSIZE for error in self._socket.errors)
