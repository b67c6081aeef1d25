"""Addresses: those that a client connects to, and those that nobody else uses."""

import os
from dataclasses import dataclass
from itertools import count
from random import Random
from socket import AF_INET, AF_INET6, AF_UNIX, MSG_MORE, SHUT_WR, SO_RCVBUF, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any

_numbers = count(1)
_ports = Random()  # noqa: S311  # not the tests' own: a port that is taken would shift what else they draw


@dataclass(frozen=True)
class Address:
    """An address to connect to."""

    family: int
    address: Any
    isTLS: bool = False
    """Does it speak TLS? `connect` doesn't: `tests.support.tls` does, with the socket that `connect` returns."""
    header: bytes = b""
    """A PROXY header, to send before anything else and in one segment with it."""
    source: str = ""
    """The address to connect from."""

    def connect(self, timeout: float = 30.0, receiveBuffer: int = 0) -> socket:
        """Return a connected socket that no test can hang on; it begins with the header."""
        connection = socket(self.family, SOCK_STREAM)
        connection.settimeout(timeout)
        if receiveBuffer:
            # SO_RCVBUF has to be set before the connection, for the window to follow it (tcp(7)).
            connection.setsockopt(SOL_SOCKET, SO_RCVBUF, receiveBuffer)
        try:
            if self.source:
                connection.bind((self.source, 0))
            connection.connect(self.address)
            if self.header:
                connection.sendall(self.header, MSG_MORE)
        except OSError:
            connection.close()
            raise
        return connection

    def echo(self, data: bytes) -> bytes:
        """Send a little `data`, then the end, and return all that comes back."""
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(SHUT_WR)
            return receiveAll(connection)

    @property
    def target(self) -> str:
        """The address as `echoup connect` takes it."""
        if self.family == AF_UNIX:
            return f"unix:{self.address}"
        host, port = self.address[:2]
        name = f"[{host}]:{port}" if self.family == AF_INET6 else f"{host}:{port}"
        return f"tls:{name}" if self.isTLS else name


def receiveAll(connection: socket) -> bytes:
    """Read up to the end."""
    received = []
    while data := connection.recv(2**20):
        received.append(data)
    return b"".join(received)


def unused() -> Address:
    """Return an address of this machine's that nobody else uses, for programs that can't choose a port themselves."""
    number = os.getpid() << 6 | next(_numbers) % 64
    return Address(AF_INET, (f"127.{64 | number >> 16 & 63}.{number >> 8 & 255}.{number & 255}", 4433))


def randomPort() -> int:
    """Return a port that isn't one of those that the kernel chooses, so that it gives it to nobody in the meantime."""
    return _ports.randrange(10_000, 30_000)
