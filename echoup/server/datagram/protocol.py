"""Echo over UDP."""

from typing import Any

from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from echoup.server.datagram.reflection import ReflectionGuard
from echoup.server.datagram.returnpath import DatagramRefusal, ReturnPath
from echoup.upper import upper


class IDatagramTransport(IUDPTransport):
    """What `EchoUpDatagram` needs of its transport; `DatagramPort` provides it."""

    def answer(datagram: bytes, path: ReturnPath) -> None:
        """Send `datagram` along `path`."""

    def drop(refusal: DatagramRefusal) -> None:
        """Count a datagram that isn't answered."""


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
        if refusal := self._guard.refusalOf(datagram, reply, addr):
            self.transport.drop(refusal)
        else:
            self.transport.answer(reply, addr)
