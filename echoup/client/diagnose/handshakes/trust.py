"""Why a server's certificate isn't trusted, or won't be for long, and what to do about it."""

import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.handshakes.chain import ChainCertificate
from echoup.client.exitcodes import ExitCode
from echoup.tls.context import explain

BRIEF = 14
"""Days from which on the end of a certificate is near."""

# X509_V_ERR_… of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED, _ALONE, _HOST_MISMATCH, _IP_MISMATCH = 9, 10, 18, 62, 64
_NO_ISSUER = (2, 19, 20, 21)

_WORDS: Mapping[str, tuple[str, str]] = {
    "certificate-expired": (
        "Every client that checks certificates refuses it.",
        "Renew it, and have the server load the new file. If that date is still to come, set this machine's clock.",
    ),
    "certificate-not-yet-valid": (
        "One of three clocks is wrong: this machine's, the server's, or that of the authority.",
        "Compare the clocks (timedatectl).",
    ),
    "certificate-wrong-name": (
        "The server is another one, or presents another one's certificate, or the certificate lacks the name.",
        "Connect to a name that is in it, give that with --server-name, or issue one that has this name.",
    ),
    "certificate-self-signed": (
        "No authority vouches for it. Or something on the way ends TLS.",
        "Trust it with --cafile FILE, or pin its fingerprint with --insecure --pin, if it is the right one.",
    ),
    "intermediate-missing": (
        "Its authority isn't trusted by itself. Browsers fetch or remember what is missing, other clients fail.",
        "Append it to the server's certificate file (fullchain.pem). If it is a root, give it with --cafile.",
    ),
    "unknown-authority": (
        "It may be a private one, that this machine has to be told. Or something on the way ends TLS.",
        "Give its certificate with --cafile. If it isn't a root, the server has to send its certificate, too.",
    ),
    "certificate-refused": (
        "OpenSSL refuses it on this machine, so clients that use OpenSSL do so, too.",
        "Issue another certificate that meets what OpenSSL asks for.",
    ),
}
"""Of each cause: what it means, and what to try."""


def describeChain(chain: Sequence[ChainCertificate], now: datetime) -> tuple[str, ...]:
    """Return a line for each certificate, the fingerprint of the first, and the time `now`."""
    lines = [f"certificate {number}: {each.describe()}" for number, each in enumerate(chain, 1)]
    lines += [f"the first has {each.fingerprint}" for each in chain[:1]]
    return (*lines, f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC")


def judgeTrust(
    error: ssl.SSLCertVerificationError,
    chain: Sequence[ChainCertificate],
    wanted: str,
    trusted: Collection[str],
    now: datetime,
) -> Problem:
    """Return why verification failed with `error` of the `chain` that was presented, leaf first.

    `wanted` is the name or address that the certificate should be for; `trusted` are the organizations of the
    authorities that are trusted, as far as they are known. The rules of verification are RFC 5280, 6, and RFC 9525.
    """
    said, code = explain(error), error.verify_code
    leaf, last = (chain[0], chain[-1]) if chain else (None, None)
    cause, text = "certificate-refused", f"the server's certificate isn't accepted: {said}"
    if code == _EXPIRED:
        which = next((each for each in chain if each.info.notAfter < now), None)
        ended = f" on {which.info.notAfter:%Y-%m-%d}" if which else ""
        cause, text = "certificate-expired", f"{_which(which, chain)} expired{ended}"
    elif code == _NOT_YET_VALID:
        which = next((each for each in chain if each.info.notBefore > now), None)
        begins = f", but from {which.info.notBefore:%Y-%m-%d %H:%M} UTC on" if which else ""
        cause, text = "certificate-not-yet-valid", f"{_which(which, chain)} isn't valid yet{begins}"
    elif code in (_HOST_MISMATCH, _IP_MISMATCH) and leaf:
        cause, text = "certificate-wrong-name", f"the server's certificate is for {leaf.firstNames}, not {wanted}"
        if not leaf.names:
            text = f"the server's certificate has no names at all (subjectAltName), so it isn't for {wanted}"
    elif code == _ALONE:
        cause, text = "certificate-self-signed", "the server's certificate is self-signed, and isn't trusted here"
    elif code in _NO_ISSUER and last:
        cause, text = (
            "unknown-authority",
            f"the authority of the server's certificate isn't trusted here: {last.issuer}",
        )
        isKnown = last.hasIssuerURL or (last.issuerOrganization and last.issuerOrganization in trusted)
        if isKnown and not last.isSelfSigned:
            cause, text = (
                "intermediate-missing",
                f"the server seems not to send the intermediate {last.issuer}",
            )
    evidence = (f"OpenSSL: {said}", *describeChain(chain, now))
    return Problem(Status.FAIL, cause, text, evidence, *_WORDS[cause], ExitCode.TLS_FAILED)


def judgePin(pin: str, chain: Sequence[ChainCertificate], isTrusted: bool | None, now: datetime) -> Problem:
    """Return what it means that the certificate isn't the pinned one; `isTrusted` is None if that isn't asked."""
    text = "the certificate isn't the pinned one: another server answers, or something on the way"
    meaning = "The server has a new key, it is another server, or something on the way ends TLS."
    if isTrusted:
        text = "the certificate is trusted, but isn't the pinned one: something on the way may be intercepting TLS"
        meaning = (
            "Another authority that this machine trusts vouches for it, as that of a TLS-inspecting firewall, and what "
            "is sent can be read there. Or the server has a new key."
        )
    issuer = f" The issuer of this certificate is {chain[0].issuer}." if chain else ""
    keys = [f"its public key has {each.keyFingerprint or 'a kind that is unknown here'}" for each in chain[:1]]
    return Problem(
        Status.FAIL,
        "pin-mismatch",
        text,
        (f"pinned: {pin}", *describeChain(chain, now), *keys),
        meaning,
        f"Ask who runs the server for the fingerprint of its certificate, and compare.{issuer}",
        ExitCode.TLS_FAILED,
    )


def judgeDates(chain: Sequence[ChainCertificate], now: datetime) -> Iterator[Problem]:
    """Yield which of the certificates expire soon."""
    for each in chain:
        if each.isBrief(now, BRIEF) and now < each.info.notAfter:
            left = each.info.daysLeft(now)
            yield Problem(
                Status.WARN,
                "certificate-expires-soon",
                f"{_which(each, chain)} expires in {left:.1f} days, on {each.info.notAfter:%Y-%m-%d}",
                describeChain(chain, now),
                "From then on clients refuse it.",
                "See why it hasn't been renewed; if it has, have the server load the new file.",
            )


def trustedOrganizations(context: ssl.SSLContext) -> set[str]:
    """Return the organizations of the authorities that `context` trusts, as far as it has loaded them."""
    authorities: list[Any] = context.get_ca_certs()
    parts = [part for each in authorities for parts in each["subject"] for part in parts]
    return {value for name, value in parts if name == "organizationName"}


def _which(each: ChainCertificate | None, chain: Sequence[ChainCertificate]) -> str:
    """Return what a certificate of the chain is called in a sentence."""
    if each is None or each is chain[0]:
        return "the server's certificate"
    return f"the certificate of the authority {each.subject}"
