"""A request to the status site, and its answer."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Request as TwistedRequest

from echoup.escaping import shown
from echoup.server.status.requesthead import Head

HEADERS = {
    "Connection": "close",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""The header fields of every answer."""


class Request(TwistedRequest):
    """A request whose answer is always plain: Twisted's own have pages of HTML, and tracebacks in the log."""

    defaultContentType = b"text/plain; charset=utf-8"

    channel: Any  # StatusChannel

    method = b"GET"  # of a request that can't be parsed
    clientproto = b"HTTP/1.1"
    _isLost = False

    def __init__(self, channel: Any, failed: Callable[[bytes, BaseException], None]) -> None:
        """`failed` is called with the path and the exception when a resource raises one."""
        super().__init__(channel, parsePOSTFormSubmission=False)
        self._failed = failed
        self.setHeader("Date", datetimeToString())
        for name, value in HEADERS.items():
            self.setHeader(name, value)

    def serve(self, head: Head, resource: IResource) -> None:
        """Answer with what `resource` renders."""
        self._resource = resource
        self.gotLength(0)
        self.requestHeaders.setRawHeaders(b"Accept", list(head.accept))
        self.requestReceived(head.method, head.target, head.version)

    def process(self) -> None:
        """Render the resource."""
        self.args = _parseQuery(self.uri.partition(b"?")[2])
        try:
            body = self._resource.render(self)
        except Exception:
            self.processingFailed(Failure())
        else:
            if body is not NOT_DONE_YET:
                self.finishWith(cast("bytes", body))

    def answer(self, code: int, line: str) -> None:
        """Answer with a status code and one line of text, which may repeat what the peer sent."""
        self.setResponseCode(code, HTTPStatus(code).phrase.encode())  # Twisted doesn't know 421
        self.setHeader("Content-Type", self.defaultContentType)
        self.finishWith(shown(line).encode() + b"\n")

    def processingFailed(self, reason: Failure) -> None:
        """Answer that the request failed, or cut the answer; the log says why."""
        assert reason.value
        self._failed(self.path, reason.value)
        if not self.startedWriting:
            self.answer(500, "internal error; the log has more")
        elif not self._isLost:
            self.channel.drop()  # a reset: to a client of HTTP/1.0, any other end would look like that of the answer

    def finish(self) -> None:
        """End the answer; a resource that answers later needn't know whether the connection is still there."""
        if not self._isLost:
            super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """Drop the answer."""
        self._isLost = True
        super().connectionLost(reason)

    def finishWith(self, body: bytes) -> None:
        """Write `body`, and end the answer."""
        self.setHeader("Content-Length", str(len(body)))
        self.write(body)
        self.finish()


def _parseQuery(query: bytes) -> dict[bytes, list[bytes]]:
    """Return the values of each name; Twisted's parser leaves out a name without value, such as `verbose`."""
    found: dict[bytes, list[bytes]] = {}
    for part in filter(None, query.split(b"&")):
        name, _, value = (unquote_to_bytes(each.replace(b"+", b" ")) for each in part.partition(b"="))
        found.setdefault(name, []).append(value)
    return found
