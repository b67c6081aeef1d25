"""What `--listen` means: the description of an address, and the listening ports that it becomes."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from echoup.description import applyTo, parsing, splitDescription
from echoup.server.addresses import listenOnEach, parseOwnAddress
from echoup.server.certificate import Certificate
from echoup.server.inherited import parseInherited

BACKLOG = 4096
"""How many clients the kernel may queue for us (it has a limit of its own too, somaxconn). With Twisted's 50, most
of 1000 clients that connect at once wait a second or more until their SYN is repeated."""

KINDS = ("tcp", "tcp6", "ssl", "unix", "systemd")
"""The Twisted endpoints whose connections keep the promises; wrappers such as `haproxy:` lose data at a half-close. Of
`ssl` and `systemd` only the description is Twisted's, and the rest ours."""


class Listener(Protocol):
    """One address to listen on."""

    @property
    def description(self) -> str:
        """The address, as the user wrote it."""

    @property
    def certificate(self) -> Certificate | None:
        """What the connections need for TLS, if they use it."""

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
    certificate: None = None

    def listen(self, reactor: PosixReactorBase, factory: IProtocolFactory) -> Iterator[IListeningPort]:
        """Listen, and yield each port when it does; raise OSError where that is impossible."""
        return listenOnEach(self.host, self.port, socket.SOCK_STREAM, partial(_listen, reactor, factory))


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
    endpoint: str
    """What Twisted is told of it."""
    certificate: Certificate | None = None

    def listen(self, reactor: PosixReactorBase, factory: IProtocolFactory) -> Iterator[IListeningPort]:
        """Listen, and yield the port when it does; raise OSError where that is impossible."""
        results: list[Port | Failure] = []
        serverFromString(reactor, self.endpoint).listen(factory).addBoth(results.append)
        for result in results:
            if isinstance(result, Failure):
                raise _asOSError(result.value)
            result.socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            if "backlog=" not in self.endpoint:
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


def parseListener(description: str, clientCA: str | None = None) -> Listener:
    """Return the listener that `description` names.

    `PORT` or `*:PORT` (every address, IPv4 and IPv6), `HOST:PORT`, `[V6]:PORT`, or a Twisted server
    endpoint string of one of the KINDS. With TLS, clients need a certificate signed by one in the file `clientCA`, if
    there is one. Raise ValueError, with one line that says what is wrong.
    """
    if not description.isprintable():
        raise ValueError(f"{description!r} is not an address")
    kind = description.partition(":")[0]
    if kind in KINDS:
        with parsing(description, kind):
            return _parseEndpoint(description, clientCA)
    return AddressListener(description, *parseOwnAddress(description, f", nor of the kinds {', '.join(KINDS)}"))


def _parseEndpoint(description: str, clientCA: str | None) -> Listener:
    (kind, *values), named = splitDescription(description)
    if kind == "ssl":
        return applyTo(partial(_parseTLS, description, clientCA), values, named)
    if kind == "systemd":
        return applyTo(partial(parseInherited, description), values, named)
    serverFromString(cast("Any", None), description)
    return EndpointListener(description, description)


def _parseTLS(
    description: str,
    clientCA: str | None,
    port: str,
    privateKey: str = "server.pem",
    certKey: str | None = None,
    sslmethod: str = "TLS_METHOD",
    interface: str = "",
    backlog: str = str(BACKLOG),
    extraCertChain: str | None = None,
    dhParameters: str | None = None,
) -> EndpointListener:
    """Return the listener for the arguments of Twisted's `ssl:` endpoint, which are named and ordered like these."""
    certificate = Certificate(privateKey, certKey, sslmethod, extraCertChain, dhParameters, clientCA)
    endpoint = ":".join(map(quoteStringArgument, ("tcp", port, f"interface={interface}", f"backlog={backlog}")))
    serverFromString(cast("Any", None), endpoint)
    return EndpointListener(description, endpoint, certificate)
