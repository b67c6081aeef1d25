"""What TARGET means: the description of a server, and the connection to it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from ssl import SSLError
from typing import Any, Literal, NoReturn, cast

from twisted.internet.base import ReactorBase
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from echoup.address import joinAddress, splitAddress
from echoup.client.datagram import DatagramTarget
from echoup.client.outcome import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.security import Security
from echoup.description import applyTo, parsing, splitDescription
from echoup.proxyheader import encodeProxyHeader
from echoup.tls import TLSTransport, explain

HOST = "127.0.0.1"
PORT = 8081
KINDS = ("tcp", "tls", "unix")
"""The Twisted client endpoints whose connections can half-close without a loss; in `tls` we do that ourselves."""

MAXIMUM_PATH = 107
"""Bytes in the path of a Unix socket (unix(7))."""


@dataclass(frozen=True)
class StreamTarget:
    """A server to connect to: a host and a port, or (`host` empty) what an endpoint string describes."""

    description: str
    host: str = ""
    port: int = PORT
    security: Security | None = None
    """How to speak TLS, if at all."""
    proxyProtocol: Literal[0, 1, 2] = 0
    """The version of the PROXY header to send first; 0 for none."""
    bindAddress: str | None = None
    """The address to connect from."""
    patience: float = 0
    """The seconds that one address has to answer; 0 for all that there are."""

    def __str__(self) -> str:
        """Return the server as the messages name it."""
        if not self.host:
            return self.description
        return joinAddress(self.host, self.port)

    async def connect(self, reactor: ReactorBase, timeout: float, take: Callable[[bytes], None]) -> EchoUpClient:
        """Return a client that is connected within `timeout` seconds, or raise PathError.

        `timeout` and `take` are the client's, too. Of a name's addresses the first that answers is taken (happy
        eyeballs, RFC 8305). The PROXY header comes before the TLS handshake, and both are done when this returns.
        """
        deadline = reactor.seconds() + timeout
        client = EchoUpClient(reactor, timeout, take)
        tls = self._tls(client)
        top: Protocol = tls or client
        if self.proxyProtocol:
            top = _Announcement(self.proxyProtocol, top)
        try:
            connecting = self._endpoint(reactor, timeout).connect(Factory.forProtocol(lambda: top))
            await connecting.addTimeout(timeout, reactor, _timedOut)
        except DNSLookupError:
            raise PathError(ExitCode.UNRESOLVED, f"cannot resolve {self.host or self}: no address found") from None
        except DeferredTimeout:
            raise PathError(ExitCode.TIMED_OUT, f"cannot connect to {self}: timed out after {timeout:g} s") from None
        except ConnectTimeout:
            raise PathError(ExitCode.TIMED_OUT, f"cannot connect to {self}: timed out") from None
        except ConnectError as error:
            why = os.strerror(error.osError) if isinstance(error.osError, int) else str(error)
            raise PathError(ExitCode.UNREACHABLE, f"cannot connect to {self}: {why}") from None
        except (AssertionError, OverflowError, ValueError) as error:
            # Some values of an endpoint string, and some names, are looked at only when they are used.
            raise PathError(ExitCode.USAGE, f"cannot connect to {self}: {error}") from None
        if tls:
            await self._handshake(tls, reactor, deadline - reactor.seconds())
        return client

    def _tls(self, client: EchoUpClient) -> TLSTransport | None:
        if not self.security:
            return None
        name = self.security.serverName or self.host or None
        try:
            return TLSTransport(self.security.context(), lambda: client, name)
        except UnicodeError:
            raise PathError(ExitCode.USAGE, f"cannot speak TLS with {self}: {name!r} is not a host name") from None
        except ValueError as error:
            raise PathError(ExitCode.USAGE, f"cannot speak TLS with {self}: {error}") from None

    async def _handshake(self, tls: TLSTransport, reactor: ReactorBase, timeout: float) -> None:
        try:
            await tls.established.addTimeout(max(timeout, 0), reactor, _timedOut)
        except DeferredTimeout:
            tls.abortConnection()
            raise PathError(ExitCode.TIMED_OUT, f"TLS handshake with {self}: timed out") from None
        except ConnectionClosed:
            raise PathError(
                ExitCode.TLS_FAILED, f"TLS handshake with {self}: the server ended the connection"
            ) from None
        except SSLError as error:
            tls.loseConnection()
            await tls.closed  # the server has to hear of it
            raise PathError(ExitCode.TLS_FAILED, f"TLS handshake with {self}: {explain(error)}") from None

    def _endpoint(self, reactor: ReactorBase, timeout: float) -> IStreamClientEndpoint:
        if self.host:
            bindAddress = self.bindAddress and (self.bindAddress, 0)
            return HostnameEndpoint(reactor, self.host, self.port, self.patience or timeout, bindAddress)
        patience = "" if "timeout=" in self.description else f":timeout={ceil(timeout)}"
        return cast("IStreamClientEndpoint", clientFromString(reactor, self.description + patience))


class _Announcement(Protocol):
    """Sends a PROXY header, then lets another protocol have the transport."""

    transport: Any

    def __init__(self, version: Literal[1, 2], above: Protocol) -> None:
        self._version = version
        self._above = above

    def connectionMade(self) -> None:
        self.transport.write(encodeProxyHeader(self._version, self.transport.getHost(), self.transport.getPeer()))
        self.transport.protocol = self._above
        self._above.makeConnection(self.transport)


Target = StreamTarget | DatagramTarget


def _timedOut(result: object, timeout: float) -> NoReturn:
    """Raise what a timeout is; an endpoint that is cancelled fails with an error of its own."""
    raise DeferredTimeout


def parseTarget(description: str) -> Target:
    """Return the target that `description` names.

    `HOST`, `HOST:PORT`, `[V6]:PORT`, `udp:` before one of these, or a Twisted client endpoint string of one of the
    KINDS. Raise ValueError, with one line that says what is wrong, for anything else.
    """
    if not description.isprintable():
        raise ValueError(f"{description!r} is not an address")
    kind, colon, rest = description.partition(":")
    if colon and kind == "udp":
        return DatagramTarget(*_parseAddress(description, rest))
    if colon and kind in KINDS:
        with parsing(description, kind):
            if re.search(r":(port=|timeout=)?-[0-9]", description):
                raise ValueError("it has a negative number")
            if kind == "tls":
                (_, *address), named = splitDescription(description)
                return applyTo(partial(_parseTLS, description), address, named)
            return _parseEndpoint(description, kind, rest)
    if description.isdigit():
        raise ValueError(f"{description!r} is a port without a host; {HOST}:{description} is the one on this machine")
    return StreamTarget(description, *_parseAddress(description, description))


def _parseAddress(description: str, address: str) -> tuple[str, int]:
    host, port = splitAddress(address)
    if port == 0:
        raise ValueError(f"{description!r} has port 0, which nobody can connect to")
    return host, PORT if port is None else port


def _parseEndpoint(description: str, kind: str, rest: str) -> StreamTarget:
    if kind == "unix" and len(os.fsencode(rest.partition(":")[0])) > MAXIMUM_PATH:
        raise ValueError("it is longer than the path of a Unix socket may be")
    clientFromString(cast("Any", None), description)
    return StreamTarget(description)


def _parseTLS(
    description: str,
    *address: str,
    host: str | None = None,
    port: str | None = None,
    timeout: str = "0",
    bindAddress: str | None = None,
    certificate: str | None = None,
    privateKey: str | None = None,
    trustRoots: str | None = None,
) -> StreamTarget:
    """Return the target for what Twisted's `tls:` endpoint takes; its address may also be `HOST` or `[V6]:PORT`."""
    address += tuple(value for value in (host, port) if value is not None)
    if len(address) == 2 and ":" in address[0]:
        address = (f"[{address[0]}]", address[1])
    security = Security(trustRoots, certificate, privateKey)
    return StreamTarget(
        description,
        *_parseAddress(description, ":".join(address)),
        security,
        bindAddress=bindAddress,
        patience=int(timeout),
    )
