"""Addresses are split and joined as people write them."""

import ipaddress
import socket

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from echoup.addresses import (
    describeAddress,
    describeName,
    encodeHost,
    hostOf,
    joinAddress,
    parsePort,
    peerName,
    splitAddress,
    unmapAddress,
    unmapHost,
)
from tests.support.doubles import raised
from tests.support.properties import given, st

PORTS = st.integers(0, 65535)
HOSTS = st.ip_addresses().map(str) | st.from_regex(
    r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,9}){0,3}", fullmatch=True
)
TEXTS = st.text(st.characters()) | st.text("[]:.%-_*0189aef\u00e9\u0663 \n", max_size=20)


class SplitAddressTests(SynchronousTestCase):
    """`splitAddress` splits every form, and refuses everything else in one line."""

    def test_formsAreSplit(self) -> None:
        """Each form has its host and, if there is one, its port."""
        forms = {
            "example.org": ("example.org", None),
            "example.org:8081": ("example.org", 8081),
            "192.0.2.1:0": ("192.0.2.1", 0),
            "my_service:1": ("my_service", 1),
            "bücher.example": ("bücher.example", None),
            "हिन्दी.example:1": ("हिन्दी.example", 1),
            "☕.example": ("☕.example", None),
            "例え。example": ("例え。example", None),
            "x-.example.": ("x-.example.", None),
            "2001:db8::1": ("2001:db8::1", None),
            "[2001:db8::1]": ("2001:db8::1", None),
            "[2001:db8::1]:65535": ("2001:db8::1", 65535),
            "[fe80::1%eth0]:1": ("fe80::1%eth0", 1),
        }
        for text, parts in forms.items():
            assert splitAddress(text) == parts, text

    def test_mistakesAreNamed(self) -> None:
        """A text that is near to a form is refused with the part that is wrong."""
        mistakes = {
            "": "'' is not a host name or an IP address",
            ":80": "'' is not a host name or an IP address",
            "a b:80": "'a b' is not a host name or an IP address",
            "a..b": "'a..b' is not a host name or an IP address",
            ".": "'.' is not a host name or an IP address",
            "ü..b": "'ü..b' is not a host name or an IP address",
            "ａ／ｂ": "'ａ／ｂ' is not a host name or an IP address",
            "נa": "'נa' is not a host name or an IP address",
            "a\u200db": "'a\\u200db' is not a host name or an IP address",
            "a" * 64: f"'{'a' * 64}' is not a host name or an IP address",
            "host:": "'' is not a port number from 0 to 65535",
            "host:65536": "'65536' is not a port number from 0 to 65535",
            "1:2:3": "'1:2:3' is not an IPv6 address",
            "[192.0.2.1]:80": "'192.0.2.1' is not an IPv6 address",
            "[::1": "'[::1' is not [ADDRESS]:PORT",
            "[::1]80": "'[::1]80' is not [ADDRESS]:PORT",
            "[::1]:": "'' is not a port number from 0 to 65535",
        }
        for text, message in mistakes.items():
            assert str(raised(ValueError, splitAddress, text)) == message

    @given(TEXTS)
    def test_anyTextIsSplitOrRefused(self, text: str) -> None:
        """Any text either has a host and perhaps a port, or raises ValueError with one line."""
        if error := raised(ValueError, splitAddress, text):
            assert len(str(error).splitlines()) == 1
        else:
            host, port = splitAddress(text)
            assert host in text
            assert port is None or 0 <= port <= 65535, port

    @given(HOSTS, PORTS)
    def test_joinedAddressIsSplitAgain(self, host: str, port: int) -> None:
        """`splitAddress` splits what `joinAddress` joins."""
        assert splitAddress(joinAddress(host, port)) == (host, port)


class EncodeHostTests(SynchronousTestCase):
    """`encodeHost` returns what resolvers take."""

    def test_namesAreEncodedByIDNA2008(self) -> None:
        """A name is mapped as UTS 46 has it, without its transitional rules, and encoded as IDNA 2008 has it."""
        names = {
            "faß.example": "xn--fa-hia.example",
            "ΒΌΛΟΣ.example": "xn--nxasmq6b.example",
            "βόλος.example": "xn--nxasmm1c.example",
            "نامه\u200cای.example": "xn--mgba3gch31f060k.example",
            "BÜCHER.Example": "xn--bcher-kva.example",
            "हिन्दी.example": "xn--j2bd4cyah0f.example",
            "例え。テスト。": "xn--r8jz45g.xn--zckzah.",
            "☕.example": "xn--53h.example",
            "my_höst.a_b.example": "xn--my_hst-zxa.a_b.example",
        }
        for name, encoded in names.items():
            assert encodeHost(name) == encoded

    def test_asciiStaysAsItIs(self) -> None:
        """A name in ASCII, whether IDNA has it or not, and an IP address are returned unchanged."""
        for host in ("Example.ORG.", "my_host", "x-", "xn--a", "127.1", "::1", "FE80::1%eth0", ""):
            assert encodeHost(host) == host

    def test_noNameIsRefused(self) -> None:
        """What isn't a name in its script is refused."""
        for host in ("a\u200db", "נa", "\u0301a", "ü" * 60, "\ufffd"):
            assert raised(UnicodeError, encodeHost, host), host


class PeerNameTests(SynchronousTestCase):
    """`peerName` returns what identifies a host in its certificate."""

    def test_wayToNameIsNoPartOfIt(self) -> None:
        """The dot at the end, the case and the script in which a name is written are left out."""
        names = {
            "Echo.Example.": "echo.example",
            "faß.example.": "xn--fa-hia.example",
            "例え。": "xn--r8jz45g",
            "my_host": "my_host",
            "": "",
        }
        for host, name in names.items():
            assert peerName(host) == name

    def test_addressHasOneForm(self) -> None:
        """An address is in its usual form, without its interface, and IPv4 also where it is mapped to IPv6."""
        addresses = {
            "127.1": "127.0.0.1",
            "0x7F.1": "127.0.0.1",
            "192.0.2.1.": "192.0.2.1",
            "１９２.0.2.1": "192.0.2.1",
            "::FFFF:192.0.2.1": "192.0.2.1",
            "::ffff:1:2:3": "::ffff:1:2:3",
            "FE80:0::1%nosuch": "fe80::1",
        }
        for host, name in addresses.items():
            assert peerName(host) == name


class ParsePortTests(SynchronousTestCase):
    """`parsePort` takes the numbers 0 to 65535."""

    @given(PORTS)
    def test_numbersArePorts(self, port: int) -> None:
        """Each number from 0 to 65535 is a port."""
        assert parsePort(str(port)) == port

    @given(st.integers(max_value=-1) | st.integers(min_value=65536))
    def test_otherNumbersAreRefused(self, port: int) -> None:
        """Other numbers are refused."""
        assert raised(ValueError, parsePort, str(port))

    def test_otherFormsOfNumbersAreRefused(self) -> None:
        """Texts other than plain digits are refused, also those that Python takes for a number."""
        for text in ("", " 1", "1_0", "+1", "0x10", "1e3", "٣", "²", "000080", "80\n"):
            assert raised(ValueError, parsePort, text), text


class DescribeAddressTests(SynchronousTestCase):
    """`describeAddress` writes an address as people do."""

    def test_eachKindHasItsForm(self) -> None:
        """Each kind of address has its form."""
        forms = (
            (IPv4Address("TCP", "192.0.2.1", 8081), "192.0.2.1:8081"),
            (IPv6Address("TCP", "2001:db8::1", 8081), "[2001:db8::1]:8081"),
            (UNIXAddress(b"/run/echoup"), "unix:/run/echoup"),
            (UNIXAddress(b"/run/\xff"), "unix:/run/\\xff"),
            (UNIXAddress(b"\0echoup"), "unix:@echoup"),
            (UNIXAddress(b"\0@\xff \0"), "unix:@@\\xff\\x20\\x00"),
            (UNIXAddress(b"@echoup"), "unix:./@echoup"),
            (UNIXAddress(None), "unix"),
        )
        for address, text in forms:
            assert describeAddress(address) == text

    def test_linkLocalAddressHasInterface(self) -> None:
        """A link-local address is described with its interface, whether that is in the host or next to it."""
        scope = socket.if_nametoindex("lo")
        for address in (IPv6Address("TCP", "fe80::1", 1, 0, scope), IPv6Address("TCP", "fe80::1%lo", 1, 0, scope)):
            assert describeAddress(address) == "[fe80::1%lo]:1"
        ((*_, name),) = socket.getaddrinfo("fe80::1%lo", 1, type=socket.SOCK_STREAM)
        assert (hostOf(name), describeName(name)) == ("fe80::1%lo", "[fe80::1%lo]:1")
        assert describeName(("fe80::1", 1, 0, 2**31 - 1)) == f"[fe80::1%{2**31 - 1}]:1"
        assert describeName(("2001:db8::1", 1, 0, 0)) == "[2001:db8::1]:1"
        assert describeName(("192.0.2.1", 1)) == "192.0.2.1:1"

    @given(st.ip_addresses(), PORTS)
    def test_describedIPAddressIsSplitAgain(self, ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
        """`splitAddress` splits the description of an IP address."""
        kind = IPv4Address if ip.version == 4 else IPv6Address
        assert splitAddress(describeAddress(kind("TCP", str(ip), port))) == (str(ip), port)

    @given(st.binary())
    def test_anyUnixNameIsPrintable(self, name: bytes) -> None:
        """The name of a Unix socket, which a peer chooses, is one line without control characters."""
        assert describeAddress(UNIXAddress(name)).isprintable()


class UnmapTests(SynchronousTestCase):
    """An IPv4-mapped IPv6 address is the one of IPv4 that it stands for, and no other address is."""

    def test_mappedHosts(self) -> None:
        """Each way to write an IPv4-mapped address is known."""
        for host in (
            *("::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1", "::ffff:192.0.2.1%lo"),
            *("0000:0000:0000:0000:0000:ffff:c000:0201", "192.0.2.1"),
        ):
            assert unmapHost(host) == "192.0.2.1", host

    def test_otherHosts(self) -> None:
        """Any other host stays as it is, also one with the same digits in another place."""
        for host in (
            *(
                "::1",
                "::192.0.2.1",
                "::ffff:1",
                "::ffff:0:192.0.2.1",
                "ffff::1",
                "fe80::ffff:1%lo",
                "64:ff9b::192.0.2.1",
            ),
            *("2001:db8:ffff::1", "example.org", "ffff.example.org", ""),
        ):
            assert unmapHost(host) == host

    @given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address), PORTS)
    def test_anyMappedAddress(self, ip: ipaddress.IPv4Address, port: int) -> None:
        """A mapped address is its IPv4 form, with the same port."""
        assert unmapAddress(IPv6Address("TCP", f"::ffff:{ip}", port)) == IPv4Address("TCP", str(ip), port)

    @given(st.integers(2**48, 2**128 - 1).map(ipaddress.IPv6Address), PORTS)
    def test_anyOtherAddress(self, ip: ipaddress.IPv6Address, port: int) -> None:
        """Any other address stays, and so does one without a host."""
        for address in (IPv6Address("TCP", str(ip), port, 1, 2), UNIXAddress(None)):
            assert unmapAddress(address) is address
