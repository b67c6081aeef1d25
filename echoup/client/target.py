"""What TARGET means: the description of a server, and the connection to it."""

import os
import re
from dataclasses import dataclass
from math import ceil
from typing import Any, NoReturn, cast

from twisted.internet.base import ReactorBase
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory

from echoup.address import joinAddress, splitAddress
from echoup.client.outcome import ExitCode, PathError
from echoup.client.protocol import EchoUpClient

HOST = "127.0.0.1"
PORT = 8081
KINDS = ("tcp", "unix")
"""The Twisted client endpoints whose connections can half-close without a loss."""

MAXIMUM_PATH = 107
"""Bytes in the path of a Unix socket (unix(7))."""


@dataclass(frozen=True)
class Target:
    """A server to connect to: a host and a port, or (`host` empty) what an endpoint string describes."""

    description: str
    host: str = ""
    port: int = PORT

    def __str__(self) -> str:
        """Return the server as the messages name it."""
        if not self.host:
            return self.description
        return joinAddress(self.host, self.port)

    async def connect(self, reactor: ReactorBase, client: EchoUpClient, timeout: float) -> None:
        """Connect `client` within `timeout` seconds, or raise PathError.

        Of a name's addresses the first that answers is taken (happy eyeballs, RFC 8305).
        """
        try:
            connecting = self._endpoint(reactor, timeout).connect(Factory.forProtocol(lambda: client))
            await connecting.addTimeout(timeout, reactor, _timedOut)
        except DNSLookupError:
            raise PathError(ExitCode.UNRESOLVED, f"cannot resolve {self.host or self}: no address found") from None
        except DeferredTimeout:
            raise PathError(ExitCode.TIMED_OUT, f"cannot connect to {self}: timed out after {timeout:g} s") from None
        except ConnectTimeout:
            raise PathError(ExitCode.TIMED_OUT, f"cannot connect to {self}: timed out") from None
        except ConnectError as error:
            why = os.strerror(error.osError) if isinstance(error.osError, int) else str(error)
            raise PathError(ExitCode.UNREACHABLE, f"cannot connect to {self}: {why}") from None
        except (AssertionError, OverflowError, ValueError) as error:
            # Some values of an endpoint string, and some names, are looked at only when they are used.
            raise PathError(ExitCode.USAGE, f"cannot connect to {self}: {error}") from None

    def _endpoint(self, reactor: ReactorBase, timeout: float) -> IStreamClientEndpoint:
        if self.host:
            return HostnameEndpoint(reactor, self.host, self.port, timeout)
        patience = "" if "timeout=" in self.description else f":timeout={ceil(timeout)}"
        return cast("IStreamClientEndpoint", clientFromString(reactor, self.description + patience))


def _timedOut(result: object, timeout: float) -> NoReturn:
    """Raise what a timeout is; an endpoint that is cancelled fails with an error of its own."""
    raise DeferredTimeout


def parseTarget(description: str) -> Target:
    """Return the target that `description` names.

    `HOST`, `HOST:PORT`, `[V6]:PORT`, or a Twisted client endpoint string of one of the KINDS. Raise ValueError, with
    one line that says what is wrong, for anything else.
    """
    if not description.isprintable():
        raise ValueError(f"{description!r} is not an address")
    kind, colon, rest = description.partition(":")
    if colon and kind in KINDS:
        target = Target(description)
        if kind == "unix" and len(os.fsencode(rest.partition(":")[0])) > MAXIMUM_PATH:
            raise ValueError(f"{description!r} is longer than the path of a Unix socket may be")
        if re.search(r":(port=|timeout=)?-[0-9]", description):
            raise ValueError(f"{description!r} has a negative number")
        try:
            clientFromString(cast("Any", None), description)
        except Exception as error:  # the parsers let anything out: TypeError, KeyError, IndexError ...
            raise ValueError(f"{description!r} is not a {kind} endpoint: {error!r}") from None
        return target
    if description.isdigit():
        raise ValueError(f"{description!r} is a port without a host; {HOST}:{description} is the one on this machine")
    host, port = splitAddress(description)
    if port == 0:
        raise ValueError(f"{description!r} has port 0, which nobody can connect to")
    return Target(description, host, PORT if port is None else port)
