"""Sockets that tests open, refuse, reset and ask without a reactor."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from struct import pack, unpack_from


def reset(end: socket.socket) -> None:
    """Reset a connection at one of its ends (socket(7), SO_LINGER)."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    end.close()


@contextmanager
def unheard() -> Iterator[int]:
    """Yield the number of a TCP port of 127.0.0.1 that refuses: it is taken, so that nobody else can listen on it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def leave(server: socket.socket) -> socket.socket:
    """Close a UDP server of 127.0.0.1, so that its port refuses, and return what keeps the port from others.

    Its number stays taken at another address: a client binds to all addresses, and could get it.
    """
    kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    kept.bind(("127.0.0.2", server.getsockname()[1]))
    server.close()
    return kept


def connectedPair(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection, non-blocking.

    Their receive buffers have a size of their own, which the kernel doesn't raise: it may, to 32 MiB (tcp(7)).
    """
    if family == socket.AF_UNIX:
        pair = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            far = socket.socket()
            for end in (listening, far):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
            far.connect(listening.getsockname())
            pair = listening.accept()[0], far
    for end in pair:
        end.setblocking(False)
    return pair


def longestQueue(listening: socket.socket) -> int:
    """Return how many connections the kernel keeps for a listening TCP socket (tcpi_sacked, linux/tcp.h)."""
    information = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    longest: int = unpack_from("I", information, 28)[0]
    return longest
