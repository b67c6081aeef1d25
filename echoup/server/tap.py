"""The options of `twistd echoup`, and the service that they describe."""

import os
import re
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import ClassVar, TypeVar, cast

from twisted.application.service import IService
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger
from twisted.python import usage

from echoup.server.daemon import Daemon
from echoup.server.limits import Limits
from echoup.server.listen import parseListener
from echoup.server.service import EchoUpService

T = TypeVar("T")

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


class Options(usage.Options):
    """What `twistd echoup` can be told, on the command line or in ECHOUP_… variables.

    After parsing, each option holds its value: numbers, and for `listen` a list of listeners.
    """

    synopsis = "[options]"
    longdesc = (
        "Send every byte back in upper case. Each option can also be given in the environment, as ECHOUP_LISTEN, "
        "ECHOUP_MAX_CONNECTIONS and so on; --listen takes several values there, separated by blanks."
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
        "drain-timeout": (_seconds, "10", "the deadline of a graceful stop, in seconds"),
    }
    optParameters: ClassVar[list[list[object]]] = [
        [name, None, None, f"{text} [default: {default}]"] for name, (_, default, text) in _settings.items()
    ]
    optFlags: ClassVar[list[list[object]]] = [["log-connections", None, "log one line as each connection ends"]]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []

    def opt_listen(self, description: str) -> None:
        """Repeatable: PORT or *:PORT (everywhere), HOST:PORT, [V6]:PORT, or a tcp:, tcp6:, unix: or systemd: string."""
        self["listen"].append(description)

    opt_l = opt_listen

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
        given = self["listen"] or self._fromEnvironment("listen").split() or ["127.0.0.1:8081"]
        self["listen"] = [self._parse("listen", parseListener, description, "") for description in given]

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
    )
    limits = asked.within(reactor)
    if limits != asked:
        _log.warn("the select reactor takes {maximum} connections at most", maximum=limits.maxConnections)
    service = EchoUpService(reactor, options["listen"], limits, options["drain-timeout"], options["log-connections"])
    return Daemon(reactor, service)
