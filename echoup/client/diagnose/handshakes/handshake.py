"""One TLS handshake with a server, and what came of it, also where it failed."""

import ssl
from dataclasses import dataclass
from typing import Any

from echoup.client.connect.trace import Step, Trace
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.security import Security

PAYLOAD = b"Shall we resume? (echoup)\n"
"""What is sent after a handshake, so that tickets and late alerts of TLS 1.3 come."""


@dataclass(frozen=True)
class Handshake:
    """One handshake."""

    seconds: float
    """How long it took."""
    error: PathError | None = None
    """Why it failed, or why the server ended it after that (RFC 8446, 4.4.2.4); None if it is done."""
    tlsError: ssl.SSLError | None = None
    """What OpenSSL says of that, if TLS was the reason."""
    version: str = ""
    """`TLSv1.2` or `TLSv1.3`."""
    cipher: str = ""
    protocol: str | None = None
    """The application protocol that was agreed on (ALPN)."""
    chain: tuple[bytes, ...] = ()
    """What the server presented, in DER, its own certificate first; also where verification failed."""
    session: ssl.SSLSession | None = None
    """What another handshake with the same Security may resume; None if the server offers nothing of the kind."""
    isResumed: bool = False

    @property
    def isSilent(self) -> bool:
        """Whether the server didn't answer in time."""
        return self.error is not None and self.error.code is ExitCode.TIMED_OUT

    @property
    def leaf(self) -> bytes:
        """The server's own certificate; empty if it didn't come."""
        return self.chain[0] if self.chain else b""


async def shakeHands(
    path: PathUnderTest, security: Security, *, session: ssl.SSLSession | None = None, asks: bool = False
) -> Handshake:
    """Shake hands over a new connection, whose TLS `security` describes, and drop it.

    It offers to resume `session`, which an earlier one with the same `security` got. If it `asks`, it sends PAYLOAD and
    waits for the reply. Raise PathError where there is no connection at all.
    """
    observed = _observe(security.context, session)
    trace = Trace(path.clock.seconds)
    error: PathError | None = None
    try:
        async with path.connection(security=security, trace=trace) as client:
            if asks:
                await client.exchange(PAYLOAD)
    except PathError as failure:
        if trace.step is Step.CONNECT:
            raise
        # Whether the reply is right isn't asked here.
        isHandshake = trace.phases[-1].error is not None or trace.phases[-1].ended is None
        error = failure if isHandshake or failure.code is ExitCode.TLS_FAILED else None
    seconds = trace.phases[-1].seconds or 0
    if not observed:
        return Handshake(seconds, error)
    (made,) = observed
    tls = made.tls
    if not made.isDone:
        return Handshake(seconds, error, made.error, chain=presentedChain(tls))
    cipher, *_ = tls.cipher() or ("",)
    return Handshake(
        seconds,
        error,
        made.error,
        tls.version() or "",
        cipher,
        tls.selected_alpn_protocol(),
        presentedChain(tls),
        _resumable(tls),
        bool(tls.session_reused),
    )


class _Observed:
    """A TLS object, whether its handshake is done, and the error that ended it."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self.tls = tls
        self.error: ssl.SSLError | None = None
        self.isDone = False


def _observe(context: ssl.SSLContext, session: ssl.SSLSession | None) -> list[_Observed]:
    """Return a list that gets what `context` makes from now on; each offers to resume `session`."""
    made: list[_Observed] = []

    class Observing(ssl.SSLObject):
        def do_handshake(self) -> None:
            if not made:
                made.append(_Observed(self))
                if session:
                    self.session = session
            self._note(super().do_handshake)
            made[0].isDone = True

        def read(self, *arguments: Any) -> Any:
            return self._note(super().read, *arguments)

        def _note(self, call: Any, *arguments: Any) -> Any:
            try:
                return call(*arguments)
            except ssl.SSLError as error:
                if not isinstance(error, ssl.SSLWantReadError | ssl.SSLZeroReturnError):
                    made[0].error = error
                raise

    context.sslobject_class = Observing
    return made


def presentedChain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the certificates that the peer presented, in DER, whether or not they were accepted.

    Python has a public method for it from 3.13 on.
    """
    public = getattr(tls, "get_unverified_chain", None)
    if public:
        return tuple(public())
    DER = 2  # _ssl.ENCODING_DER
    return tuple(each.public_bytes(DER) for each in tls._sslobj.get_unverified_chain() or ())  # type: ignore[attr-defined]


def _resumable(tls: ssl.SSLObject) -> ssl.SSLSession | None:
    """Return the session of `tls` if the server offers to resume it: with a ticket, or, in TLS 1.2, by its number."""
    session = tls.session
    isOffered = session and (session.has_ticket or (tls.version() == "TLSv1.2" and session.id))
    return session if isOffered else None
