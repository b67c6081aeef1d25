"""Addresses to connect to, and addresses that no other program uses."""

import os
from dataclasses import dataclass
from errno import ECONNRESET, ENOTCONN
from itertools import count
from random import Random
from socket import AF_INET, AF_INET6, AF_UNIX, MSG_MORE, SHUT_WR, SO_RCVBUF, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any

OWN_ADDRESSES: dict[str, tuple[str | None, int]] = {
    "8081": (None, 8081),
    "*:8081": (None, 8081),
    "0": (None, 0),
    "127.0.0.1:8081": ("127.0.0.1", 8081),
    "localhost:8081": ("localhost", 8081),
    "[::1]:8081": ("::1", 8081),
    "[::]:8081": ("::", 8081),
    "[::ffff:127.0.0.1]:8081": ("127.0.0.1", 8081),
}
"""The forms of an address to listen on, TCP and UDP, with the host and the port of each."""

NO_OWN_ADDRESSES = {
    "": "'' is not a port number",
    "65536": "'65536' is not a port number",
    "*:": "'' is not a port number",
    "*": "'*' is not a port number",
    "localhost": "'localhost' is not a port number",
    "[::1]": "'[::1]' has no port",
}
"""Texts close to these forms, each with part of the message that refuses it."""

_numbers = count(1)
_ports = Random()  # noqa: S311  # separate from the tests' own, whose draws a taken port would shift


@dataclass(frozen=True)
class Address:
    """An address to connect to."""

    family: int
    address: Any
    isTLS: bool = False
    """Whether it speaks TLS. `connect` doesn't; `tests.support.tls` does, over the socket that `connect` returns."""
    header: bytes = b""
    """A PROXY header, sent first and in one segment with the data that follows."""
    source: str = ""
    """The address to connect from."""

    def connect(self, timeout: float = 30.0, receiveBuffer: int = 0) -> socket:
        """Return a connected socket with a timeout, over which the header is sent."""
        connection = socket(self.family, SOCK_STREAM)
        connection.settimeout(timeout)
        if receiveBuffer:
            # The window follows SO_RCVBUF only if that is set before the connection (tcp(7)).
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
        """Send `data`, which must fit the buffers, then the end, and return everything that comes back."""
        with self.connect() as connection:
            connection.sendall(data)
            endSending(connection)
            return receiveAll(connection)

    @property
    def target(self) -> str:
        """The address in the form that `echoup connect` takes."""
        if self.family == AF_UNIX:
            return f"unix:{self.address}".replace("\0", "@", 1)  # of an abstract name
        host, port = self.address[:2]
        name = f"[{host}]:{port}" if self.family == AF_INET6 else f"{host}:{port}"
        return f"tls:{name}" if self.isTLS else name


def endSending(connection: socket) -> None:
    """Send the end. Raise ConnectionResetError, as sending data does, where shutdown(2) says ENOTCONN after a reset."""
    try:
        connection.shutdown(SHUT_WR)
    except OSError as error:
        if error.errno == ENOTCONN:
            raise ConnectionResetError(ECONNRESET, "The connection was reset before its end was sent") from error
        raise


def receiveAll(connection: socket) -> bytes:
    """Return all bytes up to the end."""
    received = []
    while data := connection.recv(2**20):
        received.append(data)
    return b"".join(received)


def unused() -> Address:
    """Return an unused address of this machine, for programs that can't choose a port themselves."""
    number = os.getpid() << 6 | next(_numbers) % 64
    return Address(AF_INET, (f"127.{64 | number >> 16 & 63}.{number >> 8 & 255}.{number & 255}", 4433))


def randomPort() -> int:
    """Return a port outside the range from which the kernel chooses, so no other socket gets it in the meantime."""
    return _ports.randrange(10_000, 30_000)
