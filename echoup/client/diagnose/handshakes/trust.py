"""Why a server's certificate isn't trusted, or won't be for long, and what to do about it."""

import ssl
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.handshakes.chain import ChainCertificate
from echoup.client.exitcodes import ExitCode
from echoup.tls.context import explain

BRIEF = 14
"""Days from which on the end of a certificate is near."""

# X509_V_ERR_… of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED, _ALONE, _SELF_SIGNED, _NO_LOCAL_ISSUER, _UNVERIFIED_LEAF = 9, 10, 18, 19, 20, 21
_NO_ISSUER, _HOST_MISMATCH, _IP_MISMATCH = 2, 62, 64

_INTERCEPTION = "Or something on the way answers with a certificate of its own."


def describeChain(chain: Sequence[ChainCertificate], now: datetime) -> tuple[str, ...]:
    """Return a line for each certificate."""
    lines = []
    for number, each in enumerate(chain, 1):
        names = f", for {_several(each.names)}" if each.names else ""
        valid = f"{each.info.notBefore:%Y-%m-%d} to {each.info.notAfter:%Y-%m-%d}"
        lines.append(
            f"certificate {number}: {each.info.subject}{names}; issued by {each.info.issuer}; valid {valid}; {each.key}"
        )
    if chain:
        lines.append(f"the first has {chain[0].fingerprint}")
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
    authorities that are trusted, as far as they are known.
    """
    leaf, last = (chain[0], chain[-1]) if chain else (None, None)
    said = explain(error)
    cause, text = "certificate-refused", f"the server's certificate isn't accepted: {said}"
    meaning = "OpenSSL refuses it on this machine, so clients that use OpenSSL do so, too."
    advice = "Issue another certificate that meets what OpenSSL asks for."
    code = error.verify_code
    if code == _EXPIRED:
        which = next((each for each in chain if each.info.notAfter < now), None)
        cause, text = (
            "certificate-expired",
            f"{_which(which, chain)} expired" + (f" on {which.info.notAfter:%Y-%m-%d}" if which else ""),
        )
        meaning = "Every client that checks certificates refuses it."
        advice = (
            "Renew it, and have the server load the new file. If that date is still to come, set this machine's clock."
        )
    elif code == _NOT_YET_VALID:
        which = next((each for each in chain if each.info.notBefore > now), None)
        cause, text = (
            "certificate-not-yet-valid",
            f"{_which(which, chain)} isn't valid yet"
            + (f", but from {which.info.notBefore:%Y-%m-%d %H:%M} UTC on" if which else ""),
        )
        meaning = "One of three clocks is wrong: this machine's, the server's, or that of the authority."
        advice = "Compare the clocks (timedatectl)."
    elif code in (_HOST_MISMATCH, _IP_MISMATCH) and leaf:
        cause, text = "certificate-wrong-name", f"the server's certificate is for {_several(leaf.names)}, not {wanted}"
        if not leaf.names:
            text = f"the server's certificate has no names at all (subjectAltName), so it isn't for {wanted}"
        meaning = "The server is another one, or presents another one's certificate, or the certificate lacks the name."
        advice = "Connect to a name that is in it, give that with --server-name, or issue one that has this name."
    elif code == _ALONE:
        cause, text = "certificate-self-signed", "the server's certificate is self-signed, and isn't trusted here"
        meaning = f"No authority vouches for it. {_INTERCEPTION}"
        advice = "Trust it with --cafile FILE, or pin its fingerprint with --insecure --pin, if it is the right one."
    elif code in (_SELF_SIGNED, _NO_ISSUER, _NO_LOCAL_ISSUER, _UNVERIFIED_LEAF) and last:
        issuer = last.info.issuer
        if not last.isSelfSigned and (last.hasIssuerURL or (last.issuerOrganization in {*trusted} - {""})):
            cause, text = "intermediate-missing", f"the server seems not to send the intermediate certificate {issuer}"
            meaning = (
                "The last certificate that it sends is issued by that authority, which isn't trusted by itself. "
                "Browsers fetch or remember what is missing, other clients fail."
            )
            advice = (
                "Append the intermediate certificate to the server's certificate file (fullchain.pem). If that "
                "authority is a root, give its certificate with --cafile."
            )
        else:
            cause, text = "unknown-authority", f"the authority of the server's certificate isn't trusted here: {issuer}"
            meaning = f"It may be a private one; then this machine has to be told. {_INTERCEPTION}"
            advice = (
                "Give its certificate with --cafile. If that is an intermediate one of an authority that is trusted, "
                "the server has to send it, too."
            )
    evidence = (f"OpenSSL: {said}", *describeChain(chain, now))
    return Problem(Status.FAIL, cause, text, evidence, meaning, advice, ExitCode.TLS_FAILED)


def judgePin(pin: str, chain: Sequence[ChainCertificate], isTrusted: bool | None, now: datetime) -> Problem:
    """Return what it means that the certificate isn't the pinned one; `isTrusted` is None if that isn't asked."""
    if isTrusted:
        text = "the certificate is trusted, but isn't the pinned one: something on the way may be intercepting TLS"
        meaning = (
            "Another authority that this machine trusts vouches for it, as that of a TLS-inspecting firewall, and what "
            "is sent can be read there. Or the server has a new key."
        )
    else:
        text = "the certificate isn't the pinned one: another server answers, or something on the way"
        meaning = "The server has a new key, it is another server, or something on the way ends TLS."
    issuer = f" The issuer of this certificate is {chain[0].info.issuer}." if chain else ""
    keys = (f"its public key has {chain[0].keyFingerprint}",) if chain else ()
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
    found: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in echoup.tls.certificateinfo
        for der in context.get_ca_certs(binary_form=True):
            with suppress(Exception):  # cryptography raises many kinds, not all of them ValueErrors
                names = x509.load_der_x509_certificate(der).subject
                found |= {str(name.value) for name in names.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}
    return found


def _which(each: ChainCertificate | None, chain: Sequence[ChainCertificate]) -> str:
    """Return what a certificate of the chain is called in a sentence."""
    if each is None or each is chain[0]:
        return "the server's certificate"
    return f"the certificate of the authority {each.info.subject}"


def _several(names: Sequence[str]) -> str:
    """Return the first names; some certificates have hundreds."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
