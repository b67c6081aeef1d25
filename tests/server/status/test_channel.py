"""Connections to the status site: one request each, and limits that no peer can move."""

import socket
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import fail
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from echoup.server.status.channel import MOST, REQUEST_TIMEOUT, TIMEOUT, StatusFactory
from echoup.server.status.request import Request as StatusRequest
from tests.support.chance import randomBytes
from tests.support.doubles import Peer, ReactorTestCase

GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Page(Resource):
    """A page that `render` writes."""

    isLeaf = True

    def __init__(self, render: Callable[[Request], bytes | int]) -> None:
        super().__init__()
        self._render = render

    def render_GET(self, request: Request) -> bytes | int:
        """Write it."""
        return self._render(request)


class ChannelTestCase(ReactorTestCase):
    """A test with a site that has three pages, each of another kind."""

    def setUp(self) -> None:
        """Make the site, which logs nothing unless the test says what."""
        super().setUp()
        self.later: list[Request] = []
        pages = {b"/now": Page(lambda _: b"now\n"), b"/later": Page(self.wait), b"/never": Page(self.fail_)}
        self.site = StatusFactory(self.reactor, pages, ("status.example",))
        self.addCleanup(self.site.stop)
        self.logged: list[str] = []

    def wait(self, request: Request) -> int:
        """Answer later."""
        self.later.append(request)
        return NOT_DONE_YET

    def fail_(self, request: Request) -> bytes:
        """Fail, after having begun with an answer."""
        request.setHeader("Content-Type", "text/html")
        raise ValueError("<a\nb>")

    def connect(self, family: socket.AddressFamily = socket.AF_INET) -> Peer:
        """Return the far end of a new connection."""
        peer = self.peerOf(self.site, family)
        self.reactor.turn()
        return peer

    def answer(self, data: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
        """Return the first line, the fields and the body of the answer to `data`; the site ends its side."""
        peer = self.connect()
        peer.offer(data)
        return parse(peer.receiveAll())


def parse(data: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Return the first line, the fields and the body of an answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    found = dict(field.split(b": ", 1) for field in fields)
    assert len(found) == len(fields)
    return line, found, body


class AnswerTests(ChannelTestCase):
    """Every answer is plain, and keeps nothing in the browser."""

    def test_answerHasAllFields(self) -> None:
        """An answer has the fields that protect it, its length and its type, and doesn't name the server."""
        line, fields, body = self.answer(GET % b"/now")
        assert (line, body) == (b"HTTP/1.1 200 OK", b"now\n")
        assert fields.pop(b"Date").endswith(b" GMT")
        own = {b"Content-Length": b"4", b"Content-Type": b"text/plain; charset=utf-8"}
        protecting = {
            b"Connection": b"close",
            b"Cache-Control": b"no-store",
            b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
            b"X-Content-Type-Options": b"nosniff",
            b"Referrer-Policy": b"no-referrer",
        }
        assert fields == protecting | own

    def test_headHasNoBody(self) -> None:
        """HEAD gets the fields of GET alone, with an error too."""
        head = GET.replace(b"GET", b"HEAD")
        for request, code in (
            (head % b"/now", b"200"),
            (head % b"/other", b"404"),
            (head.replace(b"localhost", b"x.example") % b"/now", b"421"),
        ):
            line, fields, body = self.answer(request)
            assert line.split()[1] == code
            assert int(fields[b"Content-Length"]) > 0
            assert body == b""

    def test_queryIsPassedOn(self) -> None:
        """The query isn't part of the path; a name without value is one of it too."""
        self.site.resources = {b"/": Page(lambda request: repr(request.args).encode())}
        expected = {b"a": [b" =", b""], b"b\xff": [b""], b"": [b"%"]}
        assert self.answer(GET % b"/?a=%20=&a=&b%fF&&=%")[2] == repr(expected).encode()

    def test_otherPathsAndMethods(self) -> None:
        """An unknown path is 404, even if it decodes to a known one; another method is 405, with those that are."""
        for path in (b"/other", b"/now/", b"//now", b"/now/.", b"/%6eow", b"/now%00", b"/NOW"):
            line, _, body = self.answer(GET % path)
            assert (line, body) == (b"HTTP/1.1 404 Not Found", b"no such page; / lists all of them\n")
        for method in (b"POST", b"OPTIONS", b"TRACE", b"CONNECT", b"X"):
            line, fields, body = self.answer(GET.replace(b"GET", method) % b"/now")
            assert (line, fields[b"Allow"]) == (b"HTTP/1.1 405 Method Not Allowed", b"GET, HEAD")
            assert body == b"only GET and HEAD are possible here\n"

    def test_refusalsAreOneLine(self) -> None:
        """A refused request is answered with one line of text, in which nothing of it is repeated."""
        for data, code in (
            (b"<script>", 400),
            (GET.replace(b"localhost", b"attacker.example") % b"/now", 421),
            (GET.replace(b"localhost", b"127.0.0.1.attacker.example") % b"/now", 421),
            (b"POST /now HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n", 413),
            (b"POST /now HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 413),
            (b"GET /now HTTP/1.1\r\nX: " + b"x" * 2**20, 431),
        ):
            line, fields, body = self.answer(data)
            assert line.split()[1] == str(code).encode()
            assert fields[b"Content-Type"] == b"text/plain; charset=utf-8"
            assert body.count(b"\n") == 1
            for word in (b"script", b"attacker", b"xxx"):
                assert word not in body

    def test_lineIsEscaped(self) -> None:
        """A page that refuses a request may repeat what was sent: it stays one line without control characters."""

        def refuse(request: Request) -> int:
            assert isinstance(request, StatusRequest)
            request.answer(400, f"not {request.args[b'x'][0].decode(errors='surrogateescape')}")
            return NOT_DONE_YET

        self.site.resources = {b"/": Page(refuse)}
        line, _, body = self.answer(GET % b"/?x=a%0a%1b%ffb")
        assert (line, body) == (b"HTTP/1.1 400 Bad Request", b"not a\\n\\x1b\\udcffb\n")

    def test_foreignHostIsToldTheOption(self) -> None:
        """The answer to a request for another host names the option that would allow it."""
        line, _, body = self.answer(GET.replace(b"localhost", b"x.example") % b"/now")
        assert line == b"HTTP/1.1 421 Misdirected Request"
        assert body == b"the Host field names another site; --status-host NAME allows its name\n"
        assert self.answer(GET.replace(b"localhost", b"Status.example:8082") % b"/now")[2] == b"now\n"

    def test_unixSocket(self) -> None:
        """Over a Unix socket the hosts are the same."""
        for host, code in ((b"localhost", b"200"), (b"192.0.2.1", b"421")):
            peer = self.connect(socket.AF_UNIX)
            peer.offer(GET.replace(b"localhost", host) % b"/now")
            assert parse(peer.receiveAll())[0].split()[1] == code

    def test_failureIsNotShown(self) -> None:
        """A page that fails is 500, and one line in the log, which has the error; further ones are logged together."""
        with capturedLogs() as events:
            for _ in range(3):
                line, fields, body = self.answer(GET % b"/never")
                assert (line, body) == (b"HTTP/1.1 500 Internal Server Error", b"internal error; the log has more\n")
                assert fields[b"Content-Type"] == b"text/plain; charset=utf-8"
        error = r"/never: ValueError: <a\nb>"
        assert [formatEvent(event) for event in events] == [f"1 request to the status site failed; the last: {error}"]
        with capturedLogs() as events:
            self.reactor.advance(60, 1)
        assert [formatEvent(event) for event in events] == [f"2 requests to the status site failed; the last: {error}"]


class LaterTests(ChannelTestCase):
    """A page may answer later."""

    def test_laterAnswerArrives(self) -> None:
        """An answer that is written later arrives, after the peer has ended its side too."""
        for isEnded in (False, True):
            peer = self.connect()
            peer.offer(GET % b"/later")
            if isEnded:
                peer.end()
                self.reactor.turn()
            request = self.later.pop()
            request.write(b"some")
            request.write(b"more")
            request.finish()
            line, fields, body = parse(peer.receiveAll())
            assert line == b"HTTP/1.1 200 OK"
            assert (fields[b"Transfer-Encoding"], body) == (b"chunked", b"4\r\nsome\r\n4\r\nmore\r\n0\r\n\r\n")
            if not isEnded:
                peer.end()
            self.reactor.until(lambda: not self.site.open)

    def test_laterFailure(self) -> None:
        """A page that fails later is 500, and one that fails in its middle is cut by a reset."""
        for isBegun in (False, True):
            peer = self.connect()
            peer.offer(GET % b"/later")
            request = self.later.pop()
            if isBegun:
                request.write(b"some")
            with capturedLogs() as events:
                fail(ValueError("no")).addErrback(request.processingFailed)
            assert len(events) == (not isBegun)  # the second is logged with others, a minute later
            if isBegun:
                self.reactor.until(partial(isReset, peer))
            else:
                assert parse(peer.receiveAll())[0] == b"HTTP/1.1 500 Internal Server Error"

    def test_failureAfterTheLossIsHarmless(self) -> None:
        """A page that fails when the connection is gone, or dropped, costs a log line at most."""
        for lose in (Peer.reset, lambda _: next(iter(self.site.open)).drop()):
            peer = self.connect()
            peer.offer(GET % b"/later")
            request = self.later.pop()
            lose(peer)
            request.processingFailed(Failure(ValueError("no")))
            self.reactor.until(lambda: not self.site.open)
            self.reactor.turn()

    def test_lostConnectionIsHarmless(self) -> None:
        """An answer to a peer that is gone is dropped."""
        peer = self.connect()
        peer.offer(GET % b"/later")
        (request,) = self.later
        failures: list[Failure] = []
        request.notifyFinish().addErrback(failures.append)
        peer.reset()
        self.reactor.until(lambda: bool(failures))
        request.write(b"some")
        request.finish()
        assert not self.site.open


class EndTests(ChannelTestCase):
    """A connection carries one request, and ends without destroying the answer."""

    def test_moreRequestsAreDiscarded(self) -> None:
        """What follows the request isn't answered, and the answer arrives nevertheless."""
        peer = self.connect()
        peer.offer(GET % b"/now" * 3)
        assert peer.receiveAll().count(b"HTTP/1.1") == 1
        assert peer.offer(b"x" * 2**20) == 2**20
        assert len(self.site.open) == 1
        peer.end()
        self.reactor.until(lambda: not self.site.open)

    def test_halfClosedRequestIsAnswered(self) -> None:
        """A peer that ends its side after its request, as nc -N does, gets the answer."""
        peer = self.connect()
        peer.socket.sendall(GET % b"/now")
        peer.end()
        assert parse(peer.receiveAll())[2] == b"now\n"
        assert not self.site.open

    def test_halfRequestIsClosed(self) -> None:
        """A peer that ends its side before its request is complete gets the end alone."""
        for data in (b"", b"GET / HTT"):
            peer = self.connect()
            peer.socket.sendall(data)
            peer.end()
            assert peer.receiveAll() == b""
            assert not self.site.open


class LimitTests(ChannelTestCase):
    """Neither slow nor many peers keep others out."""

    def test_silentPeerIsDropped(self) -> None:
        """A peer that sends nothing is dropped at the deadline."""
        self.connect()
        self.reactor.advance(REQUEST_TIMEOUT - 0.1)
        assert len(self.site.open) == 1
        self.reactor.advance(0.2)
        assert not self.site.open

    def test_slowPeerGainsNoTime(self) -> None:
        """A peer that sends a byte from time to time is dropped at the same deadline."""
        peer = self.connect()
        peer.offer(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(10):
            assert len(self.site.open) == 1
            peer.offer(b"x")
            self.reactor.advance(REQUEST_TIMEOUT / 10 + 0.01)
        assert not self.site.open

    def test_peerThatNeitherReadsNorEndsIsDropped(self) -> None:
        """The whole connection has a deadline, whatever it waits for: a page, a peer that reads, or a peer's end."""
        self.site.resources = {**self.site.resources, b"/long": Page(lambda _: bytes(2**24))}
        for path in (b"/now", b"/later", b"/long"):
            self.connect().offer(GET % path)
        self.reactor.advance(TIMEOUT - 0.1)
        assert len(self.site.open) == 3
        self.reactor.advance(0.2)
        assert not self.site.open

    def test_pauseOfTheProcessDoesNotCount(self) -> None:
        """After a pause of the process a peer has the rest of its time."""
        peer = self.connect()
        self.reactor.pause(3600)
        self.reactor.advance(1)
        peer.offer(GET % b"/now")
        assert parse(peer.receiveAll())[2] == b"now\n"

    def test_newConnectionDropsTheOldest(self) -> None:
        """Beyond the most connections a new one drops the oldest one, and only that."""
        peers = [self.connect() for _ in range(MOST + 1)]
        assert len(self.site.open) == MOST
        self.reactor.until(lambda: isReset(peers[0]))
        for peer in peers[1:]:
            peer.offer(GET % b"/now")
            assert parse(peer.receiveAll())[2] == b"now\n"
            peer.end()
        self.reactor.until(lambda: not self.site.open)

    def test_noTimerIsLeft(self) -> None:
        """After the last connection no timer is left."""
        peer = self.connect()
        peer.offer(GET % b"/now")
        peer.end()
        self.reactor.until(lambda: not self.site.open)
        assert self.reactor.getDelayedCalls() == []

    def test_noBytesAreLogged(self) -> None:
        """No bytes that a peer sends, nor where it stops, cause a log line."""
        whole = GET % b"/now?x"
        texts = [whole[:length] for length in range(0, len(whole), 7)]
        texts += [whole.replace(b"x", b"".join(b"%%%02x" % byte for byte in randomBytes(20))) for _ in range(20)]
        texts += [whole.replace(b"x", bytes(33 + byte % 94 for byte in randomBytes(20))) for _ in range(20)]
        texts += [whole.replace(b"localhost", randomBytes(20)) for _ in range(20)]
        texts += [randomBytes(size) for size in (1, 10, 100, 10_000) for _ in range(5)]
        with capturedLogs() as events:
            for i, text in enumerate(texts):
                peer = self.connect()
                peer.offer(text)
                (peer.end if i % 2 else peer.reset)()
                self.reactor.until(lambda: not self.site.open)
        assert events == []


def isReset(peer: Peer) -> bool:
    """Return whether the connection was reset."""
    try:
        peer.take(1)
    except ConnectionResetError:
        return True
    return False
