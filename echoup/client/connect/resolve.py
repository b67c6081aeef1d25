"""From a host name to its IP addresses."""

from enum import IntEnum
from functools import cache, partial
from ipaddress import ip_address
from itertools import chain, zip_longest
from socket import AF_INET, AF_INET6, AF_UNSPEC, EAI_NODATA, EAI_NONAME, SOCK_STREAM, gaierror, getaddrinfo
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from echoup.addresses import encodeHost, hostOf
from echoup.client.connect.systemerror import explainResolver
from echoup.client.connect.trace import Step, Trace
from echoup.client.exitcodes import ExitCode, PathError
from echoup.clock import RunningTime

THREADS = 256
"""The most threads that resolve names at once; a slow name doesn't delay the others."""


class Family(IntEnum):
    """The versions of IP that a target may be reached with."""

    ANY = 0
    IPV4 = 4
    IPV6 = 6


_FAMILIES = {Family.ANY: AF_UNSPEC, Family.IPV4: AF_INET, Family.IPV6: AF_INET6}


async def resolve(
    reactor: Any, host: str, family: Family, timeout: float, trace: Trace, clock: RunningTime
) -> list[str]:
    """Return the IP addresses of `host`, in the order in which to try them.

    That is the order of the system's resolver, alternating between the families (RFC 8305, 4). An IP address is
    returned as it is, without a step in the trace. Raise PathError if there is no address within `timeout` seconds of
    `clock`.
    """
    only = f"IPv{family:d} address" if family else "address"
    version = versionOf(host)
    if version and family in (Family.ANY, version):
        return [host]
    phase = trace.begin(Step.RESOLVE)
    found: list[str] = []
    name: str | None = None

    def refusal(code: ExitCode, why: str) -> PathError:
        # The name in ASCII shows a look-alike of another letter.
        return PathError(code, why, host, name if name != host else None, "cannot resolve")

    failure: Exception | None = None
    why = f"not an {only}" if version else f"no {only} found"
    if not version:
        try:
            name = encodeHost(host)
            found = await lookUp(reactor, name, family).addTimeout(timeout, clock)
        except DeferredTimeout:
            raise refusal(ExitCode.TIMED_OUT, f"timed out after {timeout:g} s") from None
        except RuntimeError:  # of `Thread.start`
            raise refusal(ExitCode.LOCAL, "this machine allows no more threads") from None
        except (OSError, UnicodeError) as error:
            failure = error
            if not (isinstance(error, gaierror) and error.errno in (EAI_NONAME, EAI_NODATA)):
                why = getattr(error, "strerror", None) or str(error)
    if not found:
        trace.end(phase, error=why)
        code, why = explainResolver(failure) or (ExitCode.UNRESOLVED, why)
        raise refusal(code, why)
    first = [address for address in found if versionOf(address) == versionOf(found[0])]
    second = [address for address in found if versionOf(address) != versionOf(found[0])]
    addresses = [address for address in chain(*zip_longest(first, second)) if address]
    trace.end(phase, addresses=addresses)
    return addresses


def versionOf(host: str) -> int | None:
    """Return the version of IP that `host` is an address of; None for a name, which has to be resolved."""
    try:
        return ip_address(host).version
    except ValueError:
        return None


def lookUp(reactor: Any, name: str, family: Family) -> "Deferred[list[str]]":
    """Ask the system's resolver for the addresses of `name`; the Deferred fails with OSError or UnicodeError."""
    question = name, 0, _FAMILIES[family], SOCK_STREAM  # of one type, so that no address comes twice
    found: Deferred[Any] = deferToThreadPool(reactor, _threads(), getaddrinfo, *question)
    return found.addCallback(lambda infos: [hostOf(address) for *_, address in infos])


@cache
def _threads() -> ThreadPool:
    """Return daemon threads: a resolver may block for minutes, and the reactor waits for its own threads at the end."""
    pool = ThreadPool(0, THREADS)
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # it is only called
    pool.start()
    return pool
