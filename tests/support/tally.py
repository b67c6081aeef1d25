"""What clients count of their sessions, by the series of the metrics that should say the same."""

from collections import Counter
from threading import Lock

from tests.support.status import Series


class Tally:
    """The counts of all clients together."""

    def __init__(self) -> None:
        self.counts: Counter[Series] = Counter()
        self.most: Counter[str] = Counter()
        """By listener, the bytes of which the daemon need not have read all."""
        self._lock = Lock()

    def add(self, name: str, number: int = 1, **labels: str) -> None:
        """Count `number` more in a series, whose name is `name` without what all names begin and end with."""
        with self._lock:
            self.counts[f"echoup_{name}_total", frozenset(labels.items())] += number

    def connection(self, listener: str, reason: str, size: int = 0) -> None:
        """Count a connection that has ended, and the `size` bytes that it sent and got back."""
        self.add("connections_opened", listener=listener)
        self.add("connections_closed", listener=listener, reason=reason)
        self.bytes(listener, size)

    def bytes(self, listener: str, size: int) -> None:
        """Count bytes that went there and back."""
        self.add("received_bytes", size, listener=listener)
        self.add("sent_bytes", size, listener=listener)

    def atMost(self, listener: str, size: int) -> None:
        """Count bytes of `most`."""
        with self._lock:
            self.most[listener] += size

    def handshake(self, listener: str, version: str, result: str) -> None:
        """Count a TLS handshake."""
        self.add("tls_handshakes", listener=listener, version=version, result=result)

    def header(self, listener: str, version: str, result: str) -> None:
        """Count a PROXY header."""
        self.add("proxy_headers", listener=listener, version=version, result=result)
