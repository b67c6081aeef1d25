"""Why a TLS handshake failed in which any certificate would have done."""

from collections.abc import Mapping

from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.handshakes.handshake import Handshake
from echoup.client.exitcodes import PathError
from echoup.client.hints import refusesCertificate
from echoup.client.target.stream import NO_TLS

_REASONS = dict.fromkeys(NO_TLS, "no-tls") | {
    "TLSV1_ALERT_PROTOCOL_VERSION": "no-common-version",
    "UNSUPPORTED_PROTOCOL": "no-common-version",
    "TLSV1_UNRECOGNIZED_NAME": "server-name-refused",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "no-common-cipher",
}
"""OpenSSL's reasons, and the cause that each means."""

_WORDS: Mapping[str, tuple[str, str, str]] = {
    "no-tls": (
        "the server does not seem to speak TLS",
        "What came isn't TLS: the port belongs to a server without it, or the TLS is ended before, at a proxy.",
        "Leave --tls away, or give the port that speaks TLS.",
    ),
    "handshake-silent": (
        "the server does not answer the TLS handshake",
        "It doesn't speak TLS and waits for more, it expects a PROXY header, or its answer's large packets are lost.",
        "See what the server logs, whether it expects --proxy-protocol, and what the check mtu says without --tls.",
    ),
    "handshake-closed": (
        "the server closes the connection during the TLS handshake",
        "It doesn't speak TLS, expects a PROXY header first, has no backend, or refuses this client.",
        "See what the server logs; try --proxy-protocol, or another port.",
    ),
    "client-certificate-demanded": (
        "the server demands a client certificate",
        "It proves itself, and wants the client to do so, too.",
        "Give one with --cert and --key, from an authority that the server trusts.",
    ),
    "client-certificate-refused": (
        "the server refuses the client certificate",
        "It has expired, or the server doesn't trust its authority, or expects another kind.",
        "See what the server logs, and which authorities it trusts; renew the certificate of --cert.",
    ),
    "no-common-version": (
        "the server speaks neither TLS 1.2 nor 1.3",
        "Older versions are not safe any more (RFC 8996), and are not offered.",
        "Enable TLS 1.2 or 1.3 on the server.",
    ),
    "no-common-cipher": (
        "the server refuses the handshake before it proves itself",
        "It has no cipher or curve in common with this client, or no certificate for the name that was asked for.",
        "See what the server logs. This client offers TLS 1.3, and of TLS 1.2 ECDHE or DHE with AES-GCM or ChaCha20.",
    ),
    "server-name-refused": (
        "the server does not serve that name",
        "It chooses its certificate by the name that the client asks for (SNI), and has none for this one.",
        "Ask for a name that it has, with --server-name.",
    ),
    "handshake-failed": (
        "the TLS handshake fails",
        "The two ends can't agree, or something on the way changes what they say.",
        "See what the server logs.",
    ),
}
"""Of each cause: the line, what it means, and what to try."""

UNCLEAR = ("handshake-silent", "handshake-closed", "no-common-cipher", "handshake-failed")
"""The causes that may come of what the client offers."""


def causeOf(handshake: Handshake, hasCertificate: bool) -> str:
    """Return why the handshake failed; `hasCertificate` says whether we had one to show."""
    if handshake.isSilent:
        return "handshake-silent"
    if handshake.tlsError is None:
        return "handshake-closed"
    if refusesCertificate(handshake.tls):
        return "client-certificate-refused" if hasCertificate else "client-certificate-demanded"
    return _REASONS.get(handshake.tlsError.reason, "handshake-failed")


def judgeFailure(cause: str, error: PathError, alone: Mapping[str, Handshake], timeout: float) -> Problem:
    """Return what is wrong where the handshake failed with `error`, because of `cause`.

    `alone` are the handshakes in which one version only was offered, if that was tried. The server had `timeout`
    seconds for each.
    """
    text, meaning, advice = _WORDS[cause]
    if works := [version for version, each in alone.items() if not each.error]:
        cause, text = "version-intolerance", f"the TLS handshake works only if nothing but {works[0]} is offered"
        meaning = "The server, or a firewall on the way, can't cope with a client that offers TLS 1.2 and 1.3."
        advice = "Update what ends or inspects TLS there."
    elif cause == "handshake-silent":
        text += f" within {timeout:g} s"
    seen = [f"{version} alone: {each.error.reason if each.error else 'works'}" for version, each in alone.items()]
    return Problem(Status.FAIL, cause, text, (error.reason, *seen), meaning, advice, error.code)
