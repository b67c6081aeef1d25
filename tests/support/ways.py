"""Ways to the daemon, and a client that goes them: in clear, through TLS, and with a PROXY header before either."""

import threading
import time
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
    """A way to the daemon, and how a client ends its side on it."""

    address: Address
    context: SSLContext | None = None
    end: str = CLOSE_NOTIFY_AND_FIN

    def exchange(self, data: bytes, late: bool = False, together: bool = False) -> bytes:
        """Send `data`, then the end, and return what comes back, reading at once or only when no more can be sent.

        What there is of a header and of a handshake goes `together` with what follows it, or before it.
        """
        with self.address.connect() as connection:
            if self.address.header and not together:
                connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # which sends what waits
            tls = TLSConnection(connection, self.context, together) if self.context else None
            wire = tls.seal(data, self.end) if tls else data
            sent = threading.Event()

            def send() -> None:
                connection.sendall(wire)
                if FIN in self.end:
                    connection.shutdown(SHUT_WR)
                sent.set()

            sending = threading.Thread(target=send)
            sending.start()
            if late:
                # What is too much for all buffers together can't be sent until somebody reads.
                sent.wait(0.2)
                time.sleep(0.02)
            received = tls.receiveAll() if tls else receiveAll(connection)
            sending.join()
            assert not tls or tls.ended == CLOSE_NOTIFY
        return received
