"""The options that a server may expect: what errors suggest where the server hasn't answered."""

from collections.abc import Collection

TLS, PROXY_PROTOCOL, CERT = "--tls", "--proxy-protocol", "--cert"


def suggest(untried: Collection[str], *likely: str) -> str:
    """Return what to add to an error: the `likely` options that are `untried`; empty for none."""
    options = " or ".join(option for option in likely if option in untried)
    return f"; the server may expect {options}" if options else ""
