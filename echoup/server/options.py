"""The options of `twistd echoup`."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from typing import Any, ClassVar, NoReturn

from twisted.python import usage

from echoup.durations import parseDuration
from echoup.escaping import shown
from echoup.server.datagram.port import parseDatagramListener
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.listeners import parseListeners, parseStatusListener
from echoup.server.platform.twistdoptions import checkTwistdOptions
from echoup.server.settings import (
    Limits,
    Plan,
    findUnknown,
    parseCount,
    parseFile,
    parseFlag,
    parseLogFormat,
    parseName,
    parseNetwork,
    parsePositiveSeconds,
    parseWorkers,
    variableOf,
)
from echoup.tls.context import FileError


def _inHelp(default: object) -> str:
    """Return a default as the help has it."""
    return f"{default:g}" if isinstance(default, float | int) else str(default or "none")


class Options(usage.Options):
    """The options of `twistd echoup`, from the command line or ECHOUP_… variables; it holds the parsed values."""

    synopsis = "[options]"
    longdesc = (
        "Send every byte back in upper case. Times are in seconds, or have a unit: 500ms, 5s, 2m. Every option is also "
        "an environment variable, such as ECHOUP_LISTEN or ECHOUP_MAX_CONNECTIONS; that of a repeatable option takes "
        "several values, separated by blanks. The command line takes precedence."
    )

    _settings: ClassVar[dict[str, tuple[Callable[[str], object], object, str]]] = {  # the parser, the default, the help
        "tls-cert": (parseFile, None, "Certificate chain for tls: addresses (PEM file)."),
        "tls-key": (
            parseFile,
            None,
            "Private key of the certificate (PEM file), unless it is in the file of --tls-cert.",
        ),
        "tls-client-ca": (
            parseFile,
            None,
            "On every TLS address, demand a client certificate signed by a CA in this file (PEM).",
        ),
        "udp-rate": (
            parseCount,
            Limits.udpRate,
            "Answer at most this number of datagrams a second from one address. 0: no limit.",
        ),
        "max-connections": (
            parseCount,
            Limits.maxConnections,
            "Stop accepting at this number of connections; further clients wait. 0: no limit.",
        ),
        "max-connections-per-peer": (
            parseCount,
            Limits.maxConnectionsPerPeer,
            "Close connections beyond this number from one address. 0: no limit.",
        ),
        "idle-timeout": (
            parseDuration,
            Limits.idleTimeout,
            "End a connection on which nothing has moved for this time. 0: never.",
        ),
        "stall-timeout": (
            parsePositiveSeconds,
            Limits.stallTimeout,
            "Abort a connection whose peer accepts nothing for this time while bytes wait for it.",
        ),
        "handshake-timeout": (
            parsePositiveSeconds,
            Limits.handshakeTimeout,
            "Time limit for the PROXY header and the TLS handshake together.",
        ),
        "ready-delay": (
            parseDuration,
            Plan.readyDelay,
            "Time from SIGTERM, when /readyz begins to say no, to the graceful shutdown.",
        ),
        "drain-timeout": (parseDuration, Plan.drainTimeout, "Deadline of a graceful shutdown."),
        "workers": (
            parseWorkers,
            Plan.workers,
            "Number of processes; auto: one per core, within the CPU quota. Limits apply to all of them together.",
        ),
        "log-format": (parseLogFormat, Plan.logFormat, "Format of the log: text, or json, an object a line."),
    }
    _status = "Address of the status site: PORT (of 127.0.0.1), *:PORT, HOST:PORT, [V6]:PORT or unix:PATH."
    optParameters: ClassVar[list[list[str | None]]] = [
        *[
            [name, None, None, f"{text} [default: {_inHelp(default)}]"]
            for name, (_, default, text) in _settings.items()
        ],
        ["status", None, None, f"{_status} [default: none]"],
    ]
    optFlags: ClassVar[list[list[object]]] = [
        ["log-connections", None, "Log a line as each connection ends. [default: off]"],
    ]

    def __init__(self) -> None:
        super().__init__()
        # Twisted prints a docstring with its indentation.
        self.docs = {name: " ".join((text or "").split()) for name, text in self.docs.items()}
        for name in ("listen", "udp", "proxy-from", "status-host"):
            self[name] = []
        self.unknownVariables: list[str] = []
        """The variables that look like settings, and aren't."""
        self._sources: dict[str, str] = {}
        """Where each value is from: its option, or its variable."""

    def opt_listen(self, description: str) -> None:
        """Address to listen on. Repeatable.

        PORT or *:PORT (all addresses), HOST:PORT, [V6]:PORT; with TLS, tls: and one of these; unix:PATH or unix:@NAME
        (abstract); or a Twisted endpoint string (tcp:, tcp6:, ssl:, unix:, systemd:). [default: 127.0.0.1:8081]
        """
        self["listen"].append(description)

    opt_l = opt_listen

    def opt_udp(self, description: str) -> None:
        """Address on which to answer UDP datagrams. Repeatable.

        PORT or *:PORT (all addresses), HOST:PORT or [V6]:PORT. [default: none]
        """
        self["udp"].append(description)

    def opt_proxy_from(self, network: str) -> None:
        """Network (CIDR) whose connections must begin with a PROXY header. Repeatable.

        Other connections have none. [default: none]
        """
        self["proxy-from"].append(network)

    def opt_status_host(self, name: str) -> None:
        """Name under which the status site may be asked for, besides localhost and its own addresses. Repeatable.

        A host name or an IP address, without a port. [default: none]
        """
        self["status-host"].append(name)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"echoup {version('echoup')}")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """Refuse arguments: an address belongs to --listen."""
        if arguments:
            argument = arguments[0]
            raise usage.UsageError(f"unexpected argument {argument!r}; write --listen {argument} for an address")

    def parseOptions(self, options: Iterable[str] | None = None) -> None:
        """Parse; under twistd a mistake is one line on stderr, not a page of help on stdout."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            raise SystemExit(f"twistd echoup: {shown(error)}") from None

    def postOptions(self) -> None:
        """Fill in what was not on the command line, and turn texts into values; raise UsageError for a bad one."""
        if self.parent:  # twist has none of the options that are checked
            checkTwistdOptions(self.parent)
        try:
            self.unknownVariables = findUnknown(os.environ, self)
        except ValueError as error:
            raise usage.UsageError(str(error)) from None
        for name, (parse, default, _) in self._settings.items():
            self._evaluate(name, parse, default)
        self["log-connections"] = "yes" if self["log-connections"] else None  # a flag, whose variable is a text
        self._evaluate("log-connections", parseFlag, False)
        certificate, clientCA = self._readCertificate(), self["tls-client-ca"]
        parse = partial(parseListeners, clientCA=clientCA, certificate=certificate)
        self._evaluate("listen", parse, parseListeners(["127.0.0.1:8081"]))
        self._evaluate("udp", lambda texts: [*map(parseDatagramListener, texts)], [])
        self._evaluate("proxy-from", lambda texts: [*map(parseNetwork, texts)], [])
        self._evaluate("status", partial(parseStatusListener, listeners=self["listen"]), None)
        self._evaluate("status-host", lambda texts: [*map(parseName, texts)], [])
        used = [listener.certificate for listener in self["listen"] if listener.certificate]
        if certificate and certificate not in used:
            self._refuse("tls-cert", "no --listen tls:... uses it")
        if clientCA and not used:
            self._refuse("tls-client-ca", "no --listen tls:... uses it")
        if self["log-format"] == "json" and self.parent and self.parent.get("syslog"):
            self._refuse("log-format", "with twistd --syslog the log is text")
        if self["status-host"] and not self["status"]:
            self._refuse("status-host", "--status ADDRESS is missing")

    def _readCertificate(self) -> ServerCertificate | None:
        """Return the certificate of `tls:` addresses; raise UsageError if it can't be used."""
        certificate, key = self["tls-cert"], self["tls-key"]
        if certificate is None:
            if key is not None:
                self._refuse("tls-key", "--tls-cert FILE is missing")
            return None
        try:
            return ServerCertificate(key or certificate, certificate, clientCA=self["tls-client-ca"])
        except FileError as error:
            (name, *_) = [name for name in ("tls-cert", "tls-key", "tls-client-ca") if self[name] in error.paths]
            isKeyMissing = name == "tls-cert" and key is None and "private key" in str(error)
            self._refuse(name, f"{shown(error)}{'; --tls-key names its file' if isKeyMissing else ''}")

    def _evaluate(self, name: str, parse: Callable[[Any], object], default: object) -> None:
        """Set an option from the command line, else from its variable if that isn't empty, else to `default`."""
        given, self._sources[name] = self[name], f"--{name}"
        if given is None or given == []:
            self._sources[name] = variableOf(name)
            text = os.environ.get(variableOf(name), "").strip()
            given = (text if given is None else text.split()) or None
        try:
            self[name] = default if given is None else parse(given)
        except ValueError as error:
            reason = error.__context__
            if isinstance(reason, FileError) and self["tls-client-ca"] in reason.paths:  # of an ssl: listener
                self._refuse("tls-client-ca", shown(reason))
            self._refuse(name, shown(error))

    def _refuse(self, name: str, why: str) -> NoReturn:
        """Raise UsageError about an option, by the name under which its value was given."""
        raise usage.UsageError(f"{self._sources[name]}: {why}") from None
