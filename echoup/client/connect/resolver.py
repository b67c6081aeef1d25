"""Names are resolved in threads that nobody waits for at the end."""

from collections.abc import Sequence
from functools import partial
from socket import AF_INET, AF_INET6, AF_UNSPEC, EAI_NODATA, EAI_NONAME, SOCK_DGRAM, SOCK_STREAM, gaierror, getaddrinfo
from threading import Thread
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

THREADS = 256
"""At most; a name that takes long keeps nobody else waiting."""

_FAMILIES: dict[tuple[Any, ...], int] = {(IPv4Address,): AF_INET, (IPv6Address,): AF_INET6}


@implementer(IHostResolution)
class Resolution:
    """The resolution of a name."""

    error: str | None = None
    """Why nobody knows if there is an address, in the system's words."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Do nothing: a thread can't be stopped."""


@implementer(IHostnameResolver)
class Resolver:
    """Asks the system, as Twisted's own resolver does, and passes on what it says when it can't answer.

    A resolver takes as long as it likes, and the reactor's own threads would keep the process until it is done.
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
        """Tell the addresses of `hostName`, or none; if that isn't the answer, the resolution's `error` tells why."""
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
