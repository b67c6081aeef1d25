"""The heads of requests: what is understood, and what is refused."""

from ipaddress import IPv4Address

from twisted.trial.unittest import SynchronousTestCase

from echoup.server.status.requesthead import MOST_BYTES, MOST_FIELDS, Head, Refused, parseHead
from tests.support.chance import randomBytes
from tests.support.doubles import raised
from tests.support.properties import given, st

END = b"\r\n\r\n"


def refusal(data: bytes) -> int | None:
    """Return the status code with which `data` is refused; None if it isn't."""
    error = raised(Refused, parseHead, data)
    return error.code if error else None


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    """Return the head of a request."""
    return b"\r\n".join([line, *fields]) + END


class ParseHeadTests(SynchronousTestCase):
    """`parseHead` understands strict HTTP/1."""

    def test_completeHead(self) -> None:
        """Method, target, version, host and what is accepted are found; the host has neither port nor upper case."""
        data = request(
            b"Host: LOCALHOST:8082", b"accept: a/b ", b"Accept:\tc/d", b"X: ", line=b"HEAD /x?y=%20 HTTP/1.1"
        )
        assert parseHead(data + b"more") == Head(b"HEAD", b"/x?y=%20", b"HTTP/1.1", "localhost", (b"a/b", b"c/d"))

    def test_oldRequestNeedsNoHost(self) -> None:
        """HTTP/1.0 has no Host field: haproxy's checks are such requests."""
        assert parseHead(request(line=b"GET / HTTP/1.0")) == Head(b"GET", b"/", b"HTTP/1.0", None, ())

    def test_partsAreAwaited(self) -> None:
        """No beginning of a request is refused, and none is taken for the whole."""
        data = request(b"Host: [::1]:8082", b"Content-Length: 0")
        for length in range(len(data)):
            assert parseHead(data[:length]) is None, data[:length]
        assert parseHead(data)

    def test_otherProtocolsAreRefusedAtOnce(self) -> None:
        """What can't become a request of HTTP/1 for a path is refused as soon as that is clear."""
        for data in (
            *(b"\x16\x03\x01\x02\x00", b"\0", b"hello", b"get / HTTP/1.1", b"\r\n", b"\n", b"A" * 21),
            *(b"PRI * HTTP/2.0\r\n", b"GET /\r\n", b"GET / HTTP/1.0\n", b"GET / HTTP/1.2\r\n", b"GET  / HTTP/1.1\r\n"),
            *(b"GET http://localhost/ HTTP/1.1\r\n", b"GET localhost:1 HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n"),
            *(b"GET /\0 HTTP/1.1\r\n", b"GET /\xff HTTP/1.1\r\n", b"GET /a b HTTP/1.1\r\n", b"GET / HTTP/1.1 \r\n"),
        ):
            assert refusal(data) == 400, data

    def test_malformedFieldsAreRefused(self) -> None:
        """A field without colon, with a blank before it, folded, or with a control character is refused."""
        for field in (b"Host", b"Host : a", b" Host: a", b": a", b"X: a\0", b"X: a\nb", b"X: a\rb", b"X\x80: a"):
            assert refusal(request(b"Host: localhost", field)) == 400, field

    def test_longHeadIsRefused(self) -> None:
        """Neither the head nor the number of its fields has no end; a head that has is refused before it does."""
        long = b"GET / HTTP/1.1\r\nX: " + b"x" * MOST_BYTES
        assert refusal(long) == refusal(long + END) == refusal(b"GET /" + b"x" * MOST_BYTES) == 431
        assert refusal(request(*[b"X: y"] * (MOST_FIELDS + 1))) == 431
        assert not refusal(request(b"Host: localhost", *[b"X: y"] * (MOST_FIELDS - 1)))

    def test_manyBlanksCostLittle(self) -> None:
        """A field of blanks that ends badly takes linear time."""
        assert refusal(request(b"X:" + b" " * 16000 + b"\0")) == 400

    def test_bodyIsRefused(self) -> None:
        """A request that announces a body is refused, whatever its length; a length of 0 is none."""
        for field in (b"Content-Length: 1", b"Content-Length: ", b"content-length: -1", b"Transfer-Encoding: chunked"):
            assert refusal(request(b"Host: localhost", field)) == 413, field
        assert refusal(request(b"Host: localhost", b"Content-Length: 0", b"Content-Length: 5")) == 413
        assert not refusal(request(b"Host: localhost", b"Content-Length: 0"))

    def test_hostIsNeededOnce(self) -> None:
        """HTTP/1.1 has exactly one Host field, HTTP/1.0 one at most; it has a host, and a port or none."""
        assert refusal(request()) == 400
        for line in (b"GET / HTTP/1.1", b"GET / HTTP/1.0"):
            assert refusal(request(b"Host: a", b"Host: a", line=line)) == 400
        for host in (
            b"",
            b"a@localhost",
            b"localhost:x",
            b"a b",
            b"[::1",
            b"[::1].x",
            b"[::1]x",
            b"::1",
            b"a,b",
            b".",
            b"a/",
        ):
            assert refusal(request(b"Host: " + host)) == 400, host

    @given(st.binary(max_size=200) | st.text("GET /HTP1.0\r\n:ax ", max_size=100).map(str.encode))
    def test_anyBytesAreParsedOrRefused(self, data: bytes) -> None:
        """No bytes cause any other error."""
        refusal(data)
        refusal(b"GET / HTTP/1.0\r\n" + data + END)

    def test_randomBytesAreRefused(self) -> None:
        """A lot of random bytes is no request."""
        assert refusal(b"\xff" + randomBytes(100_000)) == 400


class HostTests(SynchronousTestCase):
    """A request is answered only under a name that no resolver of an attacker can let point here."""

    def isAnswered(
        self, host: str, own: str = "192.0.2.1", names: tuple[str, ...] = ("status.example", "2001:db8::1")
    ) -> bool:
        """Return whether a request to `host` is answered at the address `own`, which has more `names`."""
        head = parseHead(request(b"Host: " + host.encode()))
        assert head
        error = raised(Refused, head.refuseForeignHost, own, names)
        assert error is None or error.code == 421
        return error is None

    def test_ownHosts(self) -> None:
        """Loopback addresses, the address of the connection, `localhost` and the names of --status-host are."""
        for host in (
            *("127.0.0.1", "127.0.0.1:8082", "127.1.2.3", "[::1]", "[::1]:8082", "[0:0:0:0:0:0:0:1]", "[::0001]:"),
            *(
                "192.0.2.1",
                "192.0.2.1:1",
                "localhost",
                "localhost.:8082",
                "LocalHost",
                "STATUS.example.",
                "[2001:DB8::1]",
            ),
        ):
            assert self.isAnswered(host), host
        assert self.isAnswered("[2001:db8::2]", own="2001:db8::2")

    def test_foreignHosts(self) -> None:
        """No other is, even if it begins like one, or is another notation of an address."""
        for host in (
            *("127.0.0.1.attacker.example", "localhost.attacker.example", "attacker.example", "x.status.example"),
            *("notlocalhost", "192.0.2.2", "192.0.2.1.x", "[::2]", "[::]", "status.example.x", str(IPv4Address(0))),
            *("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.01", "[::ffff:127.0.0.1]"),
            *("[::ffff:7f00:1]", "[::127.0.0.1]", "[::ffff:192.0.2.1]"),
        ):
            assert not self.isAnswered(host), host

    def test_ownAddressIsNoName(self) -> None:
        """At a Unix socket, which has no IP address, the other names are the same."""
        assert self.isAnswered("localhost", own="")
        assert not self.isAnswered("192.0.2.1", own="")

    def test_requestWithoutHost(self) -> None:
        """A request without Host field comes from no browser, and is answered."""
        head = parseHead(request(line=b"GET / HTTP/1.0"))
        assert head
        head.refuseForeignHost("", ())
