"""The TOS byte as users write it, and on sockets."""

import socket

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.tos import parseTOS, setTOS
from tests.support.doubles import raised


class TOSTests(SynchronousTestCase):
    """`parseTOS` takes numbers and the names of code points; `setTOS` sets it."""

    def test_numbersAndNamesAreTaken(self) -> None:
        """A number, decimal or hexadecimal, is the byte; a name is a DSCP, which is its upper six bits."""
        for text, tos in (
            ("0", 0),
            ("255", 255),
            ("0xb8", 0xB8),
            ("0XFF", 255),
            ("EF", 46 << 2),
            ("ef", 46 << 2),
            ("CS0", 0),
            ("cs7", 56 << 2),
            ("AF11", 10 << 2),
            ("AF22", 20 << 2),
            ("af43", 38 << 2),
        ):
            assert parseTOS(text) == tos

    def test_anythingElseIsRefused(self) -> None:
        """Anything else is refused, with what would be right."""
        for text in ("", "256", "0x100", "-1", "1.0", "CS8", "AF44", "AF10", "EF ", "B8", "\u0661", "1_0"):
            error = raised(ValueError, parseTOS, text)
            assert str(error).startswith(f"{text!r} is neither a number from 0 to 255 nor a DSCP name")

    def test_socketOfIPv6HasBoth(self) -> None:
        """A socket of IPv6 has the traffic class, and the TOS for addresses that are mapped to IPv4."""
        for family in (socket.AF_INET, socket.AF_INET6):
            with socket.socket(family, socket.SOCK_DGRAM) as handle:
                setTOS(handle, 0xB8)
                assert handle.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xB8
                if family == socket.AF_INET6:
                    assert handle.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 0xB8
