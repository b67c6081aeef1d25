"""Protocols that pass file descriptors over a Unix socket, which uvloop's transports can't."""

from socket import AF_UNIX, socket

from twisted.internet.interfaces import IFileDescriptorReceiver, IProtocol
from twisted.internet.unix import Server

from echoup.reactor.interfaces import IStreamReactor


def passesDescriptors(protocol: IProtocol, family: int) -> bool:
    """Return whether `protocol` passes descriptors over a socket of `family`."""
    return family == AF_UNIX and IFileDescriptorReceiver.providedBy(protocol)


def leaveToTwisted(connected: socket, protocol: IProtocol, reactor: IStreamReactor) -> Server:
    """Give `protocol` a transport of Twisted's, which can pass descriptors; return the transport."""
    transport = Server(connected, protocol, connected.getpeername(), None, 0, reactor)
    transport.repstr = f"<{type(protocol).__name__} with descriptors>"
    protocol.makeConnection(transport)
    return transport
