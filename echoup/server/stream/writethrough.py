"""Transports that write at once what the kernel takes at once, on the reactors whose transports don't."""

from contextlib import suppress

from twisted.internet import tcp, unix


class _WriteThrough(tcp.Server):
    """Sends before it buffers.

    Twisted's write waits for the reactor to find the socket writable: for each message one more round of epoll, and two
    of its system calls. What can't be sent at once goes that way here, too, and so does every error.
    """

    def write(self, data: bytes) -> None:
        """Send what the kernel takes, and the rest later."""
        if self.connected and not (self.dataBuffer or self._tempDataBuffer or self._writeDisconnected):
            with suppress(OSError):
                data = data[self.socket.send(data) :]
        if data:
            super().write(data)


class TCPTransport(_WriteThrough):
    """A TCP connection."""


class UNIXTransport(_WriteThrough, unix.Server):
    """A connection over a Unix socket."""


def writeThrough(port: tcp.Port) -> None:
    """Have the connections that `port` accepts write through; on uvloop, whose transports do, it changes nothing."""
    if port.transport is tcp.Server:
        port.transport = TCPTransport
    elif port.transport is unix.Server:
        port.transport = UNIXTransport
