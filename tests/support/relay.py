"""Relays between a client and a server: what they do to a path is known beforehand, and when they did it afterwards."""

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
    """Some bytes that a relay has passed on."""

    data: bytes
    received: float
    """When they had come, in seconds of the monotonic clock."""
    forwarded: float
    """The moment before they went on."""


@dataclass
class Passage:
    """What went over one connection through a relay."""

    requests: list[Chunk] = field(default_factory=list)
    replies: list[Chunk] = field(default_factory=list)
    replyEnd: float = inf
    """The moment before the server's end went on."""

    @property
    def request(self) -> bytes:
        """All that the client has sent."""
        return b"".join(chunk.data for chunk in self.requests)


class StreamRelay:
    """Passes chunks and ends on, one after the other, each after a fixed delay; it accepts at once."""

    def __init__(self, server: Address, delay: float = 0.0, pause: float = 0.0) -> None:
        """`pause` is what lies between the first byte of a chunk of the reply and the rest of it, in seconds."""
        self.passages: list[Passage] = []
        """One for each connection, in their order."""
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
        self._listening.shutdown(SHUT_RDWR)  # wakes who accepts
        self._accepting.join()
        self._listening.close()
        for thread in self._threads:
            thread.join()

    @property
    def target(self) -> str:
        """Where it listens, as `echoup` takes it."""
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
            self._passOn(client, server, passage.requests)
            replying.join()

    def _reply(self, server: socket, client: socket, passage: Passage) -> None:
        passage.replyEnd = self._passOn(server, client, passage.replies, self._pause)

    def _passOn(self, source: socket, sink: socket, chunks: list[Chunk], pause: float = 0.0) -> float:
        """Pass everything on, and return the moment before the end went on."""
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
            sink.shutdown(SHUT_WR)
        return ended


class DatagramRelay:
    """Passes datagrams on to a server, and its answers back, each in the way that is planned for its number, from 1."""

    def __init__(
        self,
        server: tuple[str, int],
        drop: Collection[int] = (),
        double: Collection[int] = (),
        hold: Mapping[int, int] | None = None,
        alter: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """Of which answers there are none, of which two, which ones `hold` back until after another, and what they say.

        `hold` has the number of the other, greater one for each.
        """
        self.requests: list[Chunk] = []
        """All datagrams that came, and when their answers went back; in the meantime they were with the server."""
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
        """Where it listens, as `echoup` takes it."""
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
