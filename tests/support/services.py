"""The one service of a process, as the status site sees it, and requests to the site."""

from dataclasses import dataclass
from socket import AF_INET, AddressFamily
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.web.resource import IResource

from echoup.server.counts import Counts
from echoup.server.overview import Overview, Slice
from echoup.server.settings import Plan
from echoup.server.status.channel import StatusFactory
from tests.support.doubles import Peer, ReactorTestCase
from tests.support.mainservice import IdleService


class ShownService(IdleService):
    """A main service that shows what the test sets."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.counts = Counts(listener.description for listener in plan.listeners)
        self.shown = Overview(counts=self.counts, listeners=(), datagramListeners=())
        """The next overview."""
        self.connections: list[dict[str, Any]] = []
        self.slice = 50
        """Connections that `connectionsAfter` returns at a time."""
        self.silent: dict[int, int] = {}
        """The worker that doesn't answer, for the slices from some positions."""
        self.isSlow = False
        """Whether its answers wait until the test fires them."""
        self.waiting: list[Deferred[Any]] = []

    def overview(self) -> "Deferred[Overview]":
        """Return what the test has set."""
        return self._answer(self.shown)

    def connectionsAfter(self, cursor: str, peer: str) -> "Deferred[Slice]":
        """Return a slice of what the test has set."""
        start = int(cursor or 0)
        end = start + self.slice
        found = [each for each in self.connections[start:end] if peer in ("", each["peer"], each["via"])]
        return self._answer((found, "" if end >= len(self.connections) else str(end), self.silent.get(start, 0)))

    def _answer(self, value: Any) -> "Deferred[Any]":
        if not self.isSlow:
            return succeed(value)
        answer: Deferred[Any] = Deferred()
        self.waiting.append(answer)
        return answer.addCallback(lambda _: value)


@dataclass(frozen=True)
class Response:
    """An HTTP response."""

    code: int
    fields: dict[str, str]
    body: bytes


class ResourceTestCase(ReactorTestCase):
    """A test of a resource, which real connections ask."""

    def connect(self, resource: IResource, family: AddressFamily = AF_INET) -> Peer:
        """Return a client of a site that has `resource` as its only page, `/`."""
        return self.peerOf(StatusFactory(self.reactor, {b"/": resource}, ()), family)

    def ask(self, resource: IResource, query: str = "", accept: str = "", method: str = "GET") -> Response:
        """Return the response of `resource`."""
        client = self.connect(resource)
        client.offer(requestFor(query, accept, method))
        return parseResponse(client.receiveAll())


def requestFor(query: str = "", accept: str = "", method: str = "GET") -> bytes:
    """Return a request for the only page."""
    field = f"Accept: {accept}\r\n" if accept else ""
    return f"{method} /{query} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n".encode()


def parseResponse(data: bytes) -> Response:
    """Return the response that `data` is."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if fields.get("transfer-encoding") == "chunked":
        rest, body = body, b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            body += rest[:length]
            assert rest[length : length + 2] == b"\r\n"
            rest = rest[length + 2 :]
        assert length == 0, "the response has no end"
    return Response(int(first.split()[1]), fields, body)
