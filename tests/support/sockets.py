"""Operations on sockets without a reactor."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from struct import pack, unpack_from
from unittest import SkipTest


def reset(end: socket.socket) -> None:
    """Close one end of a connection with a reset (socket(7), SO_LINGER)."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    end.close()


@contextmanager
def unheard(host: str = "127.0.0.1", kind: int = socket.SOCK_STREAM) -> Iterator[int]:
    """Yield the number of a port of `host` that refuses: its socket does not listen, or is connected to itself."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as bound:
        bound.bind((host, 0))
        if kind == socket.SOCK_DGRAM:
            bound.connect(bound.getsockname())
        yield bound.getsockname()[1]


def leave(server: socket.socket) -> socket.socket:
    """Close a UDP server of 127.0.0.1, so its port refuses, and return a socket that reserves the port's number.

    That socket has another address; a client binds to all addresses, so it can't get the number. Other tests may have
    the same number at other addresses.
    """
    kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for last in range(2, 255):
        with suppress(OSError):
            kept.bind((f"127.0.0.{last}", server.getsockname()[1]))
            break
    assert kept.getsockname()[1], "no address has the number of the port free"
    server.close()
    return kept


def connectedPair(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection, non-blocking.

    Their receive buffers have a fixed size; the kernel raises others to up to 32 MiB (tcp(7)).
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


def multipath(family: socket.AddressFamily) -> socket.socket:
    """Return a new MPTCP socket; skip the test where the kernel has none."""
    try:
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    except OSError as error:
        raise SkipTest(f"the kernel has no MPTCP (sysctl net.mptcp.enabled): {error.strerror}") from None


def longestQueue(listening: socket.socket) -> int:
    """Return the length of a listening TCP socket's backlog (tcpi_sacked, linux/tcp.h)."""
    information = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    longest: int = unpack_from("I", information, 28)[0]
    return longest
