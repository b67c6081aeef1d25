"""Relays between a client and a server, which alter a path in known ways and record when."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from socket import AF_INET, SHUT_RDWR, SHUT_WR, SOCK_DGRAM, socket
from threading import Thread
from time import monotonic, sleep
from typing import Any, Self

from tests.support.addresses import Address


@dataclass(frozen=True)
class Chunk:
    """Bytes that a relay has forwarded."""

    data: bytes
    received: float
    """When they came, in seconds of the monotonic clock."""
    forwarded: float
    """The moment before they were forwarded."""


@dataclass
class Passage:
    """The bytes that went over one connection through a relay."""

    requests: list[Chunk] = field(default_factory=list)
    replies: list[Chunk] = field(default_factory=list)
    replyEnd: float = inf
    """The moment before the server's end was forwarded."""

    @property
    def request(self) -> bytes:
        """All bytes that the client has sent."""
        return b"".join(chunk.data for chunk in self.requests)


class StreamRelay:
    """Forwards chunks and ends in order, each after a fixed delay; it accepts connections at once."""

    def __init__(self, server: Address, delay: float = 0.0, pause: float = 0.0) -> None:
        """`delay` and `pause`, between the first byte of each chunk of the reply and its rest, are seconds."""
        self.passages: list[Passage] = []
        """The connections, in order."""
        self._server = server
        self._delay = delay
        self._pause = pause
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        self._listening = socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self._accepting = Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(SHUT_RDWR)  # ends `accept`
        self._accepting.join()
        self._listening.close()
        for thread in self._threads:
            thread.join()

    @property
    def target(self) -> str:
        """Its address, as `echoup` takes it."""
        host, port = self._listening.getsockname()
        return f"{host}:{port}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.passages.append(Passage())
                thread = Thread(target=self._serve, args=(client, self.passages[-1]))
                thread.start()
                self._threads.append(thread)

    def _serve(self, client: socket, passage: Passage) -> None:
        with client, self._server.connect() as server:
            client.settimeout(30)
            replying = Thread(target=self._reply, args=(server, client, passage))
            replying.start()
            self._forward(client, server, passage.requests)
            replying.join()

    def _reply(self, server: socket, client: socket, passage: Passage) -> None:
        passage.replyEnd = self._forward(server, client, passage.replies, self._pause)

    def _forward(self, source: socket, sink: socket, chunks: list[Chunk], pause: float = 0.0) -> float:
        """Forward everything, and return the moment before the end was forwarded."""
        ended = inf
        with suppress(OSError):
            while data := source.recv(65536):
                received = monotonic()
                sleep(self._delay)
                for part in (data[:1], data[1:]) if pause else (data,):
                    chunks.append(Chunk(part, received, monotonic()))
                    sink.sendall(part)
                    sleep(pause)
            sleep(self._delay)
            ended = monotonic()
        with suppress(OSError):
            sink.shutdown(SHUT_WR)  # also after a reset, so that the other direction ends
        return ended


class DatagramRelay:
    """Forwards datagrams to a server and its answers back; the numbers of the answers, from 1, decide what happens."""

    def __init__(
        self,
        server: tuple[str, int],
        drop: Collection[int] = (),
        double: Collection[int] = (),
        hold: Mapping[int, int] | None = None,
        alter: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """Answers in `drop` are dropped, those in `double` are sent twice, and `alter` changes all of them.

        An answer that is a key in `hold` is sent after the answer whose number, a greater one, is its value.
        """
        self.requests: list[Chunk] = []
        """The datagrams that came; `forwarded` is when the server had answered."""
        self._server = server
        self._drop = drop
        self._double = double
        self._hold = hold or {}
        self._alter = alter

    def __enter__(self) -> Self:
        self._listening = socket(AF_INET, SOCK_DGRAM)
        self._listening.bind(("127.0.0.1", 0))
        self._address = self._listening.getsockname()
        self._serving = Thread(target=self._serve)
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.sendto(b"", self._address)
        self._serving.join()
        self._listening.close()

    @property
    def target(self) -> str:
        """Its address, as `echoup` takes it."""
        host, port = self._address
        return f"udp:{host}:{port}"

    def _serve(self) -> None:
        held: defaultdict[int, list[tuple[bytes, Any]]] = defaultdict(list)
        with socket(AF_INET, SOCK_DGRAM) as server:
            server.settimeout(30)
            server.connect(self._server)
            while True:
                data, client = self._listening.recvfrom(65536)
                received = monotonic()
                if client == self._address:
                    return
                number = len(self.requests) + 1
                server.send(data)
                answer = self._alter(server.recv(65536))
                self.requests.append(Chunk(data, received, monotonic()))
                if number in self._hold:
                    held[self._hold[number]].append((answer, client))
                elif number not in self._drop:
                    for _ in range(2 if number in self._double else 1):
                        self._listening.sendto(answer, client)
                for late in held.pop(number, ()):
                    self._listening.sendto(*late)
