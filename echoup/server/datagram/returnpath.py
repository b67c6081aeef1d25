"""The way back of a datagram, and the reasons not to answer one."""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from ipaddress import ip_address
from typing import Any


class DatagramRefusal(Enum):
    """Why a datagram isn't answered; the values are the words of the log line, with the limit as `rate`."""

    __hash__ = object.__hash__  # Enum's own is Python code, which would run for each datagram that is dropped

    SYSTEM_PORT = "the source port is below 1024"  # the services there may answer an answer
    OWN_PORT = "the source port is one of this daemon's"
    NO_HOST = "the source is not the address of one host"
    MANY_HOSTS = "it was sent to more than one host"
    RATE = "more than {rate} a second from this address (--udp-rate)"
    OWN_REPLY = "it is this daemon's own reply"
    UNSENT = "its answer could not be sent"  # only counted: the log could tell nothing that helps

    @property
    def label(self) -> str:
        """The value of the label `reason` in the metrics."""
        return self.name.lower()


@dataclass(frozen=True)
class ReturnPath:
    """Where a datagram came from, and where its answer has to come from; `datagramReceived` gets it as the address."""

    sender: Any
    """The sender as the kernel gives it: host and port; for IPv6 also flow label and scope."""
    asked: tuple[str, int] | None = None
    """Our address and port that the datagram was sent to; None if it was sent to more than one host."""
    controls: tuple[tuple[int, int, bytes], ...] = ()
    """The control messages that make the kernel answer from there, and with the datagram's TOS; without the one the
    socket and the routes decide, and without the other it is 0."""

    @cached_property
    def refusal(self) -> DatagramRefusal | None:
        """Why no datagram is answered on this path; None if nothing about the path forbids it."""
        host, port = self.sender[:2]
        if port < 1024:
            return DatagramRefusal.SYSTEM_PORT
        address = ip_address(host)  # the kernel itself refuses the broadcast address of a network
        if address.is_multicast or address.is_unspecified or host == "255.255.255.255":
            return DatagramRefusal.NO_HOST
        return None if self.asked else DatagramRefusal.MANY_HOSTS
