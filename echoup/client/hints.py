"""The options that a server may expect: what errors suggest where the server hasn't answered."""

import ssl
from collections.abc import Collection

from echoup.tls.transport import TLSTransport

TLS, PROXY_PROTOCOL, CERT = "--tls", "--proxy-protocol", "--cert"

CERTIFICATE_ALERTS = (
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_ALERT_ACCESS_DENIED",
    "TLSV1_ALERT_UNKNOWN_CA",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
)
"""OpenSSL's reasons for the alerts of a server that isn't content with the client's certificate (RFC 8446, 6.2)."""


def suggest(untried: Collection[str], *likely: str) -> str:
    """Return what to add to an error: the `likely` options that are `untried`; empty for none."""
    options = " or ".join(option for option in likely if option in untried)
    return f"; the server may expect {options}" if options else ""


def refusesCertificate(tls: TLSTransport) -> bool:
    """Return whether the server's alert, which ended `tls`, is about the client's certificate, or about its absence.

    In TLS 1.2 a server that got none may say handshake_failure (RFC 5246, 7.4.6), which it also says before it has
    presented its own certificate if there is no cipher in common.
    """
    error = tls.failure and tls.failure.value
    if not isinstance(error, ssl.SSLError):
        return False
    return error.reason in CERTIFICATE_ALERTS or (
        error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE" and bool(tls.peerChain)
    )
