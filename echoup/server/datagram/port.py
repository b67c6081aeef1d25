"""What `--udp` means: the description of an address, and the UDP ports that it becomes."""

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from struct import Struct
from typing import Any

from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port
from twisted.logger import Logger
from zope.interface import implementer

from echoup.server.datagram.protocol import IDatagramTransport
from echoup.server.listening.hosts import openEach, parseOwnAddress
from echoup.server.listening.sockets import closePort

LARGEST = 65_536
"""More than the largest datagram: 65 507 bytes over IPv4, 65 527 over IPv6."""

DATAGRAMS_PER_TURN = 64
"""Datagrams that one port takes in before everything else gets its turn: 1 ms of work."""

BYTES_PER_TURN = 256 * 1024
"""The same in bytes; it is never exceeded."""

RECEIVE_BUFFER = 4 * 1024 * 1024
"""What the kernel may keep for us, in bytes. With what it keeps by itself, half of a burst of 1000 x 1400 is lost."""

# Linux has them, Python 3.11 doesn't.
IP_PKTINFO = 8
SO_RCVBUFFORCE = 33

_IPV4 = Struct("=i4s4s")  # an interface, our own address, the destination: ip(7), IP_PKTINFO
_IPV6 = Struct("=16si")  # the destination, an interface: RFC 3542, 6


@implementer(IDatagramTransport)
class DatagramPort(Port):
    """A UDP port that answers from the address that was asked (RFC 1122, 4.1.3.5), wherever it is bound.

    Twisted's leaves the address to the kernel, so who asked one may be answered from another. It also takes turns
    by bytes only: empty datagrams from itself to itself would keep it busy for ever.

    Senders are given to the protocol in the kernel's words: for IPv6 these are four, of which the last is the
    interface that a link-local address needs.
    """

    asked: tuple[str, int | None] | None = None
    _origin: tuple[tuple[int, int, bytes], ...] = ()
    _logger = Logger()

    def doRead(self) -> None:
        """Deliver what has come in, up to what a turn allows."""
        count = size = 0
        while count < DATAGRAMS_PER_TURN and size <= BYTES_PER_TURN - LARGEST:
            try:
                datagram, ancillary, _, sender = self.socket.recvmsg(LARGEST, socket.CMSG_SPACE(_IPV6.size))
            except OSError:  # most often because there is no more; nothing else is worth a word either
                break
            count += 1
            size += len(datagram)
            host, self._origin = _destination(*ancillary[0])
            self.asked = (host, self._realPortNumber) if host else None
            try:
                self.protocol.datagramReceived(datagram, sender)
            except Exception:  # would close the port
                self._logger.failure("a datagram was not served")
        self.asked, self._origin = None, ()

    def write(self, datagram: bytes, addr: Any = None) -> None:
        """Send `datagram`: an answer to the one that is being delivered goes out from where that was sent to.

        What the kernel doesn't take, for want of room, of a route or of permission, is lost, as a datagram may be.
        """
        with suppress(OSError):
            self.socket.sendmsg((datagram,), self._origin, 0, addr)


def _destination(level: int, kind: int, info: bytes) -> tuple[str | None, tuple[tuple[int, int, bytes]]]:
    """Return a datagram's destination, if that is one host, and the word that makes the kernel answer from there.

    The interface is left to the routes, except where an address means nothing without it.
    """
    if level == socket.IPPROTO_IP:
        _, own, asked = _IPV4.unpack(info)
        text, isOneHost = socket.inet_ntop(socket.AF_INET, asked), asked == own
        origin = _IPV4.pack(0, asked, bytes(4))
    else:
        asked, interface = _IPV6.unpack(info)
        text, isOneHost = socket.inet_ntop(socket.AF_INET6, asked), asked[0] != 0xFF
        origin = _IPV6.pack(asked, interface if text.startswith("fe80:") else 0)
    return (text if isOneHost else None), ((level, kind, origin),)


@dataclass(frozen=True)
class DatagramListener:
    """Listens on a UDP port, at each address of a host, or at every address of this machine (`host` None)."""

    description: str
    host: str | None
    port: int

    def listen(self, reactor: PosixReactorBase, protocol: Callable[[], DatagramProtocol]) -> list[DatagramPort]:
        """Listen, with a new `protocol` on each port, and return them; raise OSError where that is impossible."""
        return openEach(self.host, self.port, socket.SOCK_DGRAM, partial(_listen, reactor, protocol), closePort)


def _listen(
    reactor: PosixReactorBase, protocol: Callable[[], DatagramProtocol], family: socket.AddressFamily, address: Any
) -> DatagramPort:
    with socket.socket(family, socket.SOCK_DGRAM) as listening:
        listening.setblocking(False)
        # All before it is bound: whatever comes in has its destination with it.
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            listening.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):  # up to net.core.rmem_max; beyond it, with CAP_NET_ADMIN
            with suppress(OSError):
                listening.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER)
        listening.bind(address)
        port: DatagramPort = DatagramPort._fromListeningDescriptor(
            reactor, listening.fileno(), family, protocol(), LARGEST
        )
    port.startListening()
    return port


def parseDatagramListener(description: str) -> DatagramListener:
    """Return the listener that `description` names.

    `PORT` or `*:PORT` (every address, IPv4 and IPv6), `HOST:PORT` or `[V6]:PORT`. Raise ValueError, with
    one line that says what is wrong, for anything else.
    """
    return DatagramListener(description, *parseOwnAddress(description))
