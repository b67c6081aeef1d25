"""Echo over UDP."""

from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from echoup.server.datagram.reflection import ReflectionGuard
from echoup.upper import upper


@dataclass(frozen=True)
class ReturnPath:
    """Where a datagram came from, and where its answer has to come from; `datagramReceived` gets it as the address."""

    sender: Any
    """The sender as the kernel gives it: host and port; for IPv6 also flow label and scope."""
    asked: tuple[str, int] | None = None
    """Our address and port that the datagram was sent to; None if it was sent to more than one host."""
    origin: tuple[tuple[int, int, bytes], ...] = ()
    """The control message that makes the kernel answer from there; without one the routes decide."""


class IDatagramTransport(IUDPTransport):
    """What `EchoUpDatagram` needs of its transport; `DatagramPort` provides it."""

    def answer(datagram: bytes, path: ReturnPath) -> None:
        """Send `datagram` along `path`."""


class EchoUpDatagram(DatagramProtocol):
    """The protocol of a UDP port: sends every datagram back in upper case, unless the guard refuses it."""

    noisy = False
    transport: IDatagramTransport

    def __init__(self, guard: ReflectionGuard) -> None:
        """Several ports may have the same `guard`."""
        self._guard = guard

    def startProtocol(self) -> None:
        """Tell the guard which port is ours."""
        self._guard.ports.add(self.transport.getHost().port)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Send `datagram` back in upper case; `addr` is its ReturnPath."""
        reply = upper(datagram)
        if self._guard.mayAnswer(datagram, reply, addr.sender, addr.asked):
            self.transport.answer(reply, addr)
