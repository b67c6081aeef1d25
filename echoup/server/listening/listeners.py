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
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.python.failure import Failure

from echoup.addresses import describeAddress, parsePort
from echoup.endpointstrings import applyTo, parsing, splitDescription
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.hosts import listenOnEach, parseOwnAddress
from echoup.server.listening.inherited import parseInherited
from echoup.server.listening.sockets import Opening, adoptEach, openTCP

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
    def certificate(self) -> ServerCertificate | None:
        """What the connections need for TLS, if they use it."""

    def listen(self, reactor: PosixReactorBase, factory: IProtocolFactory) -> Iterator[IListeningPort]:
        """Listen, and yield each port when it does; raise OSError where that is impossible."""

    def open(self, reactor: PosixReactorBase, count: int) -> Iterator[Opening]:
        """Listen for `count` processes to accept, and yield each address; raise OSError where that is impossible."""


class StartError(Exception):
    """The daemon can't start; the message is one line that says why."""


class ListenError(StartError):
    """An address can't be listened on; the message says which and why."""

    def __init__(self, description: str, reason: OSError) -> None:
        super().__init__(f"cannot listen on {description}: {reason.strerror or reason}")


@dataclass(frozen=True)
class AddressListener:
    """Listens on a TCP port, at each address of a host, or at every address of this machine (`host` None)."""

    description: str
    host: str | None
    port: int
    family: socket.AddressFamily = socket.AF_UNSPEC
    """If it isn't AF_UNSPEC, which means any, only the addresses of this one."""
    backlog: int = BACKLOG
    certificate: ServerCertificate | None = None

    def listen(self, reactor: PosixReactorBase, factory: IProtocolFactory) -> Iterator[IListeningPort]:
        """Listen, and yield each port when it does; raise OSError where that is impossible."""
        return adoptEach(reactor, factory, self.open(reactor, 1))

    def open(self, reactor: PosixReactorBase, count: int) -> Iterator[Opening]:
        """Listen with `count` sockets, and yield each address; raise OSError where that is impossible."""
        opened = partial(openTCP, count, self.backlog)
        return listenOnEach(self.host, self.port, socket.SOCK_STREAM, opened, self.family)


@dataclass(frozen=True)
class UNIXListener:
    """Listens on a Unix socket, as a Twisted server endpoint string describes it."""

    description: str
    endpoint: str
    """What Twisted is told of it."""
    certificate: None = None

    def listen(self, reactor: PosixReactorBase, factory: IProtocolFactory) -> Iterator[IListeningPort]:
        """Listen, and yield the port when it does; raise OSError where that is impossible."""
        results: list[Port | Failure] = []
        serverFromString(reactor, self.endpoint).listen(factory).addBoth(results.append)
        for result in results:
            if isinstance(result, Failure):
                raise _asOSError(result.value)
            yield result

    def open(self, reactor: PosixReactorBase, count: int) -> Iterator[Opening]:
        """Yield the socket, one for however many; raise OSError where that is impossible."""
        for listening in self.listen(reactor, _Nobody()):
            port = cast("Port", listening)
            port.stopReading()
            port._shouldShutdown = False  # that would end it for everybody
            yield Opening(describeAddress(port.getHost()), [port.socket], partial(_closePort, port))


class _Nobody(Factory[Any]):
    """Accepts no connections, but its port keeps the file of a socket, and the lock."""

    noisy = False


def _closePort(port: Port) -> None:
    """Close at once; `stopListening` would need the reactor to run."""
    port.stopReading()
    port.connectionLost(Failure(CONNECTION_DONE))


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
    if kind == "unix":
        return applyTo(partial(_parseUNIX, description), values, named)
    return applyTo(partial(_parseTCP, description, "::" if kind == "tcp6" else ""), values, named)


def _parseTCP(
    description: str,
    everywhere: str,
    port: str,
    interface: str | None = None,
    backlog: str = str(BACKLOG),
    certificate: ServerCertificate | None = None,
) -> AddressListener:
    """Return the listener for the arguments of Twisted's `tcp:` and `tcp6:` endpoints, named and ordered like these."""
    host = everywhere if interface is None else interface
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return AddressListener(description, host or None, parsePort(port), family, int(backlog), certificate)


def _parseUNIX(
    description: str, address: str, mode: str = "666", backlog: str = str(BACKLOG), lockfile: str = "1"
) -> UNIXListener:
    """Return the listener for the arguments of Twisted's `unix:` endpoint, which are named and ordered like these."""
    named = (f"address={address}", f"mode={mode}", f"backlog={backlog}", f"lockfile={lockfile}")
    return UNIXListener(description, ":".join(map(quoteStringArgument, ("unix", *named))))


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
) -> AddressListener:
    """Return the listener for the arguments of Twisted's `ssl:` endpoint, which are named and ordered like these."""
    certificate = ServerCertificate(privateKey, certKey, sslmethod, extraCertChain, dhParameters, clientCA)
    endpoint = ":".join(map(quoteStringArgument, ("tcp", port, f"interface={interface}", f"backlog={backlog}")))
    serverFromString(cast("Any", None), endpoint)
    return _parseTCP(description, "", port, interface, backlog, certificate)
