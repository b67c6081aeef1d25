"""Socket options that Twisted doesn't set."""

import socket
from contextlib import suppress

_LEAST_HOPS = {socket.AF_INET: (socket.IPPROTO_IP, 21), socket.AF_INET6: (socket.IPPROTO_IPV6, 73)}
"""IP_MINTTL and IPV6_MINHOPCOUNT, which Linux has and Python doesn't: of packets with less, nothing is received."""


def prepare(stream: socket.socket) -> None:
    """Set what a socket of ours needs; a TCP connection inherits its options from its listening socket."""
    stream.setblocking(False)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Without this an urgent byte is taken out of the stream and missing in the echo (RFC 6093, 2.2).
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    if stream.family != socket.AF_UNIX:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stopHandshakes(listening: socket.socket) -> None:
    """Let no TCP handshake begin any more: a client in the queue of a socket that is closed is reset.

    The kernel drops the first segment of a handshake as if it came from too far away; the client sends it again after a
    second, to whatever listens by then. A connection whose handshake had begun comes into the queue, and inherits this:
    see `allowPackets`.
    """
    _setLeastHops(listening, 255)


def allowPackets(connected: socket.socket) -> None:
    """Undo `stopHandshakes` for a connection, which may have inherited it from its listening socket."""
    _setLeastHops(connected, 0)


def _setLeastHops(stream: socket.socket, hops: int) -> None:
    if stream.family in _LEAST_HOPS:
        with suppress(OSError):  # where there is no such option
            stream.setsockopt(*_LEAST_HOPS[stream.family], hops)
