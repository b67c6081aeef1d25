"""The TOS byte of what is sent (RFC 2474), which IPv6 calls the traffic class."""

import re
import socket

_EXPEDITED = 46
"""The code point EF (RFC 3246)."""


def parseTOS(text: str) -> int:
    """Return the TOS byte that `text` names: a number from 0 to 255, also hexadecimal as 0xB8, or a DSCP name.

    The names are EF (RFC 3246), CS0 to CS7 (RFC 2474) and AF11 to AF43 (RFC 2597). Raise ValueError for anything else.
    """
    name = text.upper()
    if name == "EF":
        return _EXPEDITED << 2
    if selector := re.fullmatch("CS([0-7])", name):
        return int(selector[1]) << 5
    if forwarding := re.fullmatch("AF([1-4])([1-3])", name):
        return int(forwarding[1]) << 5 | int(forwarding[2]) << 3
    if re.fullmatch("[0-9]{1,3}|0X[0-9A-F]{1,2}", name) and (number := int(name, 16 if "X" in name else 10)) < 256:
        return number
    raise ValueError(f"{text!r} is neither a number from 0 to 255 nor a DSCP name: EF, CS0 to CS7, AF11 to AF43")


def setTOS(handle: socket.socket, tos: int) -> None:
    """Make the IP socket `handle` send packets with `tos`; on TCP the kernel keeps the ECN bits for itself (ip(7))."""
    if handle.family == socket.AF_INET6:
        handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
    handle.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)  # of an IPv6 socket, for addresses mapped to IPv4
