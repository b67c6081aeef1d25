"""PROXY headers are read as their specification says, in any pieces; everything else is refused."""

import re
from collections.abc import Callable
from functools import partial
from random import Random
from socket import AF_INET6, inet_ntop, inet_pton
from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from echoup.proxyheader import (
    SIGNATURE,
    ClientTLS,
    ProxyHeader,
    ProxyHeaderError,
    ProxyHeaderParser,
    crc32c,
    encodeProxyHeader,
)
from tests.support.chance import examples, randomBytes
from tests.support.doubles import raised
from tests.support.properties import given, st

PORTS = st.integers(0, 65535)
IPV4S = st.builds(IPv4Address, st.just("TCP"), st.ip_addresses(v=4).map(str), PORTS)
IPV6S = st.builds(
    IPv6Address, st.just("TCP"), st.binary(min_size=16, max_size=16).map(partial(inet_ntop, AF_INET6)), PORTS
)
UNIX = st.builds(UNIXAddress, st.none() | st.binary(min_size=1, max_size=108).filter(lambda name: b"\0" not in name))

EXAMPLES = examples(27_000)
"""Inputs that each of the three fuzz tests generates."""

Outcome = tuple[ProxyHeader, bytes] | type[ProxyHeaderError] | None

LOCAL, PROXY = 0x20, 0x21
TCP4, UDP4, TCP6, UDP6, STREAM, DATAGRAM = 0x11, 0x12, 0x21, 0x22, 0x31, 0x32
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS, CUSTOM = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30, 0xEA
VERSION, CN, CIPHER, GROUP = 0x21, 0x22, 0x23, 0x26

ADDRESSES4 = bytes([192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB])
ADDRESSES6 = bytes.fromhex("20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02" + "dc0401bb")
ENDS4 = IPv4Address("TCP", "192.0.2.1", 56324), IPv4Address("TCP", "198.51.100.2", 443)
ENDS6 = IPv6Address("TCP", "2001:db8::1", 56324), IPv6Address("TCP", "2001:db8::2", 443)
BROADCAST = IPv4Address("TCP", "255.255.255.255", 65535)
ANY = IPv4Address("TCP", "0.0.0.0", 0)  # noqa: S104  # no address to listen on
ANY6 = IPv6Address("TCP", "::", 0)
HIGHEST = IPv6Address("TCP", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)
MAPPED = IPv6Address("TCP", "::ffff:192.0.2.1", 56324)
UNKNOWN = ProxyHeader()


def binary(family: int, block: bytes = b"", *tlvs: bytes, command: int = PROXY, length: int | None = None) -> bytes:
    """Return a v2 header with the addresses `block` and these TLVs; by default its `length` is theirs."""
    rest = block + b"".join(tlvs)
    return SIGNATURE + bytes([command, family]) + (len(rest) if length is None else length).to_bytes(2) + rest


def tlv(kind: int, value: bytes = b"") -> bytes:
    """Return one TLV."""
    return bytes([kind]) + len(value).to_bytes(2) + value


def tcp4(*tlvs: bytes) -> bytes:
    """Return a v2 header with the addresses `ENDS4` and these TLVs."""
    return binary(TCP4, ADDRESSES4, *tlvs)


def summed(*tlvs: bytes) -> bytes:
    """Return `tcp4(*tlvs)` with the right checksum in place of the 0 among them."""
    header = tcp4(*tlvs)
    zero = tlv(CRC32C, bytes(4))
    return header.replace(zero, tlv(CRC32C, crc32c(header).to_bytes(4)))


def ssl(flags: int, verify: int, *tlvs: bytes) -> bytes:
    """Return the TLV that describes the client's TLS."""
    return tlv(SSL, bytes([flags]) + verify.to_bytes(4) + b"".join(tlvs))


def unix(name: bytes) -> bytes:
    """Return the address of a Unix socket in a v2 header."""
    return name.ljust(108, b"\0")


GOOD: dict[str, tuple[bytes, ProxyHeader]] = {
    # Version 1
    "TCP4": (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", ProxyHeader(*ENDS4)),
    "TCP4, the longest": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ProxyHeader(BROADCAST, BROADCAST),
    ),
    "TCP4, zeros": (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ProxyHeader(ANY, ANY)),
    "TCP6": (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", ProxyHeader(*ENDS6)),
    "TCP6, the longest": (
        b"PROXY TCP6 " + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + b"65535 65535\r\n",
        ProxyHeader(HIGHEST, HIGHEST),
    ),
    "TCP6, zeros": (b"PROXY TCP6 :: ::0 0 0\r\n", ProxyHeader(ANY6, ANY6)),
    "TCP6, in other words": (
        b"PROXY TCP6 2001:0DB8:0:0:0:0:0:1 2001:dB8:0000::0002 56324 443\r\n",
        ProxyHeader(*ENDS6),
    ),
    # haproxy writes it so
    "TCP6, IPv4 in IPv6": (b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 56324 443\r\n", ProxyHeader(MAPPED, ENDS6[1])),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", UNKNOWN),
    "UNKNOWN, addresses": (b"PROXY UNKNOWN 192.0.2.1 198.51.100.2 56324 443\r\n", UNKNOWN),
    "UNKNOWN, the longest": (b"PROXY UNKNOWN " + b"\xff" * 91 + b"\r\n", UNKNOWN),
    "UNKNOWN, a space": (b"PROXY UNKNOWN \r\n", UNKNOWN),
    "UNKNOWN, no space": (b"PROXY UNKNOWNS\r\n", UNKNOWN),
    "UNKNOWN, control characters": (b"PROXY UNKNOWN \0\n\x1b\r\t%s  \r\r\n", UNKNOWN),
    # Version 2, addresses
    "2 TCP4": (binary(TCP4, ADDRESSES4), ProxyHeader(*ENDS4)),
    "2 TCP6": (binary(TCP6, ADDRESSES6), ProxyHeader(*ENDS6)),
    "2 TCP6, IPv4 in IPv6": (
        binary(TCP6, bytes(10) + b"\xff\xff" + ADDRESSES4[:4] + ADDRESSES6[16:]),
        ProxyHeader(MAPPED, ENDS6[1]),
    ),
    "2 UDP4": (
        binary(UDP4, ADDRESSES4),
        ProxyHeader(IPv4Address("UDP", "192.0.2.1", 56324), IPv4Address("UDP", "198.51.100.2", 443)),
    ),
    "2 UDP6": (
        binary(UDP6, ADDRESSES6),
        ProxyHeader(IPv6Address("UDP", "2001:db8::1", 56324), IPv6Address("UDP", "2001:db8::2", 443)),
    ),
    "2 Unix": (
        binary(STREAM, unix(b"/run/client") + unix(b"/run/\xff server")),
        ProxyHeader(UNIXAddress(b"/run/client"), UNIXAddress(b"/run/\xff server")),
    ),
    "2 Unix, datagrams": (
        binary(DATAGRAM, unix(b"a") + unix(b"b"), tlv(AUTHORITY, b"c")),
        ProxyHeader(UNIXAddress(b"a"), UNIXAddress(b"b"), b"c"),
    ),
    "2 Unix, no names": (binary(STREAM, bytes(216)), ProxyHeader(UNIXAddress(None), UNIXAddress(None))),
    "2 Unix, the longest": (
        binary(STREAM, b"a" * 108 + b"b" * 108),
        ProxyHeader(UNIXAddress(b"a" * 108), UNIXAddress(b"b" * 108)),
    ),
    "2 Unix, bytes after the name": (
        binary(STREAM, unix(b"a\0garbage") + unix(b"\0abstract")),
        ProxyHeader(UNIXAddress(b"a"), UNIXAddress(b"\0abstract")),
    ),
    # Version 2, the connection's own addresses count
    "2 LOCAL": (binary(0, command=LOCAL), UNKNOWN),
    "2 LOCAL, addresses": (binary(TCP4, ADDRESSES4, command=LOCAL), UNKNOWN),  # a health check of AWS
    "2 LOCAL, too few addresses": (binary(STREAM, b"a", command=LOCAL), UNKNOWN),
    "2 LOCAL, no family": (binary(0xFF, b"\r\n" * 9, command=LOCAL), UNKNOWN),
    "2 LOCAL, wrong TLV": (binary(0, tlv(CRC32C, b"abcd"), b"\x02\xff", command=LOCAL), UNKNOWN),
    "2 UNSPEC": (binary(0), UNKNOWN),
    "2 UNSPEC, bytes": (binary(0, b"\xff" * 20), UNKNOWN),
    "2 UNSPEC family, STREAM": (binary(0x01, b"\x02\x00"), UNKNOWN),
    "2 UNSPEC family, DGRAM": (binary(0x02), UNKNOWN),
    "2 IPv4, UNSPEC transport": (binary(0x10, ADDRESSES4[:8]), UNKNOWN),
    "2 IPv6, UNSPEC transport": (binary(0x20, ADDRESSES6), UNKNOWN),
    "2 Unix, UNSPEC transport": (binary(0x30), UNKNOWN),
    # Version 2, TLVs
    "2 authority": (  # from haproxy's reg-tests/connection/proxy_protocol_tlv_validation.vtc
        bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 0014 7f000001 7f000001 002a 0539 02 0005 3132333435"),
        ProxyHeader(IPv4Address("TCP", "127.0.0.1", 42), IPv4Address("TCP", "127.0.0.1", 1337), b"12345"),
    ),
    "2 authority, IPv6": (binary(TCP6, ADDRESSES6, tlv(AUTHORITY, b"a.example")), ProxyHeader(*ENDS6, b"a.example")),
    "2 authority, not UTF-8": (tcp4(tlv(AUTHORITY, b"\xff\0")), ProxyHeader(*ENDS4, b"\xff\0")),
    "2 unique ID": (tcp4(tlv(UNIQUE_ID, bytes(range(128)))), ProxyHeader(*ENDS4, uniqueId=bytes(range(128)))),
    "2 nothing said": (tcp4(tlv(AUTHORITY), tlv(UNIQUE_ID), tlv(NOOP), tlv(ALPN)), ProxyHeader(*ENDS4)),
    "2 padding": (tcp4(tlv(NOOP, bytes(9)), tlv(AUTHORITY, b"a"), tlv(NOOP)), ProxyHeader(*ENDS4, b"a")),
    "2 types that don't matter": (
        tcp4(tlv(ALPN, b"h2"), tlv(NETNS, b"blue"), tlv(CUSTOM, b"\1vpce"), tlv(0xFF), tlv(0), tlv(UNIQUE_ID, b"id")),
        ProxyHeader(*ENDS4, uniqueId=b"id"),
    ),
    "2 the first counts": (
        tcp4(tlv(AUTHORITY, b"a"), tlv(AUTHORITY, b"b"), ssl(1, 0), ssl(0, 0)),
        ProxyHeader(*ENDS4, b"a", tls=ClientTLS(True)),
    ),
    "2 checksum": (tcp4(tlv(CRC32C, bytes.fromhex("20ec9549"))), ProxyHeader(*ENDS4)),
    "2 checksum, amid others": (
        summed(tlv(AUTHORITY, b"a"), tlv(CRC32C, bytes(4)), tlv(UNIQUE_ID, b"id")),
        ProxyHeader(*ENDS4, b"a", b"id"),
    ),
    "2 TLS": (
        tcp4(ssl(7, 0, tlv(VERSION, b"TLSv1.3"), tlv(GROUP, b"X25519"), tlv(CN, "Ü b".encode()), tlv(CIPHER, b"AES"))),
        ProxyHeader(*ENDS4, tls=ClientTLS(True, True, b"TLSv1.3", b"AES", "Ü b".encode())),
    ),
    "2 TLS, no certificate": (tcp4(ssl(1, 0)), ProxyHeader(*ENDS4, tls=ClientTLS(True))),
    "2 TLS, a bad certificate": (tcp4(ssl(3, 18)), ProxyHeader(*ENDS4, tls=ClientTLS(True, False))),
    "2 TLS, another bad certificate": (tcp4(ssl(3, 1 << 24)), ProxyHeader(*ENDS4, tls=ClientTLS(True, False))),
    "2 TLS, a certificate of the session": (tcp4(ssl(5, 0)), ProxyHeader(*ENDS4, tls=ClientTLS(True, True))),
    "2 no TLS": (tcp4(ssl(0, 0)), ProxyHeader(*ENDS4, tls=ClientTLS(False))),
}
"""Headers and their contents, by name."""

LINE4 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443"


def atEnd(header: bytes, message: str) -> tuple[bytes, bytes, str]:
    """Return the entry of a `header` that its last byte makes wrong, with the message."""
    return header[:-1], header[-1:], message


SPACING = "single spaces"
OPENING = "does not begin"
BAD: dict[str, tuple[bytes, bytes, str]] = {
    # Neither version
    "HTTP": (b"", b"GET / HTTP/1.1\r\n", "b'G' does not begin a PROXY protocol header"),
    "TLS": (b"", b"\x16\x03\x01\x02\0", "b'\\x16' does not begin"),
    "a NUL": (b"", b"\0", OPENING),
    "a blank before": (b"", b" PROXY TCP4", OPENING),
    "lower case": (b"P", b"roxy TCP4", OPENING),
    "an HTTP method": (b"P", b"OST / HTTP/1.1", OPENING),
    "no space": (b"PROXY", b"TCP4", OPENING),
    "a tab": (b"PROXY", b"\tTCP4", OPENING),
    "an empty line": (b"\r\n\r\n", b"\r\n", OPENING),
    "another signature": (b"\r\n\r\n\0\r\nQUIT", b"\r\n", OPENING),
    # Version 1, spacing and line ends
    "a second space": (b"PROXY ", b" TCP4", OPENING),
    "no protocol": (b"PROXY ", b"\r\n", OPENING),
    "UDP4": (b"PROXY U", b"DP4 192.0.2.1", OPENING),
    "TCP5": (b"PROXY TCP", b"5 192.0.2.1", OPENING),
    "UNKNOW": (b"PROXY UNKNOW", b"\r\n", OPENING),
    "only a protocol": (b"PROXY TCP4", b"\r\n", OPENING),
    "no words": (b"PROXY TCP4 \r", b"\n", "[''] are not two addresses and two ports"),
    "three words": (b"PROXY TCP6 ::1 ::1 1\r", b"\n", "['::1', '::1', '1'] are not two addresses and two ports"),
    "five words": (LINE4, b" 1\r\n", SPACING),
    "a third space": (b"PROXY TCP4 ", b" 192.0.2.1", SPACING),
    "a space in between": (b"PROXY TCP4 192.0.2.1 198.51.100.2 ", b" 56324 443\r\n", SPACING),
    "a tab in between": (b"PROXY TCP4 192.0.2.1", b"\t198.51.100.2", SPACING),
    "a space at the end": (LINE4, b" \r\n", SPACING),
    "LF": (LINE4, b"\nGET", SPACING),
    "CR": (LINE4 + b"\r", b"GET", SPACING),
    "CR CR LF": (LINE4 + b"\r", b"\r\n", SPACING),
    "a NUL at the end": (LINE4, b"\0\r\n", "443\\x00' is not addresses"),
    "too long": (b"PROXY TCP4 " + b"1" * 94, b"1\r\n", "more than 107 bytes"),
    "UNKNOWN, too long": (b"PROXY UNKNOWN".ljust(105), b" \r\n", "more than 107 bytes"),
    "UNKNOWN, too long with a CR": (b"PROXY UNKNOWN".ljust(105) + b"\r", b"\r\n", "more than 107 bytes"),
    # Version 1, words
    "a name": (b"PROXY TCP4 ", b"localhost", SPACING),
    "an escape sequence": (b"PROXY TCP4 e", b"\x1b[31m", "e\\x1b' is not addresses"),
    "a digit that isn't ASCII": (b"PROXY TCP4 192.0.2.", "\u0663".encode(), "\\xd9' is not addresses"),
    "a network": (b"PROXY TCP4 192.0.2.1", b"/24", SPACING),
    "a scope": (b"PROXY TCP6 fe80::1", b"%eth0", SPACING),
    "a bracket": (b"PROXY TCP6 ", b"[2001:db8::1]", SPACING),
    "a signed port": (b"PROXY TCP6 ::1 ::1 ", b"+1", SPACING),
    "a negative port": (b"PROXY TCP6 ::1 ::1 1 ", b"-1", SPACING),
    "a port with an underscore": (b"PROXY TCP6 ::1 ::1 5", b"_6324", SPACING),
    "a port in hexadecimal": (b"PROXY TCP6 ::1 ::1 1 ff\r", b"\n", "'ff' is not a port number from 0 to 65535"),
    "a port that is too high": (b"PROXY TCP6 ::1 ::1 65536 1\r", b"\n", "'65536' is not a port"),
    "a port that is too long": (b"PROXY TCP6 ::1 ::1 1 123456\r", b"\n", "'123456' is not a port"),
    "a port with a zero before": (b"PROXY TCP6 ::1 ::1 080 1\r", b"\n", "'080' is not a port"),
    "a port of zeros": (b"PROXY TCP6 ::1 ::1 1 00\r", b"\n", "'00' is not a port"),
    "no port": (b"PROXY TCP6 ::1 ::1 1 \r", b"\n", "'' is not a port"),
    "an octet that is too high": (b"PROXY TCP4 192.0.2.256 192.0.2.2 1 1\r", b"\n", "'192.0.2.256' is not an address"),
    "an octet with a zero before": (b"PROXY TCP4 192.0.2.1 192.0.2.02 1 1\r", b"\n", "'192.0.2.02' is not an address"),
    "three octets": (b"PROXY TCP4 192.0.2 192.0.2.2 1 1\r", b"\n", "'192.0.2' is not an address"),
    "five octets": (b"PROXY TCP4 192.0.2.1 192.0.2.2.1 1 1\r", b"\n", "'192.0.2.2.1' is not an address"),
    "an address in one number": (b"PROXY TCP4 3221225985 192.0.2.2 1 1\r", b"\n", "'3221225985' is not an address"),
    "IPv6 with TCP4": (b"PROXY TCP4 192.0.2.1 ::1 1 1\r", b"\n", "'::1' is not an address for TCP4"),
    "IPv4 with TCP6": (b"PROXY TCP6 ::1 192.0.2.1 1 1\r", b"\n", "'192.0.2.1' is not an address for TCP6"),
    "seven groups": (b"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 1\r", b"\n", "'1:2:3:4:5:6:7' is not an address"),
    "nine groups": (b"PROXY TCP6 ::1 1:2:3:4:5:6:7:8:9 1 1\r", b"\n", "'1:2:3:4:5:6:7:8:9' is not an address"),
    "five digits": (b"PROXY TCP6 ::00001 ::1 1 1\r", b"\n", "'::00001' is not an address"),
    "three colons": (b"PROXY TCP6 1:::1 ::1 1 1\r", b"\n", "'1:::1' is not an address"),
    "two gaps": (b"PROXY TCP6 1::2::3 ::1 1 1\r", b"\n", "'1::2::3' is not an address"),
    "IPv4 in IPv6, a zero before": (b"PROXY TCP6 ::192.0.2.01 ::1 1 1\r", b"\n", "'::192.0.2.01' is not an address"),
    # Version 2, the first 16 bytes
    "2 version 0": (SIGNATURE, b"\x01", "version and command are 0x01, not 0x20 or 0x21"),
    "2 version 1": (SIGNATURE, b"\x11\x11", "are 0x11, not"),
    "2 version 3": (SIGNATURE, b"\x31\x11", "are 0x31, not"),
    "2 another command": (SIGNATURE, b"\x22\x11", "are 0x22, not"),
    "2 another family": (SIGNATURE + b"\x21", b"\x41", "unknown address family and transport 0x41"),
    "2 another family, UNSPEC transport": (SIGNATURE + b"\x21", b"\xf0", "transport 0xf0"),
    "2 another transport": (SIGNATURE + b"\x21", b"\x13", "transport 0x13"),
    "2 UNSPEC family, another transport": (SIGNATURE + b"\x21", b"\x0f", "transport 0x0f"),
    "2 TCP4, too short": (SIGNATURE + b"\x21\x11\0", b"\x0b", "addresses of 12 bytes don't fit into 11"),
    "2 UDP4, too short": (SIGNATURE + b"\x21\x12\0", b"\0", "addresses of 12 bytes don't fit into 0"),
    "2 TCP6, too short": (SIGNATURE + b"\x21\x21\0", b"\x23", "addresses of 36 bytes don't fit into 35"),
    "2 Unix, too short": (SIGNATURE + b"\x21\x31\0", b"\xd7", "addresses of 216 bytes don't fit into 215"),
    # Version 2, TLVs
    "2 a type": atEnd(tcp4(b"\x04"), "a TLV of type 0x04 is longer"),
    "2 a type and half a length": atEnd(tcp4(tlv(NOOP), b"\x02\0"), "a TLV of type 0x02 is longer"),
    "2 a length that is too great": atEnd(tcp4(b"\xee\0\5four"), "a TLV of type 0xee is longer"),
    "2 a length that is too small": atEnd(tcp4(b"\x02\0\4fives"), "a TLV of type 0x73 is longer"),
    "2 a wrong checksum": atEnd(tcp4(tlv(CRC32C, bytes(4))), "the checksum is wrong"),
    "2 a checksum of others": atEnd(summed(tlv(CRC32C, bytes(4))).replace(b"\xc0\0\2", b"\xc0\0\3"), "the checksum"),
    "2 a checksum of no bytes": atEnd(tcp4(tlv(CRC32C)), "the checksum is wrong"),
    "2 a checksum of three bytes": atEnd(tcp4(tlv(CRC32C, bytes(3))), "the checksum is wrong"),
    "2 a checksum of five bytes": atEnd(tcp4(tlv(CRC32C, bytes(5))), "the checksum is wrong"),
    "2 a unique ID that is too long": atEnd(tcp4(tlv(UNIQUE_ID, bytes(129))), "129 bytes, and at most 128"),
    "2 TLS of no bytes": atEnd(tcp4(tlv(SSL)), "0x20 has 0 bytes, and at least 5"),
    "2 TLS of four bytes": atEnd(tcp4(tlv(SSL, bytes(4))), "0x20 has 4 bytes, and at least 5"),
    "2 TLS, a part of a TLV": atEnd(tcp4(ssl(1, 0, b"\x21\0")), "a TLV of type 0x21 is longer"),
    "2 TLS, a length that is too great": atEnd(
        tcp4(ssl(1, 0, b"\x22\0\2a"), tlv(NOOP)), "a TLV of type 0x22 is longer"
    ),
}
"""Wrong headers by name: a part that could become one, a part that can't from its first byte on, and the message."""

HEADERS = [header for header, _ in GOOD.values()]
PARTS = b"0,255,256,65535,1.2.3.4,::,::1, ,\r,\n,\r\n,\0,PROXY ,TCP4 ,TCP6 ".split(b",")
WORD = re.compile(r"[^\s=\"']+")


def outcome(pieces: list[bytes]) -> Outcome:
    """Return the result of parsing a stream in these pieces: header and rest, an error, or None."""
    parser = ProxyHeaderParser()
    for number, piece in enumerate(pieces, 1):
        try:
            if result := parser.feed(piece):
                return result[0], result[1] + b"".join(pieces[number:])
        except ProxyHeaderError:
            return ProxyHeaderError
    return None


def singly(data: bytes) -> list[bytes]:
    """Return the bytes of `data`, one by one."""
    return [bytes([byte]) for byte in data]


class ProxyHeaderParserTests(SynchronousTestCase):
    """`ProxyHeaderParser` accepts headers, and nothing else."""

    def test_headersAreParsedInAnyPieces(self) -> None:
        """Each header is parsed, in one piece and byte by byte, and the bytes after it stay."""
        for name, (data, header) in GOOD.items():
            for rest in (b"", b"\r\n", b"a" * 3000, data):
                assert outcome([data + rest]) == (header, rest), name
                assert outcome(singly(data + rest)) == (header, rest), name
                assert outcome([b"", data[:9], b"", data[9:], rest]) == (header, rest), name

    def test_partOfAHeaderIsAwaited(self) -> None:
        """No part of a header is taken for one or refused."""
        for name, (data, _) in GOOD.items():
            for size in range(len(data)):
                assert ProxyHeaderParser().feed(data[:size]) is None, (name, size)

    def test_wrongHeaderIsRefusedAtItsFirstWrongByte(self) -> None:
        """A wrong header is refused at the first byte that makes it so, with one line that says why."""
        for name, (start, wrong, message) in BAD.items():
            for pieces in ([start], singly(start)):
                parser = ProxyHeaderParser()
                assert not any(map(parser.feed, pieces)), name
                error = raised(ProxyHeaderError, parser.feed, wrong[:1])
                assert message in str(error), (name, error)
                assert str(error).isprintable(), name
            assert outcome([start + wrong]) is ProxyHeaderError, name

    def test_costDoesNotGrowWithTheNumberOfPieces(self) -> None:
        """In single bytes, too, each byte of the longest possible header is read about once."""
        filler = b"".join(tlv(NOOP, b"1234567") for _ in range((0xFFFF - 12) // 10))
        header = tcp4(filler, tlv(NOOP, bytes(0xFFFF - 12 - len(filler) - 3)))
        assert len(header) == 16 + 0xFFFF
        parser = ProxyHeaderParser()
        parser._received = received = Counted()
        assert [parser.feed(piece) for piece in singly(header[:-1])] == [None] * (len(header) - 1)
        assert received.taken < 1000
        assert parser.feed(header[-1:] + b"rest") == (ProxyHeader(*ENDS4), b"rest")
        assert received.taken < 1000 + len(header)


class Counted(bytearray):
    """Counts the bytes that are read."""

    taken = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        self.taken += 1 if isinstance(part, int) else len(part)
        return part

    def __bytes__(self) -> bytes:
        return bytes(self[:])


class FieldsTests(SynchronousTestCase):
    """`ProxyHeader.fields` are what a log line says of a header."""

    def assertFields(self, header: ProxyHeader, **fields: str) -> None:
        """Check the fields of `header`."""
        assert header.fields == fields

    def test_headerOfAddressesHasNoFields(self) -> None:
        """There is no field for what a header doesn't contain, nor for the addresses."""
        self.assertFields(UNKNOWN)
        self.assertFields(ProxyHeader(*ENDS4))

    def test_namesAreFields(self) -> None:
        """The authority and the unique ID are fields."""
        self.assertFields(ProxyHeader(*ENDS4, b"a.example", b"4F:1-a"), authority="a.example", unique_id="4F:1-a")

    def test_tlsIsItsVersionOrYesOrNo(self) -> None:
        """The field of the client's TLS is its version, or at least whether there is TLS."""
        self.assertFields(ProxyHeader(tls=ClientTLS(False)), tls="no")
        self.assertFields(ProxyHeader(tls=ClientTLS(True)), tls="yes")
        self.assertFields(ProxyHeader(tls=ClientTLS(True, version=b"TLSv1.3")), tls="TLSv1.3")
        self.assertFields(
            ProxyHeader(tls=ClientTLS(True, True, b"TLSv1.2", b"AES", b"a")),
            tls="TLSv1.2",
            tls_verified="yes",
            tls_cipher="AES",
            tls_cn="a",
        )
        self.assertFields(ProxyHeader(tls=ClientTLS(True, False)), tls="yes", tls_verified="no")

    def test_valueCannotForgeAField(self) -> None:
        """No value can look like another field or another line."""
        forged = b"a b=\"c'\r\n\xff\xe2\x80\xa8"
        self.assertFields(ProxyHeader(authority=forged), authority="a\\x20b\\x3d\\x22c\\x27\\r\\n\\xff\\u2028")
        self.assertFields(ProxyHeader(uniqueId=forged), unique_id="a\\x20b\\x3d\\x22c\\x27\\r\\n\\xff\\xe2\\x80\\xa8")

    def test_longValueIsCut(self) -> None:
        """A value longer than any host name is cut: a client could fill the log with it."""
        self.assertFields(ProxyHeader(authority=b"a" * 255), authority="a" * 255)
        self.assertFields(ProxyHeader(authority=b"a" * 256), authority="a" * 255 + "...")
        self.assertFields(ProxyHeader(uniqueId=b"\xff" * 128), unique_id="\\xff" * 128)

    @given(st.binary(min_size=1, max_size=128))
    def test_uniqueIdsStayDifferent(self, uniqueId: bytes) -> None:
        """A unique ID can be restored from its field, so two different ones have different fields."""
        shown = ProxyHeader(uniqueId=uniqueId).fields["unique_id"]
        assert shown.encode("ascii").decode("unicode_escape").encode("latin-1") == uniqueId


class EncodeProxyHeaderTests(SynchronousTestCase):
    """`encodeProxyHeader` writes what `ProxyHeaderParser` reads."""

    def test_eachKindOfAddressHasItsForm(self) -> None:
        """Each kind of address has its form in each version, or else the header is UNKNOWN or LOCAL."""
        local6 = IPv6Address("TCP", "fe80::1%eth0", 1, 0, 2)
        forms: list[tuple[int, IAddress, IAddress, bytes]] = [
            (1, *ENDS4, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"),
            (1, *ENDS6, b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"),
            (1, local6, local6, b"PROXY TCP6 fe80::1 fe80::1 1 1\r\n"),
            (1, ENDS4[0], ENDS6[1], b"PROXY UNKNOWN\r\n"),
            (1, UNIXAddress(b"a"), UNIXAddress(b"b"), b"PROXY UNKNOWN\r\n"),
            (1, HostnameAddress(b"a.example", 1), ENDS4[0], b"PROXY UNKNOWN\r\n"),
            (2, *ENDS4, binary(TCP4, ADDRESSES4)),
            (2, *ENDS6, binary(TCP6, ADDRESSES6)),
            (2, local6, local6, binary(TCP6, (b"\xfe\x80".ljust(15, b"\0") + b"\1") * 2 + b"\0\1" * 2)),
            (2, UNIXAddress(None), UNIXAddress(b"b"), binary(STREAM, bytes(108) + unix(b"b"))),
            (2, UNIXAddress(b"a" * 108), UNIXAddress(b"b"), binary(STREAM, b"a" * 108 + unix(b"b"))),
            (2, UNIXAddress(b"a" * 109), UNIXAddress(b"b"), binary(0, command=LOCAL)),
            (2, ENDS4[0], ENDS6[1], binary(0, command=LOCAL)),
            (2, ENDS4[0], UNIXAddress(b"b"), binary(0, command=LOCAL)),
            (2, HostnameAddress(b"a.example", 1), ENDS4[0], binary(0, command=LOCAL)),
        ]
        for version, source, destination, header in forms:
            assert encodeProxyHeader(version, source, destination) == header, (version, source, destination)

    @given(st.tuples(IPV4S, IPV4S) | st.tuples(IPV6S, IPV6S), st.sampled_from((1, 2)), st.binary())
    def test_ipAddressesAreReadBack(self, ends: tuple[IAddress, IAddress], version: int, rest: bytes) -> None:
        """IP addresses are read as they were written in both versions."""
        assert outcome([encodeProxyHeader(version, *ends) + rest]) == (ProxyHeader(*ends), rest)

    @given(UNIX, UNIX, st.binary())
    def test_unixNamesAreReadBack(self, source: UNIXAddress, destination: UNIXAddress, rest: bytes) -> None:
        """The names of Unix sockets are read as they were written in version 2."""
        assert outcome([encodeProxyHeader(2, source, destination) + rest]) == (ProxyHeader(source, destination), rest)

    @given(IPV4S | IPV6S | UNIX, IPV4S | IPV6S | UNIX, st.sampled_from((1, 2)))
    def test_anyTwoAddressesHaveAHeader(self, source: IAddress, destination: IAddress, version: int) -> None:
        """Any two addresses have a header, which contains both or none."""
        header = encodeProxyHeader(version, source, destination)
        assert outcome([header]) in [(UNKNOWN, b""), (ProxyHeader(source, destination), b"")]


class ChecksumTests(SynchronousTestCase):
    """`crc32c` is the CRC-32C of RFC 4960."""

    def test_publishedValuesAreReproduced(self) -> None:
        """It reproduces the values of RFC 3720, B.4, and the check value of the catalogues."""
        known = {
            b"": 0,
            b"123456789": 0xE3069283,
            bytes(32): 0x8A9136AA,
            b"\xff" * 32: 0x62A8AB43,
            bytes(range(32)): 0x46DD794E,
            bytes(range(31, -1, -1)): 0x113FDB5C,
        }
        for data, checksum in known.items():
            assert crc32c(data) == checksum, data


class FuzzTests(SynchronousTestCase):
    """Any bytes are a header, are refused, or are part of one; the pieces don't matter."""

    def fuzz(self, stream: Callable[[Random], bytes]) -> None:
        """Judge EXAMPLES streams that `stream` generates, others in each run; an error names its seed."""
        judged: set[object] = set()
        first = int.from_bytes(randomBytes(4))
        for seed in range(first, first + EXAMPLES):
            random = Random(seed)  # noqa: S311  # it has to be repeatable
            data = stream(random)
            try:
                judged.add(self.judge(data, random))
            except Exception as error:
                raise AssertionError(f"seed {seed}: {data!r}") from error
        assert len(judged) == 3, judged

    def judge(self, data: bytes, random: Random) -> object:
        """Check the result of parsing `data`, and return which of the three it is."""
        result = outcome([data])
        cuts = sorted(random.choices(range(len(data) + 1), k=random.randrange(6)))
        assert outcome([data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == result
        assert outcome(singly(data)) == result
        if isinstance(result, tuple):
            header, rest = result
            size = len(data) - len(rest)
            assert data[size:] == rest
            assert outcome([data[:size]]) == (header, b"")
            assert outcome([data[: size - 1]]) is None
            assert all(map(WORD.fullmatch, header.fields.values()))
            assert all(map(str.isprintable, header.fields.values()))
            self.checkAddresses(header, data[:size])
            return tuple
        if result:
            assert str(raised(ProxyHeaderError, ProxyHeaderParser().feed, data)).isprintable()
        return result

    def checkAddresses(self, header: ProxyHeader, data: bytes) -> None:
        """Check the addresses against those in `data`, with `encodeProxyHeader` or the system's library."""
        if not header.source or not header.destination:
            assert header == UNKNOWN
        elif data.startswith(b"PROXY TCP4"):
            assert encodeProxyHeader(1, header.source, header.destination) == data
        elif data.startswith(b"PROXY"):  # there is more than one way to write an IPv6 address
            _, _, *ends = data.decode().split()
            ips = [inet_ntop(AF_INET6, inet_pton(AF_INET6, host)) for host in ends[:2]]
            assert header.source == IPv6Address("TCP", ips[0], int(ends[2]))
            assert header.destination == IPv6Address("TCP", ips[1], int(ends[3]))
        elif not isinstance(header.source, UNIXAddress):
            encoded = encodeProxyHeader(2, header.source, header.destination)
            assert encoded[16:] == data[16 : len(encoded)]

    def test_mutatedHeaders(self) -> None:
        """Headers in which bytes are changed, added or removed."""

        def stream(random: Random) -> bytes:
            data = bytearray(random.choice(HEADERS) + random.randbytes(random.randrange(4)))
            for _ in range(random.randrange(4)):
                at = random.randrange(len(data) + 1)
                size = random.choice((0, 1, 1, 1, 2, 9))
                data[at : at + size] = random.choice((b"", random.randbytes(1), random.choice(PARTS)))
            return bytes(data[: random.choice((len(data), len(data), random.randrange(len(data) + 1)))])

        self.fuzz(stream)

    def test_randomBytesAfterAHeadersBeginning(self) -> None:
        """Random bytes after the beginning of a header, or after nothing."""

        def stream(random: Random) -> bytes:
            start = random.choice(HEADERS)
            words = random.choices(PARTS, k=random.randrange(8))
            end = random.choice((b"", b"\r\n", random.randbytes(random.randrange(300))))
            return start[: random.randrange(min(len(start), 20))] + random.choice((b"", b" ")).join(words) + end

        self.fuzz(stream)

    def test_randomTLVsAfterAddresses(self) -> None:
        """Random TLVs, most of them well formed, after right addresses."""

        def value(random: Random, depth: int) -> bytes:
            if depth and random.random() < 0.5:
                return random.randbytes(5) + tlvs(random, depth - 1)
            return random.choice((b"", random.randbytes(4), random.randbytes(random.randrange(140)), b"a=b \"'\\"))

        def tlvs(random: Random, depth: int) -> bytes:
            kinds = random.choices((AUTHORITY, UNIQUE_ID, SSL, NOOP, VERSION, CN, CIPHER, 0xFF), k=random.randrange(4))
            data = b"".join(tlv(kind, value(random, depth)) for kind in kinds)
            return data + random.choice((b"",) * 7 + (random.randbytes(random.randrange(4)),))

        def stream(random: Random) -> bytes:
            family, block = random.choice(((TCP4, ADDRESSES4), (UDP6, ADDRESSES6), (STREAM, bytes(216))))
            header = binary(family, block, tlvs(random, 2), random.choice((b"", tlv(CRC32C, bytes(4)))))
            if random.random() < 0.9 and header.endswith(tlv(CRC32C, bytes(4))):
                header = header[:-4] + crc32c(header).to_bytes(4)
            return (header + random.randbytes(2))[: random.choice((None, None, None, -3))]

        self.fuzz(stream)
