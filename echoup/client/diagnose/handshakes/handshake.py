"""One TLS handshake with a server, and what came of it, also where it failed."""

import ssl
from dataclasses import dataclass

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.connect.trace import Step, Trace
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target.security import Security
from echoup.tls.transport import TLSTransport

PAYLOAD = b"Shall we resume? (echoup)\n"
"""What is sent after a handshake, so that tickets and late alerts of TLS 1.3 come."""


@dataclass(frozen=True)
class Handshake:
    """One handshake."""

    seconds: float
    """How long it took; 0 if it was given up."""
    error: PathError | None
    """Why it failed, or why the server ended it after that (RFC 8446, 4.4.2.4); None if it is done."""
    tls: TLSTransport
    """The TLS of the connection, which is closed."""
    tcp: TCPInfo | None = None
    """What the kernel knew at its end."""

    @property
    def tlsError(self) -> ssl.SSLError | None:
        """What OpenSSL says of the error, if TLS was the reason."""
        error = self.tls.failure and self.tls.failure.value
        return error if isinstance(error, ssl.SSLError) else None

    @property
    def isSilent(self) -> bool:
        """Whether the server didn't answer in time."""
        return self.error is not None and self.error.code is ExitCode.TIMED_OUT

    @property
    def isClosed(self) -> bool:
        """Whether the connection ended, and TLS wasn't the reason."""
        return self.error is not None and not self.isSilent and self.tlsError is None

    @property
    def version(self) -> str:
        """`TLSv1.2` or `TLSv1.3`; empty if the two ends didn't agree on one."""
        return self.tls.tls.version() or ""

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher; likewise."""
        name, *_ = self.tls.tls.cipher() or ("",)
        return name

    @property
    def protocol(self) -> str | None:
        """The application protocol that the two ends agreed on (ALPN)."""
        return self.tls.tls.selected_alpn_protocol()

    @property
    def leaf(self) -> bytes:
        """The server's own certificate in DER, also where verification failed; empty if it didn't come."""
        return self.tls.peerCertificate or b""

    @property
    def chain(self) -> list[bytes]:
        """What the server presented, in DER, its own certificate first; likewise. Empty if a session was resumed."""
        return self.tls.peerChain

    @property
    def isResumed(self) -> bool:
        """Whether the session that was offered was resumed."""
        return bool(self.tls.tls.session_reused)

    @property
    def session(self) -> ssl.SSLSession | None:
        """What another handshake with the same Security may resume; None if the server offers nothing of the kind.

        It offers that with a ticket, or, in TLS 1.2, by its number.
        """
        try:
            session = self.tls.tls.session
        except ValueError:  # OpenSSL can't copy one with a very large certificate
            return None
        isOffered = session and (session.has_ticket or (self.version == "TLSv1.2" and session.id))
        return session if isOffered else None


class ResumingClient(EchoUpClient):
    """A client that offers to resume the session of an earlier connection."""

    session: ssl.SSLSession | None = None

    def reached(self, server: object, transport: object) -> None:
        """Offer the session, before the handshake begins."""
        super().reached(server, transport)
        if self.tls and self.session:
            self.tls.tls.session = self.session


async def shakeHands(
    path: PathUnderTest, security: Security, *, session: ssl.SSLSession | None = None, asks: bool = False
) -> Handshake:
    """Shake hands over a new connection, whose TLS `security` describes, and drop it.

    It offers to resume `session`, which an earlier one with the same `security` got. If it `asks`, it sends PAYLOAD and
    waits for the reply. Raise PathError where there is no connection at all.
    """
    client = ResumingClient(path.reactor, path.scope.timeout, clock=path.clock)
    client.session = session
    trace = Trace(path.clock.seconds)
    error: PathError | None = None
    isDone = False
    try:
        async with path.connection(client=client, security=security, trace=trace):
            isDone = True
            if asks:
                await client.exchange(PAYLOAD)
    except PathError as failure:
        if trace.step is not Step.TLS:
            raise
        if not isDone or failure.code is ExitCode.TLS_FAILED:  # whether the reply is right isn't asked here
            error = failure
    assert client.tls, "the security asks for it"
    return Handshake(trace.phases[-1].seconds or 0, error, client.tls, trace.phases[-1].tcp)
