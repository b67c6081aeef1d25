"""The options of `twistd echoup`, and the service that they describe."""

import os
from collections.abc import Callable, Iterable
from errno import EACCES
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, cast

from twisted.application.service import IService
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger
from twisted.python import usage

from echoup.server.daemon import Daemon
from echoup.server.datagram.port import parseDatagramListener
from echoup.server.listening.listeners import parseListeners
from echoup.server.service import EchoUpService
from echoup.server.settings import (
    Limits,
    Plan,
    parseCount,
    parseFlag,
    parseNetwork,
    parsePositiveSeconds,
    parseSeconds,
    parseWorkers,
)

_log = Logger()


class Options(usage.Options):
    """What `twistd echoup` can be told, on the command line or in ECHOUP_… variables; it holds the parsed values."""

    synopsis = "[options]"
    longdesc = (
        "Send every byte back in upper case. Each option can also be given in the environment, as ECHOUP_LISTEN, "
        "ECHOUP_MAX_CONNECTIONS and so on; those that are repeatable take several values there, separated by blanks."
    )

    _settings: ClassVar[dict[str, tuple[Callable[[str], object], float, str]]] = {  # the parser, the default, the help
        "max-connections": (
            parseCount,
            Limits.maxConnections,
            "stop accepting at this many, the rest waits; 0: no limit",
        ),
        "max-connections-per-peer": (
            parseCount,
            Limits.maxConnectionsPerPeer,
            "close more than this many from one address at once; 0: no limit",
        ),
        "idle-timeout": (
            parseSeconds,
            Limits.idleTimeout,
            "end a connection on which nothing moved for so many seconds; 0: never",
        ),
        "stall-timeout": (
            parsePositiveSeconds,
            Limits.stallTimeout,
            "abort a peer that takes nothing for so many seconds while bytes wait",
        ),
        "handshake-timeout": (
            parsePositiveSeconds,
            Limits.handshakeTimeout,
            "what comes before the first byte, PROXY header and TLS handshake, must be done in so many seconds",
        ),
        "drain-timeout": (parseSeconds, Plan.drainTimeout, "the deadline of a graceful stop, in seconds"),
        "workers": (
            parseWorkers,
            1,
            "serve in so many processes, auto: one a core, within a CPU quota; the limits are for all together",
        ),
    }
    optParameters: ClassVar[list[list[str | None]]] = [
        *[[name, None, None, f"{text} [default: {default:g}]"] for name, (_, default, text) in _settings.items()],
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
        self._checkFolders()
        for name, (parse, default, _) in self._settings.items():
            self._evaluate(name, parse, default)
        self["log-connections"] = "yes" if self["log-connections"] else None  # a flag, whose variable is a text
        self._evaluate("log-connections", parseFlag, False)
        self._evaluate("tls-client-ca", str, None)
        clientCA = self["tls-client-ca"]
        if clientCA == "":
            raise usage.UsageError("--tls-client-ca: '' is not a file")
        self._evaluate("listen", partial(parseListeners, clientCA=clientCA), parseListeners(["127.0.0.1:8081"]))
        self._evaluate("udp", lambda texts: [*map(parseDatagramListener, texts)], [])
        self._evaluate("proxy-from", lambda texts: [*map(parseNetwork, texts)], [])
        if clientCA and not any(listener.certificate for listener in self["listen"]):
            raise usage.UsageError("--tls-client-ca: there is no --listen ssl:... to use it")

    def _checkFolders(self) -> None:
        """Refuse an option of twistd whose folder or file can't be used; twistd itself would print a traceback."""
        given: dict[str, Any] = self.parent or {}  # twist has none of these options
        root = Path(given.get("chroot") or "/")
        folders, files = {"chroot": root}, dict[str, Path]()
        try:
            if rundir := given.get("rundir"):
                # twistd changes its root first, but not its folder.
                folders["rundir"] = root / rundir[1:] if rundir.startswith("/") else Path(rundir)
            if pidfile := given.get("pidfile"):
                files["pidfile"] = root / str(Path(pidfile).absolute())[1:]
            inBackground = bool(given) and not given.get("nodaemon") and not given.get("syslog")
            logfile = given.get("logfile") or ("twistd.log" if inBackground else "-")
            if logfile != "-":
                files["logfile"] = Path(logfile).absolute()
        except FileNotFoundError:
            raise usage.UsageError("the current folder has been removed; change to another one") from None
        for name, folder in [*folders.items(), *((name, file.parent) for name, file in files.items())]:
            self._checkFolder(name, folder)
        for name, file in files.items():
            if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
                raise usage.UsageError(f"--{name}: cannot write {file}")

    def _checkFolder(self, name: str, folder: Path) -> None:
        try:
            if not folder.is_dir():
                raise usage.UsageError(f"--{name}: there is no folder {folder}")
        except PermissionError as error:
            raise usage.UsageError(f"--{name}: {folder}: {error.strerror}") from None
        if not os.access(folder, os.X_OK):
            raise usage.UsageError(f"--{name}: {folder}: {os.strerror(EACCES)}")

    def _evaluate(self, name: str, parse: Callable[[Any], object], default: object) -> None:
        """Set an option from the command line, else from its variable if that isn't empty, else to `default`."""
        given = self[name]
        if given is None or given == []:
            text = os.environ.get("ECHOUP_" + name.upper().replace("-", "_"), "").strip()
            given = (text if given is None else text.split()) or None
        try:
            self[name] = default if given is None else parse(given)
        except ValueError as error:
            raise usage.UsageError(f"--{name}: {error}") from None


def makeService(options: Options) -> IService:
    """Return the daemon that `options` describe, not started."""
    from twisted.internet import reactor as installed

    reactor = cast("PosixReactorBase", installed)
    user: int | None = options.parent.get("uid") if options.parent else None
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
        listeners=tuple(options["listen"]),
        limits=limits,
        drainTimeout=options["drain-timeout"],
        logConnections=options["log-connections"],
        proxies=tuple(options["proxy-from"]),
        datagramListeners=tuple(options["udp"]),
    )
    if options["workers"] == 1:
        return Daemon(reactor, EchoUpService(reactor, plan), user)
    from echoup.server.workers.supervisor import WorkersService  # 5 ms of each start without workers

    return Daemon(reactor, WorkersService(reactor, plan, options["workers"]), user)
