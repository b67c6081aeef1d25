"""The options that say how to reach the server, the same for every command, and the kinds of options."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import wraps
from ipaddress import ip_address
from typing import Any, Literal, TypeVar

import click

from echoup.client.commandline.habits import suggestTarget
from echoup.durations import parseDuration, parsePositiveDuration

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT = "127.0.0.1:8081"
"""The TARGET where none is given."""

PROXY_PROTOCOLS: dict[str | None, Literal[1, 2]] = {"v1": 1, "v2": 2}


def secondsOption(*names: str, default: float | None, text: str, isPositive: bool = True) -> Callable[[F], F]:
    """Return an option that takes a duration, more than 0 with `isPositive`; `text` is its help.

    Its value is in seconds; without a `default` it is None where the option isn't given.
    """
    parse = parsePositiveDuration if isPositive else parseDuration

    def toSeconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
        if value is None:
            return None
        with badParameter():
            return parse(value)

    words = None if default is None else f"{default:g}s"
    return click.option(
        *names, default=words, show_default=default is not None, metavar="DURATION", callback=toSeconds, help=text
    )


def fileOption(name: str, text: str) -> Callable[[F], F]:
    """Return an option that takes a path, which shells complete; `text` is its help."""
    return click.option(name, type=click.Path(readable=False), metavar="FILE", help=text)


@contextmanager
def badParameter(hint: str | None = None) -> Iterator[None]:
    """Turn a ValueError into a usage error about the parameter that is being parsed, or about `hint`."""
    try:
        yield
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=hint) from None


def pathOptions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the argument TARGET and the options of the path; it is called with the `target` that they make."""

    @click.argument("target", default=DEFAULT)
    @wraps(command)
    def withTarget(target: str, makeTarget: Callable[[str], Any], **others: Any) -> Any:
        return command(target=makeTarget(target), **others)

    return _pathOptions(withTarget)


def pathsOptions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Do the same with any number of TARGETs, all with these options; it is called with the `targets`."""

    @click.argument("target", nargs=-1)
    @wraps(command)
    def withTargets(target: tuple[str, ...], makeTarget: Callable[[str], Any], **others: Any) -> Any:
        return command(targets=[makeTarget(each) for each in target or (DEFAULT,)], **others)

    return _pathOptions(withTargets)


def _pathOptions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the options of the path; its `makeTarget` makes a target of them and a TARGET."""

    @click.option("-4", "only4", is_flag=True, help="Use IPv4 only.")
    @click.option("-6", "only6", is_flag=True, help="Use IPv6 only.")
    @click.option("--tls", is_flag=True, help="Use TLS, as with a TARGET that begins with tls:.")
    @fileOption("--cafile", text="Trust the CA certificates in FILE instead of the system's.")
    @fileOption("--cert", text="Present the client certificate in FILE if the server asks for one.")
    @fileOption("--key", text="Private key of --cert, if it is not in the same file.")
    @click.option("--server-name", metavar="NAME", help="Send NAME as SNI, and expect it in the server's certificate.")
    @click.option("--insecure", is_flag=True, help="Accept any server certificate.")
    @click.option(
        "--pin",
        callback=_pin,
        metavar="sha256:HEX",
        help="Accept only the server certificate, or public key, with this fingerprint.",
    )
    @click.option(
        "--proxy-protocol",
        type=click.Choice(["v1", "v2"]),
        help="Send a PROXY protocol header first, as a load balancer does.",
    )
    @click.option("--source", callback=_source, metavar="ADDRESS", help="Send from this IP address of this machine.")
    @click.option(
        "--tos", callback=_tos, metavar="TOS", help="Set the TOS byte: 0 to 255, or a DSCP name such as EF or AF41."
    )
    @wraps(command)
    def withOptions(only4: bool, only6: bool, tls: bool, proxy_protocol: str | None, **others: Any) -> Any:
        names = {"cafile": "cafile", "cert": "cert", "key": "key", "serverName": "server_name"}
        names |= {"insecure": "insecure", "pin": "pin"}
        security = {field: others.pop(name) for field, name in names.items()}
        if only4 and only6:
            raise click.UsageError("-4 and -6 are mutually exclusive")
        for name in ("cafile", "cert", "key"):
            if security[name] == "":
                raise click.UsageError(f"--{name}: '' is not a file")
        given = {name: value for name, value in security.items() if value}
        version = 4 if only4 else 6 if only6 else 0
        sending = {"bindAddress": others.pop("source"), "tos": others.pop("tos")}

        def makeTarget(description: str) -> Any:
            made = _makeTarget(description, version, tls, given, proxy_protocol)
            return _sendAs(made, description, sending)

        return command(makeTarget=makeTarget, **others)

    return withOptions


def _pin(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    from echoup.client.target.security import parsePin

    with badParameter():
        return parsePin(value)


def _source(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return str(ip_address(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an IP address") from None


def _tos(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    from echoup.client.connect.tos import parseTOS

    with badParameter():
        return parseTOS(value)


def _sendAs(target: Any, description: str, sending: dict[str, Any]) -> Any:
    """Return `target` with the fields of `sending` that aren't None; the source has to be of its version of IP."""
    from echoup.client.connect.resolve import Family
    from echoup.client.target.datagram import DatagramTarget

    given = {field: value for field, value in sending.items() if value is not None}
    if not given:
        return target
    if not target.host:
        raise click.UsageError(f"--source and --tos need a host, and {description} has none")
    if not (source := given.get("bindAddress")):
        return replace(target, **given)
    if target.bindAddress:
        raise click.UsageError(f"{description} has a bindAddress, so --source can't be given")
    if "%" in source and isinstance(target, DatagramTarget):
        raise click.UsageError(f"over UDP --source can't be a link-local address with its interface, as {source}")
    family = Family(ip_address(source).version)
    with suppress(ValueError):  # the host is a name
        if ip_address(target.host).version != family:
            raise click.UsageError(f"--source {source} is IPv{family:d}, and {description} isn't")
    if target.family not in (Family.ANY, family):
        raise click.UsageError(f"--source {source} is IPv{family:d}, so -{target.family:d} can't be given")
    return replace(target, family=family, **given)


def _makeTarget(description: str, version: int, tls: bool, security: dict[str, Any], proxyProtocol: str | None) -> Any:
    from echoup.client.connect.resolve import Family
    from echoup.client.target.datagram import DatagramTarget
    from echoup.client.target.parse import parseTarget
    from echoup.client.target.security import Security

    family = Family(version)
    with badParameter("TARGET"):
        try:
            target = parseTarget(description)
        except ValueError:
            if meant := suggestTarget(description):
                raise ValueError(f"{description!r} is a URL; write {meant}") from None
            raise
    if isinstance(target, DatagramTarget):
        if tls or security or proxyProtocol:
            raise click.UsageError(f"TLS and the PROXY protocol need a stream, and {description} is UDP")
        return replace(target, family=family)
    if family and not target.host:
        raise click.UsageError(f"-4 and -6 need a host, and {description} has none")
    target = replace(target, family=family, proxyProtocol=PROXY_PROTOCOLS.get(proxyProtocol))
    if not (tls or target.security):
        if security:
            raise click.UsageError("--cafile, --cert, --key, --server-name, --insecure and --pin need --tls")
        return target
    secured = replace(target.security or Security(), **security)
    if secured.key and not secured.cert:
        raise click.UsageError("--key needs --cert")
    if not (target.host or secured.serverName or secured.insecure):
        raise click.UsageError(
            f"{description} has no host name to expect in the certificate: name one with --server-name"
        )
    return replace(target, security=secured)
