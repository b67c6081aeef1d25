"""The options of `twistd echoup`, and the service that they describe."""

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from ipaddress import ip_network
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from twisted.application.service import IService
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger
from twisted.python import usage

from echoup.addresses import Network
from echoup.server.daemon import Daemon
from echoup.server.datagram.port import parseDatagramListener
from echoup.server.listening.inherited import InheritedListener
from echoup.server.listening.listeners import parseListener
from echoup.server.service import EchoUpService
from echoup.server.settings import Limits, Plan

if TYPE_CHECKING:
    from echoup.server.workers.supervisor import WorkersService

T = TypeVar("T")

MOST_WORKERS = 256
"""More processes than that are a mistake."""

_log = Logger()


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"{text!r} is not a whole number from 0 to 999999999")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?|\.[0-9]+", text):
        raise ValueError(f"{text!r} is not a number of seconds from 0 to 999999999")
    return float(text)


def _positiveSeconds(text: str) -> float:
    if not (seconds := _seconds(text)):
        raise ValueError("0 would let a dead peer hang for ever")
    return seconds


def _flag(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError(f"{text!r} is neither yes nor no")
    return words[text.lower()]


def _workers(text: str) -> int:
    if text == "auto":
        return min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= MOST_WORKERS:
        raise ValueError(f"{text!r} is neither auto nor a whole number from 1 to {MOST_WORKERS}")
    return int(text)


def _network(text: str) -> Network:
    if "%" in text:
        raise ValueError(f"{text!r} names an interface, which networks don't have")
    return ip_network(text)


class Options(usage.Options):
    """What `twistd echoup` can be told, on the command line or in ECHOUP_… variables.

    After parsing, each option holds its value: numbers, and for `listen` a list of listeners.
    """

    synopsis = "[options]"
    longdesc = (
        "Send every byte back in upper case. Each option can also be given in the environment, as ECHOUP_LISTEN, "
        "ECHOUP_MAX_CONNECTIONS and so on; those that are repeatable take several values there, separated by blanks."
    )

    _settings: ClassVar[dict[str, tuple[Callable[[str], object], str, str]]] = {
        "max-connections": (_count, "1024", "stop accepting at this many, the rest waits; 0: no limit"),
        "max-connections-per-peer": (_count, "0", "close more than this many from one address at once; 0: no limit"),
        "idle-timeout": (_seconds, "600", "end a connection on which nothing moved for so many seconds; 0: never"),
        "stall-timeout": (
            _positiveSeconds,
            "60",
            "abort a peer that takes nothing for so many seconds while bytes wait",
        ),
        "handshake-timeout": (
            _positiveSeconds,
            "5",
            "what comes before the first byte, PROXY header and TLS handshake, must be done in so many seconds",
        ),
        "drain-timeout": (_seconds, "10", "the deadline of a graceful stop, in seconds"),
        "workers": (
            _workers,
            "1",
            "serve in so many processes, auto: one a core; the limits are for all together",
        ),
    }
    optParameters: ClassVar[list[list[str | None]]] = [
        *[[name, None, None, f"{text} [default: {default}]"] for name, (_, default, text) in _settings.items()],
        ["tls-client-ca", None, None, "with TLS, demand a client certificate signed by one in this file"],
    ]
    optFlags: ClassVar[list[list[object]]] = [["log-connections", None, "log one line as each connection ends"]]

    def __init__(self) -> None:
        super().__init__()
        for name in ("listen", "udp", "proxy-from"):
            self[name] = []

    def opt_listen(self, description: str) -> None:
        """Repeatable: PORT, *:PORT (both everywhere), HOST:PORT, [V6]:PORT, or tcp:, tcp6:, ssl:, unix:, systemd:."""
        self["listen"].append(description)

    opt_l = opt_listen

    def opt_udp(self, description: str) -> None:
        """Repeatable: answer datagrams, too, at PORT or *:PORT (everywhere), HOST:PORT or [V6]:PORT."""
        self["udp"].append(description)

    def opt_proxy_from(self, network: str) -> None:
        """Repeatable: connections from this network, in CIDR notation, begin with a PROXY header; all others don't."""
        self["proxy-from"].append(network)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"echoup {version('echoup')}")
        raise SystemExit(0)

    def parseOptions(self, options: Iterable[str] | None = None) -> None:
        """Parse; under twistd a mistake costs one line on stderr, not a page of help on stdout."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            raise SystemExit(f"twistd echoup: {error}") from None

    def postOptions(self) -> None:
        """Fill in what was not on the command line, and turn texts into values; raise UsageError for a bad one."""
        for name, (parse, default, _) in self._settings.items():
            self[name] = self._parse(name, parse, self[name], default)
        if not self["log-connections"]:
            self["log-connections"] = self._parse("log-connections", _flag, None, "no")
        if self["tls-client-ca"] is None:
            self["tls-client-ca"] = self._fromEnvironment("tls-client-ca") or None
        elif not self["tls-client-ca"]:
            raise usage.UsageError("--tls-client-ca: '' is not a file")
        clientCA = self["tls-client-ca"]
        self._parseEach("listen", partial(parseListener, clientCA=clientCA), "127.0.0.1:8081")
        self._parseEach("udp", parseDatagramListener, "")
        self._parseEach("proxy-from", _network, "")
        if clientCA and not any(listener.certificate for listener in self["listen"]):
            raise usage.UsageError("--tls-client-ca: there is no --listen ssl:... to use it")
        self._refuseTwice(each for each in self["listen"] if isinstance(each, InheritedListener))

    @staticmethod
    def _refuseTwice(listeners: Iterable[InheritedListener]) -> None:
        """Whoever listens closes the descriptor, which may be another file's by the time of a second one."""
        found: set[int] = set()
        for listener in listeners:
            if listener.descriptor in found:
                raise usage.UsageError(f"--listen: {listener.description!r} is the same socket as one before it")
            found.add(listener.descriptor)

    def _parseEach(self, name: str, parse: Callable[[str], object], default: str) -> None:
        given = self[name] or (self._fromEnvironment(name) or default).split()
        self[name] = [self._parse(name, parse, text, "") for text in given]

    def _parse(self, name: str, parse: Callable[[str], T], given: str | None, default: str) -> T:
        text = given if given is not None else self._fromEnvironment(name) or default
        try:
            return parse(text)
        except ValueError as error:
            raise usage.UsageError(f"--{name}: {error}") from None

    @staticmethod
    def _fromEnvironment(name: str) -> str:
        return os.environ.get("ECHOUP_" + name.upper().replace("-", "_"), "").strip()


def makeService(options: Options) -> IService:
    """Return the daemon that `options` describe, not started."""
    from twisted.internet import reactor as installed

    reactor = cast("PosixReactorBase", installed)
    asked = Limits(
        maxConnections=options["max-connections"],
        maxConnectionsPerPeer=options["max-connections-per-peer"],
        idleTimeout=options["idle-timeout"],
        stallTimeout=options["stall-timeout"],
        handshakeTimeout=options["handshake-timeout"],
    )
    limits = asked.within(reactor)
    if limits != asked:
        _log.warn("the select reactor takes {maximum} connections at most", maximum=limits.maxConnections)
    plan = Plan(
        tuple(options["listen"]),
        limits,
        options["drain-timeout"],
        options["log-connections"],
        tuple(options["proxy-from"]),
        tuple(options["udp"]),
    )
    return Daemon(reactor, _makeService(reactor, plan, options["workers"]))


def _makeService(reactor: PosixReactorBase, plan: Plan, workers: int) -> "EchoUpService | WorkersService":
    if workers == 1:
        return EchoUpService(reactor, plan)
    # A process that serves alone does without AMP and all else that only this needs, a tenth of what its start imports.
    from echoup.server.workers.supervisor import WorkersService

    return WorkersService(reactor, plan, workers)
