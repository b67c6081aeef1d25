"""The options that say how to reach the server, the same for every command."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, Literal

import click

PROXY_PROTOCOLS: dict[str | None, Literal[1, 2]] = {"v1": 1, "v2": 2}


def pathOptions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the argument TARGET and the options of the path; it is called with the `target` that they make."""

    @click.argument("target", default="127.0.0.1:8081")
    @click.option("-4", "only4", is_flag=True, help="Only IPv4.")
    @click.option("-6", "only6", is_flag=True, help="Only IPv6.")
    @click.option("--tls", is_flag=True, help="Speak TLS; a TARGET that begins with tls: means the same.")
    @click.option("--cafile", metavar="FILE", help="Trust the certificates in it instead of the system's.")
    @click.option("--cert", metavar="FILE", help="Show this certificate where the server asks for one.")
    @click.option("--key", metavar="FILE", help="Its private key, if that isn't in the same file.")
    @click.option("--server-name", metavar="NAME", help="Ask for this name and expect it in the server's certificate.")
    @click.option("--insecure", is_flag=True, help="Trust any certificate.")
    @click.option(
        "--proxy-protocol",
        type=click.Choice(["v1", "v2"]),
        help="Begin with a PROXY protocol header, as a load balancer does.",
    )
    @wraps(command)
    def withTarget(target: str, only4: bool, only6: bool, tls: bool, proxy_protocol: str | None, **others: Any) -> Any:
        names = {"cafile": "cafile", "cert": "cert", "key": "key", "serverName": "server_name", "insecure": "insecure"}
        security = {field: others.pop(name) for field, name in names.items()}
        if only4 and only6:
            raise click.UsageError("-4 and -6 contradict each other")
        for name in ("cafile", "cert", "key"):
            if security[name] == "":
                raise click.UsageError(f"--{name}: '' is not a file")
        given = {name: value for name, value in security.items() if value}
        version = 4 if only4 else 6 if only6 else 0
        return command(target=_makeTarget(target, version, tls, given, proxy_protocol), **others)

    return withTarget


def _makeTarget(description: str, version: int, tls: bool, security: dict[str, Any], proxyProtocol: str | None) -> Any:
    from echoup.client.connect.resolve import Family
    from echoup.client.target.datagram import DatagramTarget
    from echoup.client.target.parse import parseTarget
    from echoup.client.target.security import Security

    family = Family(version)
    try:
        target = parseTarget(description)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'[TARGET]'") from None
    if isinstance(target, DatagramTarget):
        if tls or security or proxyProtocol:
            raise click.UsageError("TLS and the PROXY protocol are for streams, not for UDP")
        return replace(target, family=family)
    if family and not target.host:
        raise click.UsageError(f"-4 and -6 are for hosts, and {description} is none")
    target = replace(target, family=family, proxyProtocol=PROXY_PROTOCOLS.get(proxyProtocol))
    if not (tls or target.security):
        if security:
            raise click.UsageError("--cafile, --cert, --key, --server-name and --insecure need --tls")
        return target
    secured = replace(target.security or Security(), **security)
    if secured.key and not secured.cert:
        raise click.UsageError("--key needs --cert")
    if not (target.host or secured.serverName or secured.insecure):
        raise click.UsageError(
            f"{description} has no host whose certificate could be expected: --server-name names one"
        )
    return replace(target, security=secured)
