"""From a host name to its IP addresses."""

from collections.abc import Sequence
from enum import IntEnum
from functools import partial
from ipaddress import ip_address
from itertools import chain, zip_longest
from socket import AF_INET, AF_INET6, AF_UNSPEC, EAI_NODATA, EAI_NONAME, SOCK_DGRAM, SOCK_STREAM, gaierror, getaddrinfo
from threading import Thread
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from echoup.client.connect.trace import Step, Trace
from echoup.client.exitcodes import ExitCode, PathError

THREADS = 256
"""The most threads that resolve names at once; a slow name doesn't delay the others."""


class Family(IntEnum):
    """The versions of IP that a target may be reached with."""

    ANY = 0
    IPV4 = 4
    IPV6 = 6


_KINDS = {Family.ANY: None, Family.IPV4: [IPv4Address], Family.IPV6: [IPv6Address]}
_FAMILIES: dict[tuple[Any, ...], int] = {(IPv4Address,): AF_INET, (IPv6Address,): AF_INET6}


async def resolve(
    reactor: Any, host: str, family: Family, timeout: float, trace: Trace, semantics: str = "TCP"
) -> list[str]:
    """Return the IP addresses of `host`, in the order in which to try them.

    That is the order of the system's resolver with the families in turns (RFC 8305, 4). An IP address stands for
    itself and makes no step of the trace. Raise PathError if there is no address within `timeout` seconds.
    """
    only = f"IPv{family:d} address" if family else "address"
    version = _versionOf(host)
    if version and family in (Family.ANY, version):
        return [host]
    phase = trace.begin(Step.RESOLVE)

    def failure(error: str) -> PathError:
        trace.end(phase, error=error)
        return PathError(ExitCode.UNRESOLVED, f"cannot resolve {host}: {error}")

    if version:
        raise failure(f"it is no {only}")
    receiver = _Addresses()
    reactor.nameResolver.resolveHostName(receiver, host, 0, _KINDS[family], semantics)
    try:
        found = await receiver.complete.addTimeout(timeout, reactor)
    except DeferredTimeout:
        raise PathError(ExitCode.TIMED_OUT, f"cannot resolve {host}: timed out after {timeout:g} s") from None
    if not found:
        raise failure(getattr(receiver.resolution, "error", None) or f"no {only} found")
    first = [address.host for address in found if isinstance(address, type(found[0]))]
    second = [address.host for address in found if not isinstance(address, type(found[0]))]
    addresses = [address for address in chain(*zip_longest(first, second)) if address]
    trace.end(phase, addresses=addresses)
    return addresses


def _versionOf(host: str) -> int | None:
    try:
        return ip_address(host).version
    except ValueError:
        return None


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects the addresses of a name."""

    def __init__(self) -> None:
        self.complete: Deferred[list[Any]] = Deferred()
        self._found: list[Any] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self.resolution = resolutionInProgress

    def addressResolved(self, address: object) -> None:
        self._found.append(address)

    def resolutionComplete(self) -> None:
        if not self.complete.called:
            self.complete.callback(self._found)


@implementer(IHostResolution)
class Resolution:
    """The resolution of a name."""

    error: str | None = None
    """Why the system can't tell whether there is an address, in its words."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Do nothing: a thread can't be stopped."""


@implementer(IHostnameResolver)
class Resolver:
    """Asks the system's resolver, as Twisted's own does, and reports why it can't answer.

    It has daemon threads of its own: a resolver may block for minutes, and the reactor waits for its threads at the
    end of the process.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, THREADS)
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # it is only called
        self._pool.start()

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Pass the addresses of `hostName` to the receiver; without an answer, set the resolution's `error`."""
        resolution = Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        family = _FAMILIES.get(tuple(addressTypes or ()), AF_UNSPEC)
        isUDP = transportSemantics == "UDP"

        def tell(found: list[Any]) -> None:
            for family, *_, address in found:
                kind = IPv4Address if family == AF_INET else IPv6Address
                resolutionReceiver.addressResolved(kind("UDP" if isUDP else "TCP", *address[:2]))

        def explain(failure: Failure) -> None:
            failure.trap(OSError, UnicodeError)
            error: Any = failure.value
            if not (isinstance(error, gaierror) and error.errno in (EAI_NONAME, EAI_NODATA)):
                resolution.error = getattr(error, "strerror", None) or str(error)

        question = hostName, portNumber, family, SOCK_DGRAM if isUDP else SOCK_STREAM
        asking = deferToThreadPool(self._reactor, self._pool, getaddrinfo, *question)
        asking.addCallback(tell).addErrback(explain).addCallback(lambda _: resolutionReceiver.resolutionComplete())
        return resolution
