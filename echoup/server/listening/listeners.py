"""What `--listen` means: the description of an address, and the listening sockets that it becomes."""

import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

from echoup.addresses import parsePort, unmapHost
from echoup.endpointstrings import applyTo, parsing, socketPath, splitDescription, wholeNumber
from echoup.server.listening.certificate import DEFAULT_KEY, ServerCertificate
from echoup.server.listening.hosts import DATAGRAMS, STREAMS, parseOwnAddress, refuseForeignForms
from echoup.server.listening.inherited import InheritedListener, parseInherited
from echoup.server.listening.sockets import ListeningAddress, openEach, openTCP
from echoup.server.listening.unixfile import bindFile
from echoup.server.platform.socketoptions import prepare

BACKLOG = 4096
"""The most clients that the kernel queues at a socket, within its own limit, somaxconn. With Twisted's 50, most of 1000
clients that connect at once wait a second or more until their SYN is sent again."""


class StartError(Exception):
    """The daemon can't start.

    The message is one line that begins with the reason. In the background twistd shows 100 bytes of it at most, its own
    prefix included.
    """

    def __init__(self, reason: object, consequence: str) -> None:
        """`reason` says why, in lower case like the messages of the system, and `consequence` what is impossible."""
        text = str(reason)
        isSentence = text[1:2].islower() or text[1:2] == " "  # and not an abbreviation
        super().__init__(f"{text[0].lower() + text[1:] if isSentence else text}: {consequence}")


class ListenError(StartError):
    """The daemon can't listen on an address; the message says which, and why."""

    def __init__(self, description: str, reason: OSError) -> None:
        super().__init__(reason.strerror or reason, f"cannot listen on {description}")


@contextmanager
def listeningOn(description: str) -> Iterator[None]:
    """Turn an OSError into a ListenError about `description`."""
    try:
        yield
    except OSError as error:
        raise ListenError(description, error) from None


@dataclass(frozen=True)
class AddressListener:
    """Listens on a TCP port, at each address of a host, or at every address of this machine (`host` None)."""

    description: str
    host: str | None
    port: int
    family: socket.AddressFamily = socket.AF_UNSPEC
    """The family to which the addresses of the host are restricted, unless it is AF_UNSPEC."""
    backlog: int = BACKLOG
    certificate: ServerCertificate | None = None

    def open(self, count: int = 1) -> list[ListeningAddress]:
        """Listen at each address with `count` sockets; raise OSError where that is impossible."""
        openOne = partial(openTCP, count, self.backlog)
        return openEach(self.host, self.port, socket.SOCK_STREAM, openOne, lambda each: each.close(), self.family)


@dataclass(frozen=True)
class UNIXListener:
    """Listens on a Unix socket."""

    description: str
    path: str
    """The path of its file, or a NUL and an abstract name, which has neither file nor lock."""
    mode: int = 0o666
    """The permissions of the socket's file."""
    backlog: int = BACKLOG
    replacesLeftover: bool = True
    """Whether a socket that a killed process left there is replaced."""
    certificate: None = None

    def open(self, count: int = 1) -> list[ListeningAddress]:
        """Listen with one socket for any `count`; raise OSError where that is impossible."""
        with ExitStack() as opened:
            listening = opened.enter_context(socket.socket(socket.AF_UNIX))
            prepare(listening)
            if self.path.startswith("\0"):
                listening.bind(self.path)
            else:
                opened.callback(bindFile(listening, self.path, self.replacesLeftover))
                # No client can connect before the socket listens, so the permissions of the umask never apply.
                Path(self.path).chmod(self.mode)
            listening.listen(self.backlog)
            return [ListeningAddress([listening], opened.pop_all().close, backlog=self.backlog)]


Listener = AddressListener | UNIXListener | InheritedListener
"""Something to listen on, which may have several addresses."""


def parseListener(
    description: str, clientCA: str | None = None, certificate: ServerCertificate | None = None
) -> Listener:
    """Return the listener that `description` names.

    The forms are those of `parseOwnAddress`, the same after `tls:`, and Twisted's server endpoint strings `tcp:`,
    `tcp6:`, `ssl:`, `unix:` and `systemd:`. `certificate` is the one of `tls:` addresses. With `ssl:`, clients need a
    certificate signed by one in the file `clientCA`, unless that is None. Raise ValueError, with one line that says
    what is wrong.
    """
    if not description.isprintable():
        raise ValueError(f"{description!r} is not an address")
    refuseForeignForms(description)
    # Only the description is Twisted's. Its wrappers, such as `haproxy:`, lose data at a half-close.
    parsers: dict[str, Callable[..., Listener]] = {
        "tcp": partial(_parseTCP, description, ""),
        "tcp6": partial(_parseTCP, description, "::"),
        "ssl": partial(_parseSSL, description, clientCA),
        "unix": partial(_parseUNIX, description),
        "systemd": partial(parseInherited, description),
    }
    kind, _, rest = description.partition(":")
    if kind == "tls":
        return _parseTLS(description, certificate, rest)
    if kind not in parsers:
        kinds = ", ".join(["tls", *parsers])
        return AddressListener(description, *parseOwnAddress(description, f", nor an endpoint of the kinds {kinds}"))
    with parsing(description, kind):
        (_, *values), named = splitDescription(description)
        return applyTo(parsers[kind], values, named)


def parseListeners(
    descriptions: Iterable[str], clientCA: str | None = None, certificate: ServerCertificate | None = None
) -> list[Listener]:
    """Return the listeners that `descriptions` name, by `parseListener`; refuse the same inherited socket twice."""
    listeners = [parseListener(description, clientCA, certificate) for description in descriptions]
    _refuseSameSocket(listeners)
    return listeners


def parseStatusListener(description: str, listeners: Iterable[Listener] = ()) -> Listener:
    """Return the listener of the status site; `listeners` are the others of the daemon.

    The forms are those of `parseListener` without TLS; a port alone is one of 127.0.0.1. Raise ValueError, with one
    line that says what is wrong.
    """
    if description.partition(":")[0] in ("tls", "ssl"):
        raise ValueError(f"{description!r}: the status site has no TLS; let a proxy in front of it add it")
    isPort = description.isascii() and description.isdigit()
    try:
        listener = parseListener(f"127.0.0.1:{description}" if isPort else description)
    except ValueError as error:
        raise ValueError(str(error).replace("--listen", "--status")) from None
    _refuseSameSocket([*listeners, listener])
    return listener


def _refuseSameSocket(listeners: Iterable[Listener]) -> None:
    """Raise ValueError if two have the same inherited descriptor.

    A listener closes it, and it may be another file's when a second one opens it.
    """
    for first, other in combinations((each for each in listeners if isinstance(each, InheritedListener)), 2):
        if first.descriptor == other.descriptor:
            raise ValueError(f"{other.description!r} is the same socket as an earlier one")


def _parseTCP(
    description: str, everywhere: str, port: str, interface: str | None = None, backlog: str = str(BACKLOG)
) -> AddressListener:
    """Return the listener for the arguments of Twisted's `tcp:` and `tcp6:` endpoints, named and ordered like these."""
    host = everywhere if interface is None else unmapHost(interface)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return AddressListener(description, host or None, parsePort(port), family, wholeNumber(backlog))


def _parseUNIX(
    description: str, address: str, mode: str | None = None, backlog: str = str(BACKLOG), lockfile: str | None = None
) -> UNIXListener:
    """Return the listener for the arguments of Twisted's `unix:` endpoint, which are named and ordered like these."""
    path, length = socketPath(address), wholeNumber(backlog)
    if path.startswith("\0"):
        for name, value in (("mode", mode), ("lockfile", lockfile)):
            if value is not None:
                raise ValueError(f"an abstract socket has no file, so it takes no {name}=")
        return UNIXListener(description, path, backlog=length, replacesLeftover=False)
    mode, lockfile = "666" if mode is None else mode, "1" if lockfile is None else lockfile
    if not re.fullmatch("(0|0o)?[0-7]{1,4}", mode):
        raise ValueError(f"{mode!r} is not an octal mode")
    return UNIXListener(description, path, int(mode, 8), length, bool(wholeNumber(lockfile)))


def _parseTLS(description: str, certificate: ServerCertificate | None, address: str) -> AddressListener:
    """Return the listener of `tls:` and the `address`."""
    try:
        if "=" in address or address.partition(":")[0] in (*STREAMS, *DATAGRAMS):
            forms = "write tls:PORT or tls:HOST:PORT, and --tls-cert and --tls-key for its files"
            raise ValueError(f"no endpoint string is possible here; {forms}")
        host, port = parseOwnAddress(address)
        if certificate is None:
            raise ValueError("--tls-cert FILE is missing")
    except ValueError as error:
        raise ValueError(f"{description!r}: {error}") from None
    return AddressListener(description, host, port, certificate=certificate)


def _parseSSL(
    description: str,
    clientCA: str | None,
    port: str,
    privateKey: str | None = None,
    certKey: str | None = None,
    sslmethod: str | None = None,
    interface: str | None = None,
    backlog: str = str(BACKLOG),
    extraCertChain: str | None = None,
    dhParameters: str | None = None,
) -> AddressListener:
    """Return the listener for the arguments of Twisted's `ssl:` endpoint, which are named and ordered like these."""
    for name, value in (("sslmethod", sslmethod), ("dhParameters", dhParameters)):
        if value is not None:
            raise ValueError(f"{name}= is not supported; only TLS 1.2 and 1.3 with ECDHE are")
    listener = _parseTCP(description, "", port, interface, backlog)
    try:
        certificate = ServerCertificate(privateKey or DEFAULT_KEY, certKey, extraCertChain, clientCA)
    except ValueError as error:
        if privateKey is None and str(error).startswith(f"{DEFAULT_KEY}: "):
            hint = "" if certKey else "; or write tls: with --tls-cert"
            raise ValueError(f"no privateKey= is given, and {error}{hint}") from None
        raise
    return replace(listener, certificate=certificate)
