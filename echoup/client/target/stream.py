"""A server to connect to, and the connection to it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ssl import SSLError
from typing import Any, Literal

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import ClientFactory, Protocol

from echoup.addresses import joinAddress, peerName
from echoup.client.connect.race import Race, Way
from echoup.client.connect.resolve import Family, resolve
from echoup.client.connect.tos import setTOS
from echoup.client.connect.trace import Step, Trace
from echoup.client.exchange import Take
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.hints import CERT, PROXY_PROTOCOL, TLS, refusesCertificate, suggest
from echoup.client.protocol import EchoUpClient
from echoup.client.target.security import Security
from echoup.clock import RunningTime
from echoup.proxyheader import encodeProxyHeader
from echoup.tls.context import explain
from echoup.tls.transport import TLSTransport

PORT = 8081

HANDSHAKE = "TLS handshake with"

NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE")
"""OpenSSL's reasons where a server answers with text, or with the bytes that we sent."""


@dataclass(frozen=True)
class StreamTarget:
    """A server to connect to: a host and a port, or (`host` empty) a Unix socket."""

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
    """Seconds that one address has to answer; 0: as many as the connection has."""
    family: Family = Family.ANY
    path: str = ""
    """The path of a Unix socket, as system calls take it: an abstract name begins with a NUL."""
    bindPort: int = 0
    """The port to connect from; 0: one that the kernel chooses."""
    tos: int | None = None
    """The TOS byte of the packets; None for the kernel's."""

    def __str__(self) -> str:
        """Return the server as the messages name it."""
        if not self.host:
            return self.description
        return joinAddress(self.host, self.port)

    @property
    def untried(self) -> tuple[str, ...]:
        """The options that the target doesn't use, and without which some servers don't answer."""
        tls = () if self.security else (TLS,)
        cert = (CERT,) if self.security and not self.security.cert else ()
        return (*tls, *(() if self.proxyProtocol else (PROXY_PROTOCOL,)), *cert)

    def prepare(self) -> None:
        """Read the files of TLS before the first connection is made; raise PathError if one can't be used."""
        self._tls(Protocol)

    async def connect(self, reactor: ReactorBase, timeout: float, take: Take) -> EchoUpClient:
        """Return a client connected within `timeout` seconds, its limit for replies, too; or raise PathError."""
        client = EchoUpClient(reactor, timeout, take)
        client.untried = self.untried
        await self.connectClient(reactor, client, timeout, Trace(reactor.seconds))
        return client

    async def connectClient(self, reactor: ReactorBase, client: EchoUpClient, timeout: float, trace: Trace) -> None:
        """Connect `client` within `timeout` seconds, or raise PathError; `trace` records every step.

        Of several addresses the first that answers is used. The PROXY header is sent before the TLS handshake, and
        both are done when this returns. The client knows the addresses of both ends as soon as there is a connection.
        """
        deadline = client.clock.seconds() + timeout
        client.tls = tls = self._tls(lambda: client)
        try:
            transport = await self._open(reactor, timeout, trace, client.clock)
        except PathError as error:
            if tls and error.code is ExitCode.SHORT:  # as it is when the reset comes a moment later
                raise PathError(ExitCode.TLS_FAILED, error.reason, self, error.address, HANDSHAKE) from None
            raise
        client.reached(self, transport)
        if self.proxyProtocol:
            phase = trace.begin(Step.PROXY, version=f"v{self.proxyProtocol}")
            transport.write(encodeProxyHeader(self.proxyProtocol, transport.getHost(), transport.getPeer()))
            trace.end(phase, client.handle)
        transport.protocol = tls or client
        transport.protocol.makeConnection(transport)
        if tls:
            await self._handshake(tls, client, deadline - client.clock.seconds(), timeout, trace)

    def _tls(self, build: Callable[[], Protocol]) -> TLSTransport | None:
        """Return the TLS below the protocol that `build` makes; None without TLS."""
        if not self.security:
            return None
        name = self.security.serverName or self.host
        try:
            return TLSTransport(self.security.context, build, peerName(name) or None)
        except UnicodeError:
            why = f"{name!r} is not a host name"
        except ValueError as error:
            why = str(error)
        raise PathError(ExitCode.USAGE, why, self, action="cannot speak TLS with")

    async def _open(self, reactor: Any, timeout: float, trace: Trace, clock: RunningTime) -> Any:
        """Return the transport of a new connection; the caller sets its protocol in the same call."""
        deadline = clock.seconds() + timeout
        ways: list[Way]
        if self.host:
            ways = [
                (joinAddress(host, self.port), partial(self._connectTCP, reactor, host))
                for host in await resolve(reactor, self.host, self.family, timeout, trace, clock)
            ]
        else:
            ways = [(str(self), partial(reactor.connectUNIX, self.path, timeout=None))]
        race = Race(clock, self, trace, self.patience)
        race.start(ways)
        try:
            return await race.connected.addTimeout(max(deadline - clock.seconds(), 0), clock)
        except DeferredTimeout:
            why, tried = f"timed out after {timeout:g} s", ", ".join(race.tried)
            raise PathError(ExitCode.TIMED_OUT, why, self, tried, "cannot connect to") from None

    def _connectTCP(self, reactor: Any, host: str, attempt: ClientFactory) -> Any:
        """Begin to connect `attempt` to the IP address `host`, and return the IConnector."""
        source = (self.bindAddress or "", self.bindPort) if self.bindAddress or self.bindPort else None
        connector = reactor.connectTCP(host, self.port, attempt, timeout=None, bindAddress=source)
        # The reactor sends the SYN in its next turn. There is no socket if this machine has no descriptor for one.
        if self.tos is not None and (handle := getattr(connector.transport, "socket", None)):
            setTOS(handle, self.tos)
        return connector

    async def _handshake(
        self, tls: TLSTransport, client: EchoUpClient, left: float, timeout: float, trace: Trace
    ) -> None:
        """Wait `left` seconds for the handshake, the rest of `timeout`, which an error names; raise PathError."""
        phase = trace.begin(Step.TLS)

        def failed(code: ExitCode, why: str) -> PathError:
            return PathError(code, why, self, client.remote, HANDSHAKE)

        try:
            try:
                await tls.established.addTimeout(max(left, 0), client.clock)
            finally:
                trace.certificate = tls.peerCertificate
        except (DeferredTimeout, CancelledError) as error:
            trace.abandon(phase, client.handle)
            tls.abortConnection()
            if isinstance(error, CancelledError):
                raise
            came = "not complete" if tls.hasReceived else "nothing came back"
            raise failed(ExitCode.TIMED_OUT, f"timed out: {came} in {timeout:g} s") from None
        except (ConnectionClosed, SSLError) as error:
            why = explain(error) if isinstance(error, SSLError) else "the server closed the connection"
            if isinstance(error, SSLError) and error.reason in NO_TLS:
                why += "; the server does not seem to speak TLS"
            trace.end(phase, error=why)
            tls.loseConnection()
            await tls.closed  # the alert has to reach the server
            raise failed(ExitCode.TLS_FAILED, f"{why}{self._hint(tls, client, error)}") from None
        name, *_ = tls.tls.cipher() or ("",)
        unmet = self._unmetPin(trace.certificate)
        trace.end(phase, client.handle, unmet or None, version=tls.tls.version(), cipher=name)
        if unmet:
            tls.abortConnection()
            await tls.closed
            raise failed(ExitCode.TLS_FAILED, unmet)

    def _hint(self, tls: TLSTransport, client: EchoUpClient, error: Exception) -> str:
        """Return which option the failed handshake suggests, of those that `client` names; empty for none."""
        if refusesCertificate(tls):
            return suggest(client.untried, CERT)
        # A server that expects a PROXY header closes when the ClientHello comes instead.
        isSilent = isinstance(error, ConnectionClosed) and not tls.hasReceived
        return suggest(client.untried, PROXY_PROTOCOL) if isSilent else ""

    def _unmetPin(self, certificate: bytes | None) -> str:
        """Say what was presented in place of what is pinned; empty if that was presented, or nothing is pinned."""
        pin = self.security and self.security.pin
        if not pin:
            return ""
        from echoup.tls.certificateinfo import fingerprints  # loads cryptography, which costs 50 ms

        whole, publicKey = fingerprints(certificate or b"")
        if pin in (whole, publicKey):
            return ""
        return f"the pin is not met: the server's certificate has {whole}, its public key {publicKey or 'unknown'}"
