"""The server name is read from whatever a client sends first."""

import socket
import ssl
import subprocess
from itertools import pairwise
from struct import pack

from twisted.trial.unittest import SynchronousTestCase

from echoup.tls.clienthello import parseServerName
from tests.support.certificates import VERSIONS
from tests.support.doubles import raised
from tests.support.properties import damaged, given, st


def vector(width: int, content: bytes) -> bytes:
    """Return `content` after its length."""
    return len(content).to_bytes(width) + content


def record(fragment: bytes, kind: int = 22) -> bytes:
    """Return a TLS record."""
    return bytes([kind, 3, 1]) + vector(2, fragment)


def extension(kind: int, content: bytes) -> bytes:
    """Return an extension of a ClientHello."""
    return pack("!H", kind) + vector(2, content)


def asking(name: bytes, kind: int = 0) -> bytes:
    """Return the extension that asks for a name, by default a host's."""
    return extension(0, vector(2, bytes([kind]) + vector(2, name)))


def hello(*extensions: bytes, kind: int = 1) -> bytes:
    """Return a ClientHello with `extensions`, or another message of a handshake."""
    body = b"\3\3" + bytes(32) + vector(1, b"session") + vector(2, b"\x13\1") + vector(1, b"\0")
    return bytes([kind]) + vector(3, body + vector(2, b"".join(extensions)))


HELLO = hello(extension(43, b"\2\3\4"), asking(b"there.example"), extension(0, b""))


def helloOf(version: ssl.TLSVersion, name: str | None) -> bytes:
    """Return what Python's own client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = context.maximum_version = version
    sent = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    assert raised(ssl.SSLWantReadError, tls.do_handshake)
    return sent.read()


class ServerNameTests(SynchronousTestCase):
    """`parseServerName` returns the name in a ClientHello."""

    def test_nameOfAClientIsFound(self) -> None:
        """The name that Python's client asks for is found; there is none for an IP address."""
        for version in VERSIONS:
            assert parseServerName(helloOf(version, "there.example")) == b"there.example"
            assert parseServerName(helloOf(version, "bücher.example")) == b"xn--bcher-kva.example"
            for name in (None, "192.0.2.1", "::1"):
                assert parseServerName(helloOf(version, name)) is None

    def test_nameOfOpenSSLsClientIsFound(self) -> None:
        """The name that `openssl s_client` asks for is found, in any encoding."""
        for name in ("there.example", "bücher.example"):
            with socket.create_server(("127.0.0.1", 0)) as server:
                address = f"127.0.0.1:{server.getsockname()[1]}"
                command = ["openssl", "s_client", "-connect", address, "-servername", name]
                with subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                ):
                    connection, _ = server.accept()
                    with connection:
                        data = b""
                        while len(data) < 5 or len(data) < 5 + int.from_bytes(data[3:5]):
                            data += connection.recv(2**16)
                        assert parseServerName(data) == name.encode()

    def test_nameMayBeAnyBytes(self) -> None:
        """The bytes of the name are returned as they are."""
        for name in (b"\xff\0\n", b"", b"x" * 2**15):
            assert parseServerName(record(hello(asking(name)))) == name

    def test_otherMessagesHaveNoName(self) -> None:
        """No name is found in another record or message, or in a ClientHello without a host's name."""
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            record(HELLO, kind=23),
            record(hello(asking(b"there.example"), kind=2)),
            record(hello()),
            record(hello(extension(16, b"\0\3\2h2"))),
            record(hello(asking(b"there.example", kind=1))),
            record(hello(extension(0, b""))),
        ):
            assert parseServerName(data) is None

    @given(st.lists(st.integers(0, len(HELLO))), st.binary())
    def test_helloMayBeSpread(self, cuts: list[int], rest: bytes) -> None:
        """However the ClientHello is spread among records, and whatever comes next, the name is found."""
        places = [0, *sorted(cuts), len(HELLO)]
        data = b"".join(record(HELLO[start:end]) for start, end in pairwise(places))
        assert parseServerName(data + record(rest, kind=20)) == b"there.example"
        assert parseServerName(data + record(rest)) == b"there.example"

    def test_incompleteHelloHasNoName(self) -> None:
        """As long as a byte of the ClientHello is missing, there is no name."""
        whole = record(HELLO[:60]) + record(HELLO[60:])
        for size in range(len(whole)):
            assert parseServerName(whole[:size]) is None

    @given(st.binary())
    def test_anyBytesRaiseNothing(self, data: bytes) -> None:
        """Any bytes are read, alone or as a record or a message, and raise nothing."""
        for whole in (
            data,
            record(data),
            record(b"\1" + vector(3, data)),
            record(hello(data)),
            record(hello(asking(b"")[:2] + data)),
        ):
            name = parseServerName(whole)
            assert name is None or name in data

    @given(st.data())
    def test_damagedHelloRaisesNothing(self, data: st.DataObject) -> None:
        """A damaged ClientHello raises nothing."""
        name = parseServerName(damaged(data, record(HELLO)))
        assert name is None or isinstance(name, bytes)
