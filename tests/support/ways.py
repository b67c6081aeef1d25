"""A client on every kind of path to the daemon: with or without TLS, with or without a PROXY header."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from socket import IPPROTO_TCP, SHUT_WR, TCP_NODELAY
from ssl import SSLContext

from twisted.internet.address import IPv4Address

from echoup.proxyheader import encodeProxyHeader
from tests.support.addresses import Address, receiveAll
from tests.support.tls import CLOSE_NOTIFY, CLOSE_NOTIFY_AND_FIN, FIN, TLSConnection

SOURCE = IPv4Address("TCP", "192.0.2.1", 4242)
HEADERS = {f"PROXY v{version}": encodeProxyHeader(version, SOURCE, SOURCE) for version in (1, 2)}


@dataclass(frozen=True)
class Way:
    """A path to the daemon, and the way in which the client ends its side."""

    address: Address
    context: SSLContext | None = None
    end: str = CLOSE_NOTIFY_AND_FIN

    def exchange(self, data: bytes, late: bool = False, together: bool = False) -> bytes:
        """Send `data`, then the end, and return the echo; read at once, or `late`, when no more can be sent.

        A header and the last part of a handshake are sent `together` with what follows, or before it.
        """
        with self.address.connect() as connection:
            if self.address.header and not together:
                connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # sends the header, which waits (MSG_MORE)
            tls = TLSConnection(connection, self.context, together) if self.context else None
            wire = tls.seal(data, self.end) if tls else data
            sent = threading.Event()

            def send() -> None:
                with suppress(OSError):  # the connection is broken: its echo is short, or reading raises it too
                    connection.sendall(wire)
                    if FIN in self.end:
                        connection.shutdown(SHUT_WR)
                sent.set()

            sending = threading.Thread(target=send)
            sending.start()
            if late:
                # More than all buffers hold can't be sent before it is read.
                sent.wait(0.2)
                time.sleep(0.02)
            received = tls.receiveAll() if tls else receiveAll(connection)
            sending.join()
            assert not tls or tls.ended == CLOSE_NOTIFY
        return received
