"""What `--udp` means: the description of an address, and the UDP ports that listen at it."""

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from struct import Struct
from typing import Any

from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.server.datagram.protocol import IDatagramTransport
from echoup.server.datagram.returnpath import DatagramRefusal, ReturnPath
from echoup.server.listening.hosts import STREAMS, parseOwnAddress, refuseForeignForms
from echoup.server.listening.sockets import closePort, openEach
from echoup.server.platform.twistedports import adoptDatagramSocket, silenced

LARGEST = 65_536
"""More than the largest datagram: 65 507 bytes over IPv4, 65 527 over IPv6."""

DATAGRAMS_PER_TURN = 64
"""Datagrams that a port serves before the reactor turns to everything else: half a millisecond of work."""

BYTES_PER_TURN = 256 * 1024
"""Bytes that a port reads in a turn, at most."""

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes that the kernel may queue for a port. With its default, half of a burst of 1000 x 1400 is lost."""

PATHS = 1024
"""Return paths that are kept, so that a further datagram of the sender costs a look-up."""

# Linux has them, Python 3.11 doesn't.
IP_PKTINFO = 8
SO_RCVBUFFORCE = 33

_IPV4 = Struct("=i4s4s")  # the interface, our own address, the destination: ip(7), IP_PKTINFO
_IPV6 = Struct("=16si")  # the destination, the interface: RFC 3542, 6
# The larger of the two, and the TOS: a byte over IPv4, ip(7), and an int over IPv6 (RFC 3542, 6.5).
_ANCILLARY = socket.CMSG_SPACE(_IPV6.size) + socket.CMSG_SPACE(4)


@dataclass(eq=False)
class DatagramCounts:
    """What is counted of datagrams; between turns, `received` is `answered` and all of `dropped`."""

    received: int = 0
    answered: int = 0
    """Those whose answer the kernel took."""
    dropped: dict[DatagramRefusal, int] = field(default_factory=lambda: dict.fromkeys(DatagramRefusal, 0))
    receivedBytes: int = 0
    sentBytes: int = 0


@implementer(IDatagramTransport)
class DatagramPort(Port):
    """A UDP port that answers from the address that was asked (RFC 1122, 4.1.3.5), wherever it is bound.

    Twisted's port leaves the choice to the kernel, so an answer may come from another address. It also limits its turns
    by bytes only: empty datagrams that it sends to itself would keep it in one turn forever.

    An answer has the TOS, or traffic class, with which its datagram arrived: DSCP and ECN alike, so a client sees what
    the path does to them.

    The protocol gets the `ReturnPath` of each datagram as its address, for `answer`.
    """

    _log = Logger()

    counts: DatagramCounts
    """What this port has counted, together with the other ports of its listener."""

    _answers: list[tuple[bytes, ReturnPath]] | None = None
    """The answers of this turn; None between turns."""

    @cached_property
    def _bound(self) -> tuple[str, int]:
        host, port = self.socket.getsockname()[:2]
        return host, port

    @cached_property
    def _unmarked(self) -> bytes:
        """What the kernel tells of a datagram without a TOS."""
        return bytes(4 if self.addressFamily == socket.AF_INET6 else 1)

    def doRead(self) -> None:
        """Serve the datagrams that have come, up to the limits of a turn.

        Read all, check all, then answer all: one datagram after the other costs 15 % more.
        """
        received = self._receive()
        answers: list[tuple[bytes, ReturnPath]] = []
        self._answers = answers
        serve = self.protocol.datagramReceived
        for datagram, path in received:
            try:
                serve(datagram, path)
            except Exception:  # would close the port
                self._log.failure("a datagram was not served")
                self.drop(DatagramRefusal.UNSENT)
        self._answers = None
        self._send(answers)

    def _receive(self) -> list[tuple[bytes, ReturnPath]]:
        """Return the datagrams that have come, each with its path."""
        received: list[tuple[bytes, ReturnPath]] = []
        size, bound, receive, unmarked = 0, self._bound, self.socket.recvmsg, self._unmarked
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                datagram, ancillary, _, sender = receive(LARGEST, _ANCILLARY)
            except OSError:  # there are no more, or the kernel reports an error of an earlier answer
                break
            size += len(datagram)
            (_, _, info), (_, _, tos) = ancillary  # in the kernel's order
            if tos == unmarked:
                received.append((datagram, _returnPath(bound, sender, info)))
            else:
                received.append((datagram, _markedPath(bound, sender, info, tos)))
            if size > BYTES_PER_TURN - LARGEST:
                break
        self.counts.received += len(received)
        self.counts.receivedBytes += size
        return received

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Close the socket, without Twisted's log line."""
        with silenced():
            super().connectionLost(reason)

    def answer(self, datagram: bytes, path: ReturnPath) -> None:
        """Send `datagram` along `path`, at the end of the turn.

        It is lost if the kernel refuses it, for lack of room, of a route or of permission.
        """
        if self._answers is None:
            self._send([(datagram, path)])
        else:
            self._answers.append((datagram, path))

    def drop(self, refusal: DatagramRefusal) -> None:
        """Count a datagram that isn't answered."""
        self.counts.dropped[refusal] += 1

    def _send(self, answers: list[tuple[bytes, ReturnPath]]) -> None:
        size, unsent = 0, 0
        sendmsg, sendto = self.socket.sendmsg, self.socket.sendto
        for datagram, path in answers:
            try:
                if path.controls:
                    size += sendmsg((datagram,), path.controls, 0, path.sender)
                else:
                    size += sendto(datagram, path.sender)
            except OSError:
                unsent += 1
        self.counts.answered += len(answers) - unsent
        self.counts.sentBytes += size
        self.counts.dropped[DatagramRefusal.UNSENT] += unsent


@lru_cache(PATHS)
def _returnPath(bound: tuple[str, int], sender: Any, info: bytes) -> ReturnPath:
    """Return the path of a datagram from `sender` to a socket that is `bound` there; `info` names its destination."""
    if len(info) == _IPV4.size:
        _, own, destination = _IPV4.unpack(info)
        host, isOneHost = socket.inet_ntop(socket.AF_INET, destination), destination == own
        origin = socket.IPPROTO_IP, IP_PKTINFO, _IPV4.pack(0, destination, bytes(4))
    else:
        destination, interface = _IPV6.unpack(info)
        host, isOneHost = socket.inet_ntop(socket.AF_INET6, destination), destination[0] != 0xFF
        # The routes decide the interface, except for a link-local address, which means nothing without it.
        packed = _IPV6.pack(destination, interface if host.startswith("fe80:") else 0)
        origin = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed
    asked = (host, bound[1]) if isOneHost else None
    # A socket that is bound to one address answers from there; a control message would add 8 % to the cost.
    return ReturnPath(sender, asked, () if asked == bound else (origin,))


@lru_cache(PATHS)  # of its own: a sender that changes its TOS can't displace the paths of those that set none
def _markedPath(bound: tuple[str, int], sender: Any, info: bytes, tos: bytes) -> ReturnPath:
    """Return the path of a datagram that came with `tos`, which is also that of its answer."""
    path = _returnPath.__wrapped__(bound, sender, info)
    kind = (socket.IPPROTO_IP, socket.IP_TOS) if len(tos) == 1 else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
    return replace(path, controls=(*path.controls, (*kind, tos)))


@dataclass(frozen=True)
class DatagramListener:
    """A UDP port to listen on, at each address of a host, or at every address of this machine (`host` None)."""

    description: str
    host: str | None
    port: int

    def open(self, reactor: PosixReactorBase, protocol: Callable[[], DatagramProtocol]) -> list[DatagramPort]:
        """Listen, with a new `protocol` on each port, and return them; raise OSError where that is impossible.

        All of them have the same counts.
        """
        openOne = partial(_listen, reactor, protocol, DatagramCounts())
        return openEach(self.host, self.port, socket.SOCK_DGRAM, openOne, closePort)


def _listen(
    reactor: PosixReactorBase,
    protocol: Callable[[], DatagramProtocol],
    counts: DatagramCounts,
    family: socket.AddressFamily,
    address: Any,
) -> DatagramPort:
    with socket.socket(family, socket.SOCK_DGRAM) as listening:
        listening.setblocking(False)
        # Before it is bound, so that every datagram comes with its destination and its TOS.
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            listening.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            listening.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):  # up to net.core.rmem_max; beyond it, with CAP_NET_ADMIN
            with suppress(OSError):
                listening.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER)
        listening.bind(address)
        port = adoptDatagramSocket(DatagramPort, reactor, listening, protocol(), LARGEST)
        port.counts = counts
    with silenced():
        port.startListening()
    return port


def parseDatagramListener(description: str) -> DatagramListener:
    """Return the listener that `description` names, in a form of `parseOwnAddress`; raise ValueError for any other."""
    kind, _, rest = description.partition(":")
    if kind in STREAMS and not rest.startswith("//"):
        raise ValueError(f"{description!r} is not a UDP address; write --listen {description}")
    refuseForeignForms(description)
    return DatagramListener(description, *parseOwnAddress(description))
