"""What TARGET means: the description of a server, and the connection to it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from ipaddress import ip_address
from ssl import SSLContext, SSLError
from typing import Any, Literal, NoReturn

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Protocol

from echoup.addresses import joinAddress, splitAddress
from echoup.client.connect.race import Family, Race, Way, resolve
from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.connect.trace import Step, Trace, describeServer
from echoup.client.datagram import DatagramTarget
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target.security import Security
from echoup.endpointstrings import applyTo, parsing, splitDescription, wholeNumber
from echoup.proxyheader import encodeProxyHeader
from echoup.tls.context import explain
from echoup.tls.transport import TLSTransport

HOST = "127.0.0.1"
PORT = 8081
MAXIMUM_PATH = 107
"""Bytes in the path of a Unix socket (unix(7))."""

NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE")
"""What OpenSSL calls it when a server answers in words, or with ours."""

_KIND = re.compile(r"(?![0-9a-fA-F]{1,4}$)[a-zA-Z]\w*", re.ASCII)
"""What may be meant for the kind of a target: an IPv6 address doesn't begin so."""


@dataclass(frozen=True)
class StreamTarget:
    """A server to connect to: a host and a port, or (`host` empty) the path of a Unix socket."""

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
    family: Family = 0
    path: str = ""

    def __str__(self) -> str:
        """Return the server as the messages name it."""
        if not self.host:
            return self.description
        return joinAddress(self.host, self.port)

    def prepare(self) -> None:
        """Read the files of TLS now, and not when the first connection is made; raise PathError if that is in vain."""
        if self.security:
            self._tls(self.security, Protocol)

    async def connect(
        self, reactor: ReactorBase, timeout: float, take: Callable[[bytes], None], trace: Trace | None = None
    ) -> EchoUpClient:
        """Return a client that is connected within `timeout` seconds, or raise PathError.

        `timeout` and `take` are the client's, too; `trace` gets to know every step. Of a name's addresses the first
        that answers is taken. The PROXY header comes before the TLS handshake, and both are done when this returns.
        """
        trace = trace or Trace(reactor.seconds)
        deadline = reactor.seconds() + timeout
        client = EchoUpClient(reactor, timeout, take)
        tls = self._tls(self.security, lambda: client) if self.security else None
        transport = await self._open(reactor, timeout, trace)
        if self.proxyProtocol:
            self._announce(transport, trace)
        transport.protocol = tls or client
        transport.protocol.makeConnection(transport)
        if tls:
            await self._handshake(tls, reactor, deadline - reactor.seconds(), trace)
        return client

    def _tls(self, security: Security, build: Callable[[], Protocol]) -> TLSTransport:
        name = security.serverName or self.host or None
        try:
            return TLSTransport(self._context, build, name)
        except UnicodeError:
            raise PathError(ExitCode.USAGE, f"cannot speak TLS with {self}: {name!r} is not a host name") from None
        except ValueError as error:
            raise PathError(ExitCode.USAGE, f"cannot speak TLS with {self}: {error}") from None

    @cached_property
    def _context(self) -> SSLContext:
        """What TLS needs, which takes a while to read; once is enough."""
        assert self.security
        return self.security.context()

    async def _open(self, reactor: Any, timeout: float, trace: Trace) -> Any:
        """Return the transport of a new connection, whose protocol is to be set at once."""
        deadline = reactor.seconds() + timeout
        patience = self.patience or timeout
        ways: list[Way]
        if self.host:
            bindAddress = self.bindAddress and (self.bindAddress, 0)
            ways = [
                (
                    joinAddress(host, self.port),
                    partial(reactor.connectTCP, host, self.port, timeout=patience, bindAddress=bindAddress),
                )
                for host in await resolve(reactor, self.host, self.family, timeout, trace)
            ]
        else:
            ways = [(str(self), partial(reactor.connectUNIX, self.path, timeout=patience))]
        race = Race(reactor, self, trace)
        race.start(ways)
        try:
            return await race.connected.addTimeout(max(deadline - reactor.seconds(), 0), reactor, _timedOut)
        except DeferredTimeout:
            tried = [phase.details["address"] for phase in trace.phases if phase.step is Step.CONNECT]
            server = describeServer(self, ", ".join(tried))
            raise PathError(ExitCode.TIMED_OUT, f"cannot connect to {server}: timed out after {timeout:g} s") from None

    def _announce(self, transport: Any, trace: Trace) -> None:
        phase = trace.begin(Step.PROXY, version=f"v{self.proxyProtocol}")
        transport.write(encodeProxyHeader(self.proxyProtocol, transport.getHost(), transport.getPeer()))
        trace.end(phase, transport.getHandle())

    async def _handshake(self, tls: TLSTransport, reactor: ReactorBase, timeout: float, trace: Trace) -> None:
        phase = trace.begin(Step.TLS)
        server = describeServer(self, trace.remote)
        try:
            await tls.established.addTimeout(max(timeout, 0), reactor, _timedOut)
        except DeferredTimeout:
            phase.tcp = TCPInfo.of(tls.getHandle())
            tls.abortConnection()
            raise PathError(ExitCode.TIMED_OUT, f"TLS handshake with {server}: timed out") from None
        except CancelledError:
            phase.tcp = TCPInfo.of(tls.getHandle())
            tls.abortConnection()
            raise
        except (ConnectionClosed, SSLError) as error:
            why = explain(error) if isinstance(error, SSLError) else "the server ended the connection"
            if isinstance(error, SSLError) and error.reason in NO_TLS:
                why += "; the server doesn't seem to speak TLS"
            trace.end(phase, error=why)
            tls.loseConnection()
            await tls.closed  # the server has to hear of it
            raise PathError(ExitCode.TLS_FAILED, f"TLS handshake with {server}: {why}") from None
        name, *_ = tls.tls.cipher() or ("",)
        trace.end(phase, tls.getHandle(), version=tls.tls.version(), cipher=name)
        trace.certificate = tls.tls.getpeercert(binary_form=True)


Target = StreamTarget | DatagramTarget


def _timedOut(result: object, timeout: float) -> NoReturn:
    """Raise what a timeout is; an endpoint that is cancelled fails with an error of its own."""
    raise DeferredTimeout


def parseTarget(description: str) -> Target:
    """Return the target that `description` names.

    `HOST`, `HOST:PORT`, `[V6]:PORT`, `udp:` before one of these, or a Twisted client endpoint string of one of the
    PARSERS. Raise ValueError, with one line that says what is wrong, for anything else.
    """
    if not description.isprintable():
        raise ValueError(f"{description!r} is not an address")
    kind, colon, rest = description.partition(":")
    if rest.startswith("//") and kind != "unix":
        raise ValueError(f"{description!r} is a URL, and not HOST:PORT")
    if colon and kind == "udp":
        return DatagramTarget(*_parseAddress(description, rest))
    if colon and kind in PARSERS:
        with parsing(description, kind):
            if re.search(r":(port=|timeout=)?-[0-9]", description):
                raise ValueError("it has a negative number")
            (_, *values), named = splitDescription(description)
            return applyTo(partial(PARSERS[kind], description), values, named)
    if description.isdigit():
        raise ValueError(f"{description!r} is a port without a host; {HOST}:{description} is the one on this machine")
    if colon and kind == "ssl" and not rest.isdigit():
        raise ValueError(f"{description!r} is an endpoint for servers; TLS with one is tls:HOST:PORT")
    if ":" in rest and _KIND.fullmatch(kind):
        kinds = ", ".join(f"{name}:" for name in (*PARSERS, "udp"))
        raise ValueError(f"{description!r} is of no known kind; there are {kinds}")
    return StreamTarget(description, *_parseAddress(description, description))


def _parseAddress(description: str, address: str) -> tuple[str, int]:
    host, port = splitAddress(address)
    if port == 0:
        raise ValueError(f"{description!r} has port 0, which nobody can connect to")
    return host, PORT if port is None else port


def _parseTCP(
    description: str,
    *address: str,
    host: str | None = None,
    port: str | None = None,
    timeout: str = "0",
    bindAddress: str | None = None,
) -> StreamTarget:
    """Return the target for what Twisted's `tcp:` endpoint takes; its address may also be `HOST` or `[V6]:PORT`."""
    address += tuple(value for value in (host, port) if value is not None)
    if bindAddress is not None:
        ip_address(bindAddress)
    if len(address) == 2 and ":" in address[0]:
        address = (f"[{address[0]}]", address[1])
    return StreamTarget(
        description,
        *_parseAddress(description, ":".join(address)),
        bindAddress=bindAddress,
        patience=wholeNumber(timeout),
    )


def _parseTLS(
    description: str,
    /,
    *address: str,
    certificate: str | None = None,
    privateKey: str | None = None,
    trustRoots: str | None = None,
    **named: str,
) -> StreamTarget:
    """Return the target for what Twisted's `tls:` endpoint takes; its address is that of `_parseTCP`."""
    target = applyTo(partial(_parseTCP, description), [*address], named)
    return replace(target, security=Security(trustRoots, certificate, privateKey))


def _parseUNIX(description: str, path: str, *, timeout: str = "0") -> StreamTarget:
    """Return the target for Twisted's `unix:` endpoint."""
    if not path:
        raise ValueError("it has no path")
    if len(os.fsencode(path)) > MAXIMUM_PATH:
        raise ValueError("it is longer than the path of a Unix socket may be")
    return StreamTarget(description, path=path, patience=wholeNumber(timeout))


PARSERS: dict[str, Callable[..., StreamTarget]] = {"tcp": _parseTCP, "tls": _parseTLS, "unix": _parseUNIX}
"""The Twisted client endpoints that there are here: those whose connections can half-close without a loss."""
