"""Socket options that Twisted doesn't set."""

import socket
from contextlib import suppress
from errno import ENOPROTOOPT, EOPNOTSUPP

_LEAST_HOPS = {socket.AF_INET: (socket.IPPROTO_IP, 21), socket.AF_INET6: (socket.IPPROTO_IPV6, 73)}
"""IP_MINTTL and IPV6_MINHOPCOUNT, which Linux has and Python doesn't: packets with less are dropped."""


def prepare(stream: socket.socket) -> None:
    """Set what a socket of ours needs, as far as its protocol has it; see `passesOptions` for a listening socket."""
    stream.setblocking(False)
    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        # Without this an urgent byte is taken out of the stream and missing in the echo (RFC 6093, 2.2).
        (socket.SOL_SOCKET, socket.SO_OOBINLINE),
    ]
    if stream.family != socket.AF_UNIX:
        options.append((socket.IPPROTO_TCP, socket.TCP_NODELAY))
    for level, option in options:
        try:
            stream.setsockopt(level, option, 1)
        except OSError as error:
            if error.errno not in (EOPNOTSUPP, ENOPROTOOPT):
                raise


def passesOptions(listening: socket.socket) -> bool:
    """Return whether connections inherit from `listening` what `prepare` sets.

    Those of a Unix socket inherit nothing. MPTCP has no SO_OOBINLINE, and needs none, since it has no urgent bytes. But
    where the peer speaks plain TCP, so does the connection that an MPTCP socket accepts (RFC 8684, 3.7).
    """
    return listening.family != socket.AF_UNIX and not isMultipath(listening)


def isMultipath(stream: socket.socket) -> bool:
    """Return whether `stream` speaks MPTCP, as systemd's SocketProtocol=mptcp and mptcpize(8) make it."""
    return stream.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_MPTCP


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
