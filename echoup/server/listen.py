"""What `--listen` means: the description of an address, and the listening ports that it becomes."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from pathlib import Path
from typing import Any, Protocol, cast

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from echoup.address import parsePort, splitAddress

BACKLOG = 4096
"""How many clients the kernel may queue for us (it has a limit of its own too, somaxconn). With Twisted's 50, most
of 1000 clients that connect at once wait a second or more until their SYN is repeated."""

KINDS = ("tcp", "tcp6", "unix", "systemd")
"""The Twisted endpoints whose connections keep the promises; wrappers such as `haproxy:` lose data at a half-close."""


class Listener(Protocol):
    """One address to listen on."""

    @property
    def description(self) -> str:
        """The address, as the user wrote it."""

    def listen(self, reactor: PosixReactorBase, factory: IProtocolFactory) -> Iterator[IListeningPort]:
        """Listen, and yield each port when it does; raise OSError where that is impossible."""


class ListenError(Exception):
    """An address can't be listened on; the message is one line that says which and why."""

    def __init__(self, description: str, reason: OSError) -> None:
        super().__init__(f"cannot listen on {description}: {reason.strerror or reason}")


@dataclass(frozen=True)
class AddressListener:
    """Listens on a TCP port, at each address of a host, or at every address of this machine (`host` None)."""

    description: str
    host: str | None
    port: int

    def listen(self, reactor: PosixReactorBase, factory: IProtocolFactory) -> Iterator[IListeningPort]:
        """Listen, and yield each port when it does; raise OSError where that is impossible.

        An address whose kind this machine lacks (often IPv6) is passed over, unless there is no other.
        """
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
        missing: OSError | None = None
        listening = False
        for family, address in addresses:
            try:
                port = _listen(reactor, factory, family, address)
            except OSError as error:
                if error.errno not in (EADDRNOTAVAIL, EAFNOSUPPORT):
                    raise
                missing = error
            else:
                listening = True
                yield port
        if missing and not listening:
            raise missing


def _listen(
    reactor: PosixReactorBase, factory: IProtocolFactory, family: socket.AddressFamily, address: Any
) -> IListeningPort:
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        if family == socket.AF_INET6:
            # Otherwise [::] would take IPv4 as well, and leave none of it for 0.0.0.0 (Twisted #8484).
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        return cast("IListeningPort", reactor.adoptStreamPort(listening.fileno(), family, factory))


@dataclass(frozen=True)
class EndpointListener:
    """Listens on what a Twisted server endpoint string describes."""

    description: str

    def listen(self, reactor: PosixReactorBase, factory: IProtocolFactory) -> Iterator[IListeningPort]:
        """Listen, and yield the port when it does; raise OSError where that is impossible."""
        results: list[Port | Failure] = []
        serverFromString(reactor, self.description).listen(factory).addBoth(results.append)
        for result in results:
            if isinstance(result, Failure):
                raise _asOSError(result.value)
            result.socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            if "backlog=" not in self.description:
                result.socket.listen(BACKLOG)
            yield result


def _asOSError(error: BaseException | None) -> OSError:
    """Return the OSError at the bottom of what an endpoint failed with."""
    if not isinstance(error, CannotListenError):
        return error if isinstance(error, OSError) else OSError(str(error))
    if isinstance(error.port, bytes):
        _unlock(Path(os.fsdecode(error.port) + ".lock"))
    return error.socketError if isinstance(error.socketError, OSError) else OSError(str(error.socketError))


def _unlock(lock: Path) -> None:
    """Remove the lock of a Unix socket that Twisted locked and then couldn't bind.

    Whoever finds that lock, of a process that is gone, takes the socket beside it for its leftover, and deletes it.
    """
    with suppress(OSError):
        if str(lock.readlink()) == str(os.getpid()):
            lock.unlink()


def parseListener(description: str) -> Listener:
    """Return the listener that `description` names.

    `PORT` or `*:PORT` (every address, IPv4 and IPv6), `HOST:PORT`, `[V6]:PORT`, or a Twisted server
    endpoint string of one of the KINDS. Raise ValueError, with one line that says what is wrong.
    """
    if not description.isprintable():
        raise ValueError(f"{description!r} is not an address")
    kind = description.partition(":")[0]
    if kind in KINDS:
        try:
            serverFromString(cast("Any", None), description)
        except Exception as error:  # the parsers let anything out: TypeError, KeyError, IndexError ...
            raise ValueError(f"{description!r} is not a {kind} endpoint: {error!r}") from None
        return EndpointListener(description)
    if kind == description:
        return AddressListener(description, None, parsePort(description))
    if kind == "*":
        return AddressListener(description, None, parsePort(description[2:]))
    if description.count(":") > 1 and not description.startswith("["):
        raise ValueError(f"{description!r} is neither HOST:PORT nor [V6]:PORT, nor of the kinds {', '.join(KINDS)}")
    host, port = splitAddress(description)
    if port is None:
        raise ValueError(f"{description!r} has no port")
    return AddressListener(description, host, port)
