"""What programs expect of a connection although no interface promises it: Twisted's class and its attributes.

A stream has the attributes that public programs read, where it can keep their meaning. It has no `doRead`, `doWrite`
or `dataBuffer`, because it is not an `IReadDescriptor` and its buffer is uvloop's.
"""

from socket import AF_UNIX
from typing import Any

from twisted.internet import tcp, unix

from echoup.reactor.sockets import StreamSocket


class TwistedLike(StreamSocket):
    """A stream as seen by a program that was written for `twisted.internet.tcp.Connection`."""

    _likeness: tuple[type, type] = (tcp.Server, unix.Server)
    """Twisted's classes for such a connection, over TCP and over a Unix socket."""

    @property  # type: ignore[misc]  # other objects' can be set
    def __class__(self) -> Any:
        """Twisted's class for such a connection, for `isinstance`; `type` returns the real class."""
        return self._likeness[self._family == AF_UNIX]

    @property
    def socket(self) -> Any:
        """The socket, while the connection lasts, for options and addresses; it can't be read, written or closed."""
        if not self.connected:
            raise AttributeError("the connection is not made, or lost", name="socket", obj=self)
        return self._uv.get_extra_info("socket")

    @property
    def client(self) -> tuple[Any, Any]:
        """The peer's host and port; of a Unix socket, its path and None."""
        return (self._peer.name, None) if self._family == AF_UNIX else (self._peer.host, self._peer.port)

    @property
    def hostname(self) -> Any:
        """The peer's host; of a Unix socket, its path."""
        return self.client[0]
