"""What the one service of a process does, and what it shows of itself, in one process or in several."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from socket import socket
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from zope.interface import Attribute

from echoup.server.counts import Counts
from echoup.server.datagram.port import DatagramCounts, DatagramListener
from echoup.server.datagram.returnpath import DatagramRefusal
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.listeners import Listener
from echoup.server.listening.sockets import ListeningAddress
from echoup.server.platform.kernelqueues import acceptQueue
from echoup.server.settings import Plan


@dataclass(frozen=True, kw_only=True)
class ListenerView:
    """A listener of streams."""

    description: str
    addresses: tuple[str, ...]
    """The addresses, as people write them."""
    queue: int | None = None
    """The connections in the kernel's accept queues of all its sockets; None where the kernel doesn't tell."""
    queueLimit: int | None = None
    certificate: ServerCertificate | None = None

    @classmethod
    def watch(cls, listener: Listener, opened: Sequence[ListeningAddress]) -> "Callable[[], ListenerView]":
        """Return a function for the present view of `listener`, which has `opened` these, and may close them."""
        prefix = "tls:" if listener.certificate else ""
        addresses = [prefix + address.address for address in opened]
        return partial(cls._of, listener, addresses, [each for address in opened for each in address.sockets])

    @classmethod
    def _of(cls, listener: Listener, addresses: Iterable[str], sockets: Iterable[socket]) -> "ListenerView":
        queues = [found for each in sockets if (found := acceptQueue(each))]
        queue, limit = map(sum, zip(*queues, strict=True)) if queues else (None, None)
        return cls(
            description=listener.description,
            addresses=tuple(addresses),
            queue=queue,
            queueLimit=limit,
            certificate=listener.certificate,
        )


@dataclass(frozen=True, kw_only=True)
class DatagramListenerView:
    """A UDP listener, and what it has counted."""

    description: str
    """With `udp:` in front."""
    addresses: tuple[str, ...]
    received: int
    """Datagrams; each was answered or dropped."""
    answered: int
    dropped: dict[DatagramRefusal, int]
    """Every refusal is there."""
    receivedBytes: int
    sentBytes: int

    @classmethod
    def of(cls, listener: DatagramListener, addresses: Iterable[str], counts: DatagramCounts) -> "DatagramListenerView":
        """Return the view of `listener`, which has these addresses and `counts`."""
        return cls(description=f"udp:{listener.description}", addresses=tuple(addresses), **asdict(counts))


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """A worker process that was started."""

    number: int
    pid: int
    state: str
    """`starting`, `serving` or `ended`."""
    startedAt: float
    """In seconds of the wall clock."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What a daemon does at one moment; of all its processes together."""

    counts: Counts
    listeners: tuple[ListenerView, ...]
    datagramListeners: tuple[DatagramListenerView, ...]
    workers: tuple[WorkerView, ...] = ()
    """Empty without --workers."""
    workerRestarts: int = 0
    silentWorkers: tuple[int, ...] = ()
    """The numbers of the workers that didn't answer in time; their counts are those of their last check."""


@dataclass(frozen=True)
class Check:
    """A condition for being ready."""

    name: str
    """One of `started`, `draining`, `full`, `workers`, `certificates`."""
    problem: str = ""
    """Why it isn't met, in one line; empty if it is."""


Slice = tuple[list[dict[str, Any]], str, int]
"""Some of the open connections, as JSON, the next cursor, and the number of a worker whose connections are missing."""


class IMainService(IService):
    """The one service of a process."""

    plan: Plan = Attribute("The Plan that it serves.")

    def reload() -> None:
        """Read the certificates again."""

    def abortDrain() -> None:
        """End the shutdown that is under way at once."""

    def checks() -> Iterable[Check]:
        """Return the conditions for being ready that the service knows: all but `started` and `draining`."""

    def overview() -> "Deferred[Overview]":
        """Bring the counts up to date, in all processes, and return what the daemon does; it never fails."""

    def connectionsAfter(cursor: str, peer: str) -> "Deferred[Slice]":
        """Return some of the open connections, those after `cursor`, and the next cursor.

        The first cursor is empty, and the one after the last connections as well. With `peer`, an address as
        `describeAddress` writes it, only connections from there or through there are returned, maybe none, although the
        next cursor isn't empty. `connection.py` describes the members. It never fails; a worker that doesn't answer in
        time is left out, and its number is returned, else 0.
        """
