"""What a daemon does, and within which limits; and how that is given: the variables of options, and their values."""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from twisted.internet.selectreactor import SelectReactor

from echoup.addresses import Network, peerName, splitAddress
from echoup.durations import parseDuration
from echoup.escaping import shown
from echoup.server.datagram.port import DatagramListener
from echoup.server.listening.listeners import Listener
from echoup.server.platform.processors import countProcessors

SELECT_MAXIMUM = 880
"""The most connections on the select reactor: select(2) takes no descriptor from 1024 on. The rest is for the
connections of the status site, the log, the listening sockets and the reactor."""

MOST_WORKERS = 256
"""More processes than that are a mistake."""

PREFIX = "ECHOUP_"
"""What the variables of all options begin with."""

SIMILAR = 0.75
"""The similarity, by `difflib`, from which on a name is a misspelt one."""

_SERVICE = re.compile(r"ECHOUP_(.+_)?(SERVICE_(HOST|PORT(_.+)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_PORT = re.compile(r"ECHOUP_(.+_)?PORT=(tcp|udp|sctp)://.*")
"""The variables that Kubernetes makes for each Service, here for one named `echoup` or `echoup-…`."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one daemon allows: numbers of connections, datagrams a second, and times in seconds; 0 is "no limit".

    The timeouts of a stall and of a handshake are never 0, because nothing may hang.
    """

    maxConnections: int = 1024
    maxConnectionsPerPeer: int = 0
    idleTimeout: float = 600.0
    stallTimeout: float = 60.0
    handshakeTimeout: float = 5.0
    udpRate: int = 5000
    """Datagrams per second and address that are answered: plenty for a probe, and a small share of what a core answers
    (100 000 of 64 bytes), so that no address takes all of it."""

    @property
    def tick(self) -> float:
        """Seconds between two checks of all connections: 1/20 of the shorter of stall and idle timeout, 0.05 to 3."""
        shortest = min(self.stallTimeout, self.idleTimeout or self.stallTimeout)
        return min(max(shortest / 20, 0.05), 3.0)

    def within(self, reactor: object) -> "Limits":
        """Return the limits that `reactor` can keep: these, with SELECT_MAXIMUM at most on the select reactor."""
        if isinstance(reactor, SelectReactor) and not 0 < self.maxConnections <= SELECT_MAXIMUM:
            return replace(self, maxConnections=SELECT_MAXIMUM)
        return self


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where a service listens, and on what terms, in any number of processes."""

    listeners: tuple[Listener, ...]
    limits: Limits
    drainTimeout: float = 10.0
    """Seconds from the beginning of a shutdown to its deadline, when the last connections are cut."""
    logConnections: bool = False
    proxies: tuple[Network, ...] = ()
    """Connections from these networks begin with a PROXY header; clients of IPv4 are in networks of IPv4 only."""
    datagramListeners: tuple[DatagramListener, ...] = ()
    status: Listener | None = None
    """Where the status site listens."""
    statusHosts: tuple[str, ...] = ()
    """Names under which the status site may be asked for, besides `localhost` and its own addresses."""
    readyDelay: float = 0.0
    """Seconds from the signal that stops the daemon, when it says that it isn't ready, to the shutdown itself."""
    workers: int = 1
    """Processes that serve; 1 is the daemon's own."""
    logFormat: str = "text"
    """`text` or `json`."""
    tlsCert: str | None = None
    """The file with the certificate of `tls:` listeners, as it was given; and so the next two."""
    tlsKey: str | None = None
    tlsClientCA: str | None = None


def settingsOf(plan: Plan) -> dict[str, object]:
    """Return the settings in force, by option: numbers, texts, lists of texts, and None for what isn't set."""
    limits = plan.limits
    return {
        "listen": [listener.description for listener in plan.listeners],
        "tls-cert": plan.tlsCert,
        "tls-key": plan.tlsKey,
        "tls-client-ca": plan.tlsClientCA,
        "udp": [listener.description for listener in plan.datagramListeners],
        "udp-rate": limits.udpRate,
        "proxy-from": [str(network) for network in plan.proxies],
        "max-connections": limits.maxConnections,
        "max-connections-per-peer": limits.maxConnectionsPerPeer,
        "idle-timeout": limits.idleTimeout,
        "stall-timeout": limits.stallTimeout,
        "handshake-timeout": limits.handshakeTimeout,
        "ready-delay": plan.readyDelay,
        "drain-timeout": plan.drainTimeout,
        "workers": plan.workers,
        "status": plan.status and plan.status.description,
        "status-host": [*plan.statusHosts],
        "log-connections": plan.logConnections,
        "log-format": plan.logFormat,
    }


def variableOf(option: str) -> str:
    """Return the variable of an option."""
    return PREFIX + option.upper().replace("-", "_")


def findUnknown(environment: Mapping[str, str], options: Collection[str]) -> list[str]:
    """Return the variables that begin like ours, aren't empty, and are neither of `options` nor of Kubernetes.

    Raise ValueError, with one line that names the right variable, for a misspelt one.
    """
    known = [variableOf(option) for option in options]
    unknown = [
        name
        for name, value in sorted(environment.items())
        if name.upper().startswith(PREFIX) and name not in known and value.strip()
        if not _SERVICE.fullmatch(name) and not _SERVICE_PORT.fullmatch(f"{name}={value}")
    ]
    words = [variable.removeprefix(PREFIX) for variable in known]
    for name in unknown:
        for similar in get_close_matches(name.upper().removeprefix(PREFIX), words, 1, SIMILAR):
            raise ValueError(f"{shown(name)} is not a setting; {PREFIX}{similar} is")
    return unknown


def parseCount(text: str) -> int:
    """Parse a whole number; raise ValueError for anything else."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"{text!r} is not a whole number from 0 to 999999999")
    return int(text)


def parsePositiveSeconds(text: str) -> float:
    """Parse a duration other than 0, and return its seconds; raise ValueError for anything else."""
    if not (seconds := parseDuration(text)):
        raise ValueError("0 would keep the connection of a dead peer forever")
    return seconds


def parseFile(text: str) -> str:
    """Return `text`, a path; raise ValueError if it can't be one."""
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a file")
    return text


def parseFlag(text: str) -> bool:
    """Return whether `text` means yes; raise ValueError for anything that means neither yes nor no."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError(f"{text!r} is neither yes nor no")
    return words[text.lower()]


def parseName(text: str) -> str:
    """Return the host name or IP address `text` as `peerName` does; raise ValueError for anything else."""
    with suppress(ValueError):
        host, port = splitAddress(text)
        if port is None:
            return peerName(host)
    raise ValueError(f"{text!r} is not a host name or an IP address without a port")


def parseLogFormat(text: str) -> str:
    """Return `text`, a format of the log; raise ValueError for anything else."""
    if text not in ("text", "json"):
        raise ValueError(f"{text!r} is neither text nor json")
    return text


def parseWorkers(text: str) -> int:
    """Parse a number of workers, or `auto` for that of the usable cores; raise ValueError for anything else."""
    if text == "auto":
        return min(countProcessors(), MOST_WORKERS)
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= MOST_WORKERS:
        raise ValueError(f"{text!r} is neither auto nor a whole number from 1 to {MOST_WORKERS}")
    return int(text)


def parseNetwork(text: str) -> Network:
    """Return the network that `text` names in CIDR notation; raise ValueError for anything else.

    A network of IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2) is the one of IPv4 that it stands for.
    """
    if "%" in text:
        raise ValueError(f"{text!r} names an interface; a network has none")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a network in CIDR notation, such as 10.0.0.0/8 or fd00::/8") from None
    address = ip_address(text.partition("/")[0])
    if address != network.network_address:
        raise ValueError(f"{text!r} is an address in a network; write {network}, or {address} for that address alone")
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and (own := network.network_address.ipv4_mapped):
        return IPv4Network((own, network.prefixlen - 96))
    return network
