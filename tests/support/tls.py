"""A TLS client for tests that decide what is sent and when, and how late it reads.

`SSLSocket.unwrap` can't receive what comes after its own close_notify, so this keeps the records in memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import AF_UNIX, IPPROTO_TCP, TCP_NODELAY, socket
from ssl import MemoryBIO, SSLContext, SSLSession, SSLWantReadError, SSLZeroReturnError
from typing import Self

from tests.support.addresses import Address, endSending

CLOSE_NOTIFY, CLOSE_NOTIFY_AND_FIN, FIN = "close_notify", "close_notify and FIN", "FIN"
ENDS = (CLOSE_NOTIFY, CLOSE_NOTIFY_AND_FIN, FIN)
"""The ways in which a client ends its side."""


def speaking(folder: Path, version: str) -> dict[str, str]:
    """Return an environment whose OpenSSL speaks nothing above `version` of TLS."""
    path = folder / "openssl.cnf"
    sections = ("openssl_conf=init", "[init]", "ssl_conf=ssl", "[ssl]", "system_default=tls", "[tls]")
    path.write_text("\n".join((*sections, f"MaxProtocol={version}", "")))
    return {"OPENSSL_CONF": str(path)}


class TLSConnection:
    """A connection that has completed its handshake."""

    ended = ""
    """How the server ended its side, if it has: CLOSE_NOTIFY or FIN."""

    def __init__(
        self, connection: socket, context: SSLContext, together: bool = False, session: SSLSession | None = None
    ) -> None:
        """The end of the handshake, if it is ours, is sent with the stream's beginning if `together`."""
        self.socket = connection
        self._together = together
        if not together and connection.family != AF_UNIX:
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # what follows would wait for an acknowledgement
        self._incoming, self._outgoing = MemoryBIO(), MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost", session=session)
        while not self._shakeHands():
            if not (received := connection.recv(65536)):
                raise ConnectionError("the server ended the connection during the handshake")
            self._incoming.write(received)

    @classmethod
    @contextmanager
    def to(cls, address: Address, context: SSLContext, timeout: float = 30.0, receiveBuffer: int = 0) -> Iterator[Self]:
        """Connect to `address`."""
        with address.connect(timeout, receiveBuffer) as connection:
            yield cls(connection, context)

    def _shakeHands(self) -> bool:
        isDone = False
        try:
            self.tls.do_handshake()
            isDone = True
        except SSLWantReadError:
            pass
        finally:
            if not (isDone and self._together):  # `seal` returns it then
                # Also the alert when it fails.
                self.socket.sendall(self._outgoing.read())
        return isDone

    def seal(self, data: bytes, end: str = "") -> bytes:
        """Return the records that carry `data`, and our close_notify if it is part of `end`, one of ENDS."""
        if data:
            self.tls.write(data)
        if CLOSE_NOTIFY in end:
            with suppress(SSLWantReadError):
                self.tls.unwrap()
        return self._outgoing.read()

    def finish(self, data: bytes = b"", end: str = CLOSE_NOTIFY_AND_FIN) -> None:
        """Send `data` and our end, one of ENDS."""
        self.socket.sendall(self.seal(data, end))
        if FIN in end:
            endSending(self.socket)

    def receive(self) -> bytes:
        """Return some received bytes; empty bytes at the end."""
        while not self.ended:
            try:
                if data := self.tls.read(2**20):
                    return data
                self.ended = CLOSE_NOTIFY
            except SSLZeroReturnError:  # the same end, after our own
                self.ended = CLOSE_NOTIFY
            except SSLWantReadError:
                if received := self.socket.recv(2**20):
                    self._incoming.write(received)
                else:
                    self.ended = FIN
        return b""

    def ask(self, data: bytes) -> bytes:
        """Send `data`, and return the same number of received bytes, or fewer at the end."""
        self.socket.sendall(self.seal(data))
        received = b""
        while len(received) < len(data) and (more := self.receive()):
            received += more
        return received

    def receiveAll(self) -> bytes:
        """Return all bytes up to the end."""
        return b"".join(iter(self.receive, b""))
