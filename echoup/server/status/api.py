"""`/api/status` and `/api/connections`: the daemon as JSON. docs/metrics.md has the schema.

The list of the connections may be long, and its reader slow. So it is written in slices: the service is asked for the
next one when the client has taken the last.
"""

import json
import os
from datetime import UTC, datetime
from importlib.metadata import version
from ipaddress import ip_address
from secrets import token_hex
from socket import AF_INET, AF_INET6, gethostname, inet_ntop
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from echoup.addresses import joinAddress, splitAddress, unmapHost
from echoup.server.counts import ListenerCounts, Total
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.overview import IMainService
from echoup.server.reasons import EndReason, Refusal
from echoup.server.settings import settingsOf
from echoup.server.status.health import Health
from echoup.server.status.request import Request

SCHEMA = 1
"""The version of both documents; members may be added to it, but none is removed or changed."""

ID = token_hex(8)
"""Tells this process from any other, also from the one before it at the same address."""


class StatusResource(Resource):
    """What the daemon is and does."""

    isLeaf = True

    def __init__(self, service: IMainService, health: Health) -> None:
        """Show `service`, and whether it is ready by `health`."""
        super().__init__()
        self._service = service
        self._health = health
        self._startedAt = time()
        self._version = version("echoup")  # a chroot lacks it

    def render_GET(self, request: Request) -> int:
        """Answer as soon as there is an overview."""
        try:
            parseQuery(request)
        except ValueError as error:
            request.answer(400, str(error))
        else:
            Deferred.fromCoroutine(self._answer(request)).addErrback(request.processingFailed)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        document = json.dumps(await self._describe(), indent=2).encode() + b"\n"
        request.setHeader("Content-Type", "application/json")
        request.finishWith(document)

    async def _describe(self) -> dict[str, object]:
        overview, problems = await self._service.overview(), self._health.problems
        counts = overview.counts
        return {
            **identity(),
            "version": self._version,
            "pid": os.getpid(),
            "started": describeTime(self._startedAt),
            "draining": self._health.isDraining,
            "ready": not problems,
            "problems": problems,
            "settings": settingsOf(self._service.plan),
            "connections": {
                "open": sum(listener.open for listener in counts.listeners.values()),
                "waiting": counts.waiting,
                "paused": counts.paused,
            },
            "listeners": [
                {
                    "listener": each.description,
                    "addresses": each.addresses,
                    "queue": each.queue,
                    "queue_limit": each.queueLimit,
                    "certificate": describeCertificate(each.certificate),
                }
                for each in overview.listeners
            ],
            "totals": {name: describeCounts(listener) for name, listener in counts.listeners.items()},
            "datagram_listeners": [
                {
                    "listener": each.description,
                    "addresses": each.addresses,
                    "received": each.received,
                    "answered": each.answered,
                    "dropped": {refusal.label: number for refusal, number in each.dropped.items()},
                    "received_bytes": each.receivedBytes,
                    "sent_bytes": each.sentBytes,
                }
                for each in overview.datagramListeners
            ],
            "workers": [
                {
                    "number": each.number,
                    "pid": each.pid,
                    "state": each.state,
                    "started": describeTime(each.startedAt),
                }
                for each in overview.workers
            ],
            "worker_restarts": overview.workerRestarts,
            "silent_workers": overview.silentWorkers,
        }


class ConnectionsResource(Resource):
    """The open connections; with `?peer=` only those from an address, or through one."""

    isLeaf = True

    def __init__(self, service: IMainService) -> None:
        """Show the connections of `service`."""
        super().__init__()
        self._service = service

    def render_GET(self, request: Request) -> int:
        """Answer in slices."""
        try:
            peer = parseQuery(request, "peer").get("peer")
            host, port = ("", None) if peer is None else parsePeer(peer)
        except ValueError as error:
            request.answer(400, str(error))
        else:
            listing = Listing(request, self._service, host, port)
            Deferred.fromCoroutine(listing.write()).addErrback(request.processingFailed)
        return NOT_DONE_YET


@implementer(IPushProducer)
class Listing:
    """An answer with the open connections, which is written as fast as the client reads it."""

    def __init__(self, request: Request, service: IMainService, host: str, port: int | None) -> None:
        """Include the connections from or through `host`, at any port if that is None; all if it is empty."""
        self._request = request
        self._service = service
        self._host = host if port is None else ""
        self._peer = "" if port is None else joinAddress(host, port)
        self._isGone = False
        self._resumed: Deferred[None] | None = None
        """Fires when the client has taken what was written; None as long as it takes everything."""

    async def write(self) -> None:
        """Write all of it, or until the client is gone."""
        request = self._request
        request.setHeader("Content-Type", "application/json")
        request.registerProducer(self, True)
        request.write(json.dumps(identity())[:-1].encode() + b', "connections": [')
        total, cursor, silent = 0, "", set()
        while True:
            found, cursor, worker = await self._service.connectionsAfter(cursor, self._peer)
            lines = [json.dumps(each) for each in found if self._isIncluded(each)]
            if lines:
                request.write((",\n" if total else "\n").encode() + ",\n".join(lines).encode())
                total += len(lines)
            if worker:
                silent.add(worker)
            if self._resumed:
                await self._resumed
            if self._isGone:
                return
            if not cursor:
                break
        end = {"total": total, "silent_workers": sorted(silent)}
        request.write(b"\n], " + json.dumps(end)[1:].encode() + b"\n")
        request.unregisterProducer()
        request.finish()

    def _isIncluded(self, connection: dict[str, Any]) -> bool:
        hosts = ((connection[name] or "").rpartition(":")[0].strip("[]") for name in ("peer", "via"))
        return not self._host or self._host in hosts

    def pauseProducing(self) -> None:
        """Write nothing after the present slice."""
        self._resumed = self._resumed or Deferred()

    def resumeProducing(self) -> None:
        """Write the next slice."""
        resumed, self._resumed = self._resumed, None
        if resumed:
            resumed.callback(None)

    def stopProducing(self) -> None:
        """Write nothing more: the client is gone."""
        self._isGone = True
        self.resumeProducing()


def parseQuery(request: Request, *known: str) -> dict[str, str]:
    """Return the parameters in the query; raise ValueError if one is not `known`, or is there twice."""
    parameters = {}
    for name, values in (request.args or {}).items():
        parameter = name.decode("latin-1")
        if parameter not in known:
            raise ValueError(f"{parameter!r} is not a parameter here; known: {', '.join(known) or 'none'}")
        if len(values) > 1:
            raise ValueError(f"{parameter} is given {len(values)} times")
        parameters[parameter] = values[0].decode("latin-1")
    return parameters


def parsePeer(text: str) -> tuple[str, int | None]:
    """Return the IP address `text`, as the kernel writes it, and the port behind it; raise ValueError for any other."""
    try:
        host, port = splitAddress(text)
        name, percent, interface = host.partition("%")
        address = ip_address(unmapHost(name))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address, IP:PORT or [IPV6]:PORT") from None
    name = inet_ntop(AF_INET6 if address.version == 6 else AF_INET, address.packed)
    return name + percent + interface, port


def identity() -> dict[str, object]:
    """Return what both documents begin with: the version of the schema, and which process this is."""
    return {"schema": SCHEMA, "id": ID, "name": gethostname()}


def describeTime(seconds: float) -> str:
    """Return a moment, in seconds of the wall clock, as RFC 3339 writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def describeCertificate(certificate: ServerCertificate | None) -> dict[str, str] | None:
    """Return whose `certificate` it is, and how long it is valid; None without one, or if it can't be parsed."""
    info = certificate.info if certificate else None
    return {"subject": info.subject, "not_after": describeTime(info.notAfter.timestamp())} if info else None


def describeCounts(counts: ListenerCounts) -> dict[str, object]:
    """Return the totals of a listener."""
    return {
        "opened": counts[Total.OPENED],
        "open": counts.open,
        "served": counts[Total.SERVED],
        "received": counts[Total.RECEIVED],
        "sent": counts[Total.SENT],
        "closed": {reason.value: counts[reason] for reason in EndReason},
        "refused": {refusal.value: counts[refusal] for refusal in Refusal},
    }
