"""What waits in the kernel: bytes for a peer, and connections to be accepted."""

import socket
from fcntl import ioctl
from struct import Struct, unpack
from termios import TIOCOUTQ

_LISTEN = 10
"""The state of a listening socket (net/tcp_states.h)."""

_LAYOUT = Struct("=B 23x I I")
"""Of struct tcp_info (linux/tcp.h): tcpi_state, tcpi_unacked, tcpi_sacked."""


def unsentOn(stream: socket.socket) -> int:
    """Return the number of bytes that the kernel holds and the peer hasn't taken (tcp(7), SIOCOUTQ).

    A Unix socket counts whole buffers of up to 32 KiB, and their overhead.
    """
    size: int = unpack("i", ioctl(stream.fileno(), TIOCOUTQ, bytes(4)))[0]
    return size


def acceptQueue(listening: socket.socket) -> tuple[int, int] | None:
    """Return the connections that wait to be accepted, and how many can; None if the kernel doesn't tell.

    It tells of TCP sockets only: in a listening one's TCP_INFO, `tcpi_unacked` and `tcpi_sacked` are these two
    (tcp_get_info in net/ipv4/tcp.c). No system call tells of a Unix socket.
    """
    try:
        info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAYOUT.size)
    except OSError:
        return None
    state, length, limit = _LAYOUT.unpack(info)
    return (length, limit) if state == _LISTEN else None
