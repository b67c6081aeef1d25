"""A server to connect to, and the connection to it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from ssl import SSLContext, SSLError
from typing import Any, Literal, NoReturn

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Protocol

from echoup.addresses import joinAddress
from echoup.client.connect.race import Race, Way
from echoup.client.connect.resolve import Family, resolve
from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.connect.trace import Step, Trace, describeServer
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target.security import Security
from echoup.proxyheader import encodeProxyHeader
from echoup.tls.context import explain
from echoup.tls.transport import TLSTransport

PORT = 8081
NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE")
"""What OpenSSL calls it when a server answers in words, or with ours."""


@dataclass(frozen=True)
class StreamTarget:
    """A server to connect to: a host and a port, or (`host` empty) the path of a Unix socket."""

    description: str
    host: str = ""
    port: int = PORT
    security: Security | None = None
    """How to speak TLS, if at all."""
    proxyProtocol: Literal[1, 2] | None = None
    """The version of the PROXY header to send first, if any."""
    bindAddress: str | None = None
    """The address to connect from."""
    patience: float = 0
    """The seconds that one address has to answer; 0 for all that there are."""
    family: Family = Family.ANY
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
            self._announce(self.proxyProtocol, transport, trace)
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

    def _announce(self, version: int, transport: Any, trace: Trace) -> None:
        phase = trace.begin(Step.PROXY, version=f"v{version}")
        transport.write(encodeProxyHeader(version, transport.getHost(), transport.getPeer()))
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


def _timedOut(result: object, timeout: float) -> NoReturn:
    """Raise what a timeout is; an endpoint that is cancelled fails with an error of its own."""
    raise DeferredTimeout
