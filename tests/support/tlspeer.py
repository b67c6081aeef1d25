"""The standard library's TLS at the far end of a connection, or at both ends of one in memory."""

import contextlib  # trial would take a global `suppress` as its own
import ssl
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from tests.support.doubles import Peer

T = TypeVar("T")


class TLSPeer:
    """TLS at the far end of a connection; the test decides what is sent and when."""

    def __init__(
        self, peer: Peer, context: ssl.SSLContext, isServer: bool = False, name: str | None = "localhost"
    ) -> None:
        """A client asks for `name`."""
        self.peer = peer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        asked = None if isServer else name
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=isServer, server_hostname=asked)

    def seal(self, data: bytes = b"", isEnd: bool = False) -> bytes:
        """Return all records that wait to be sent, then those of `data`, then a close_notify if `isEnd`."""
        if data:
            self.tls.write(data)
        if isEnd:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
        return self._outgoing.read()

    def offer(self, data: bytes = b"", isEnd: bool = False) -> None:
        """Send what `seal` returns."""
        self.peer.offer(self.seal(data, isEnd))

    def end(self) -> None:
        """Send a close_notify."""
        self.offer(isEnd=True)

    def do(self, call: Callable[[], T]) -> T:
        """Return the result of `call` once it need not wait for the other side; its last records wait to be sent."""
        results = []

        def done() -> bool:
            try:
                results.append(call())
            except ssl.SSLWantReadError:
                self.offer()
                self._fetch()
                return False
            return True

        self.peer.reactor.until(done)
        return results[0]

    def flight(self) -> bytes:
        """Return the next records of the handshake when those that they answer have come; nothing after its end."""
        flights = []

        def said() -> bool:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                if flight := self.seal():
                    flights.append(flight)
                    return True
                self._fetch()
                return False
            flights.append(self.seal())
            return True

        self.peer.reactor.until(said)
        return flights[0]

    def shakeHands(self) -> None:
        """Complete the handshake; if it fails, send the alert and raise ssl.SSLError."""
        try:
            self.do(self.tls.do_handshake)
        finally:
            self.offer()

    def receive(self, size: int) -> bytes:
        """Return the next `size` bytes, or those that come before the end, which is a close_notify."""
        data = bytearray()

        def read() -> bytes:
            return self.tls.read(min(2**16, size - len(data)))

        with contextlib.suppress(ssl.SSLZeroReturnError):  # the same end, after our own
            while len(data) < size and (piece := self.do(read)):
                data += piece
        return bytes(data)

    def receiveAll(self) -> bytes:
        """Return all bytes before the close_notify, and check that a FIN follows it."""
        data = self.receive(2**40)
        assert self.peer.receiveAll() == b""
        return data

    def _fetch(self) -> None:
        """Read what has arrived."""
        if (data := self.peer.take(2**20)) is None:
            return
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


def connectInMemory(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    name: str = "localhost",
    session: ssl.SSLSession | None = None,
    BIOs: tuple[ssl.MemoryBIO, ssl.MemoryBIO] | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return both ends of a connection, the client's first; raise ssl.SSLError if their handshake fails.

    Each can read at once what the other writes. The client asks for `name`, and to resume `session`. `BIOs` are those
    that the server and the client read from.
    """
    upwards, downwards = BIOs or (ssl.MemoryBIO(), ssl.MemoryBIO())
    ends = (
        client.wrap_bio(downwards, upwards, server_hostname=name, session=session),
        server.wrap_bio(upwards, downwards, server_side=True),
    )
    steps: list[Callable[[], object]] = [end.do_handshake for end in ends + ends]
    # In TLS 1.3: what comes after the handshake, or the alert.
    steps += [partial(end.read, 1) for end in reversed(ends)]
    for step in steps:
        with contextlib.suppress(ssl.SSLWantReadError):
            step()
    return ends
