"""The daemon as JSON: what it is and does, and its open connections."""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from ipaddress import ip_network
from socket import AF_UNIX, gethostname
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.interfaces import IPushProducer
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from echoup.server.connection import Stage
from echoup.server.counts import Total
from echoup.server.datagram.returnpath import DatagramRefusal
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.listeners import AddressListener, parseListener
from echoup.server.overview import Check, DatagramListenerView, ListenerView, Overview, WorkerView
from echoup.server.reasons import EndReason, Refusal
from echoup.server.service import EchoUpService
from echoup.server.settings import Limits, Plan, settingsOf
from echoup.server.status import api
from echoup.server.status.api import ID, ConnectionsResource, Listing, StatusResource, parsePeer
from echoup.server.status.health import Health
from echoup.tls.certificateinfo import CertificateInfo
from tests.support.documents import Document, codesIn, readDocuments
from tests.support.doubles import raised
from tests.support.properties import given, st
from tests.support.services import ResourceTestCase, Response, ShownService, parseResponse, requestFor

EXPIRY = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
CERTIFICATE = cast(
    "ServerCertificate", SimpleNamespace(info=CertificateInfo("CN=echo.example", "CN=ca", EXPIRY, EXPIRY))
)
PLAN = Plan(
    listeners=(AddressListener("8081", None, 8081), AddressListener("tls:8443", None, 8443, certificate=CERTIFICATE)),
    limits=Limits(maxConnections=100),
    proxies=(ip_network("192.0.2.0/24"),),
)


def connection(number: int, peer: str, via: str | None = None) -> dict[str, Any]:
    """Return an open connection."""
    return {"id": str(number), "listener": "8081", "peer": peer, "via": via, "state": "echoing"}


class StatusTests(ResourceTestCase):
    """`/api/status` is what the daemon is and does."""

    def setUp(self) -> None:
        """Make the resource."""
        super().setUp()
        self.service = ShownService(PLAN)
        self.health = Health(self.service)
        self.health.isStarted = True
        self.resource = StatusResource(self.service, self.health)

    def status(self) -> Any:
        """Return the document."""
        answer = self.ask(self.resource)
        assert (answer.code, answer.fields["content-type"]) == (200, "application/json")
        return json.loads(answer.body)

    def test_identityIsThisProcess(self) -> None:
        """It begins with the schema, this process's id, and the machine's name."""
        found = self.status()
        assert list(found)[:3] == ["schema", "id", "name"]
        assert (found["schema"], found["id"], found["name"]) == (1, ID, gethostname())
        assert found["pid"] == os.getpid()
        started = datetime.strptime(found["started"], "%Y-%m-%dT%H:%M:%S%z")
        assert abs((datetime.now(UTC) - started).total_seconds()) < 60

    def test_versionIsThatOfTheStart(self) -> None:
        """The version is the one that runs: by now another may be installed, or none be found, as in a chroot."""
        self.patch(api, "version", lambda _: 1 / 0)
        assert self.status()["version"] == version("echoup")

    def test_healthIsShown(self) -> None:
        """It says whether the daemon is ready, and why it isn't."""
        found = self.status()
        assert (found["ready"], found["draining"], found["problems"]) == (True, False, [])
        self.service.conditions = [Check("full", "9 connections for 3 s")]
        self.health.isDraining = True
        found = self.status()
        assert (found["ready"], found["draining"]) == (False, True)
        assert found["problems"] == self.health.problems
        assert "full: 9 connections for 3 s" in found["problems"]

    def test_settingsAreThoseInForce(self) -> None:
        """It has all settings, by option."""
        found = self.status()["settings"]
        assert found == json.loads(json.dumps(settingsOf(PLAN)))
        assert (found["listen"], found["max-connections"]) == (["8081", "tls:8443"], 100)

    def test_listenersAreShown(self) -> None:
        """Each listener has its addresses, its queue and its certificate."""
        views = (
            ListenerView(description="8081", addresses=("0.0.0.0:8081", "[::]:8081"), queue=1, queueLimit=128),
            ListenerView(description="tls:8443", addresses=("tls:0.0.0.0:8443",), certificate=CERTIFICATE),
        )
        self.service.shown = Overview(counts=self.service.counts, listeners=views, datagramListeners=())
        plain, secure = self.status()["listeners"]
        assert plain == {
            "listener": "8081",
            "addresses": ["0.0.0.0:8081", "[::]:8081"],
            "queue": 1,
            "queue_limit": 128,
            "certificate": None,
        }
        assert (secure["queue"], secure["queue_limit"]) == (None, None)
        assert secure["certificate"] == {"subject": "CN=echo.example", "not_after": "2027-01-02T03:04:05Z"}

    def test_totalsAreThoseOfEachListener(self) -> None:
        """Each listener has its totals, and the daemon the numbers of its open connections."""
        counts = self.service.counts.listeners["8081"]
        counts.add(Total.OPENED, 5)
        counts.add(Total.SERVED, 1)
        counts.add(Total.RECEIVED, 2**60)
        counts.add(Total.SENT, 3)
        counts.add(EndReason.REFUSED, 2)
        counts.add(Refusal.PEER, 2)
        self.service.counts.setOpen(waiting=1, paused=2)
        found = self.status()
        assert found["connections"] == {"open": 3, "waiting": 1, "paused": 2}
        assert list(found["totals"]) == ["8081", "tls:8443"]
        total = found["totals"]["8081"]
        assert [total[name] for name in ("opened", "open", "served", "received", "sent")] == [5, 3, 1, 2**60, 3]
        assert total["closed"] == {reason.value: 2 if reason is EndReason.REFUSED else 0 for reason in EndReason}
        assert total["refused"] == {"peer": 2, "stopping": 0, "descriptors": 0}

    def showAll(self) -> None:
        """Show a daemon that has UDP listeners and workers, one of which doesn't answer."""
        dropped = dict.fromkeys(DatagramRefusal, 0) | {DatagramRefusal.RATE: 2}
        view = DatagramListenerView(
            description="udp:8081",
            addresses=("udp:127.0.0.1:8081",),
            received=3,
            answered=1,
            dropped=dropped,
            receivedBytes=30,
            sentBytes=10,
        )
        self.service.shown = Overview(
            counts=self.service.counts,
            listeners=(ListenerView(description="tls:8443", addresses=("tls:0.0.0.0:8443",), certificate=CERTIFICATE),),
            datagramListeners=(view,),
            workers=(WorkerView(number=0, pid=9, state="serving", startedAt=1.0),),
            workerRestarts=4,
            silentWorkers=(0,),
        )

    def test_datagramsAndWorkersAreShown(self) -> None:
        """UDP listeners and workers are shown, with the workers that didn't answer."""
        self.showAll()
        found = self.status()
        (udp,) = found["datagram_listeners"]
        assert udp["listener"] == "udp:8081"
        assert udp["dropped"] == {each.label: 2 if each is DatagramRefusal.RATE else 0 for each in DatagramRefusal}
        assert [udp[name] for name in ("received", "answered", "received_bytes", "sent_bytes")] == [3, 1, 30, 10]
        assert found["workers"] == [{"number": 0, "pid": 9, "state": "serving", "started": "1970-01-01T00:00:01Z"}]
        assert (found["worker_restarts"], found["silent_workers"]) == (4, [0])

    def test_membersAreDocumented(self) -> None:
        """docs/metrics.md has exactly the members that there are, and its example has no others."""
        self.showAll()
        documented = documentedMembers("/api/status")
        assert membersOf(self.status()) == documented
        (example,) = (block for block in page("/api/status").blocks if block.language == "json")
        assert membersOf(json.loads(example.text)) <= documented

    def test_faultIsAnAnswer(self) -> None:
        """A fault of the daemon is answered as such."""
        self.patch(self.service, "overview", lambda: 1 / 0)
        assert self.ask(self.resource).code == 500

    def test_queryIsRefused(self) -> None:
        """It has no parameters."""
        answer = self.ask(self.resource, "?peer=1")
        assert (answer.code, answer.body) == (400, b"'peer' is not a parameter here; known: none\n")


class ConnectionsTests(ResourceTestCase):
    """`/api/connections` lists the open connections."""

    def setUp(self) -> None:
        """Make the resource."""
        super().setUp()
        self.service = ShownService(PLAN)
        self.resource = ConnectionsResource(self.service)

    def document(self, query: str = "") -> Any:
        """Return the document."""
        return self.parse(self.ask(self.resource, query))

    def parse(self, answer: Response) -> Any:
        """Return the document in `answer`; check what all of them have."""
        assert (answer.code, answer.fields["content-type"]) == (200, "application/json")
        found = json.loads(answer.body)
        assert list(found) == ["schema", "id", "name", "connections", "total", "silent_workers"]
        assert (found["schema"], found["id"], found["name"]) == (1, ID, gethostname())
        assert found["total"] == len(found["connections"])
        return found

    def ids(self, query: str = "") -> list[str]:
        """Return the ids in the document."""
        return [each["id"] for each in self.document(query)["connections"]]

    def fill(self, count: int) -> None:
        """Let there be `count` connections."""
        self.service.connections = [connection(i, f"192.0.2.1:{i + 1}") for i in range(count)]

    def test_allAreListed(self) -> None:
        """All connections are listed once, whatever the number of slices."""
        for count in (0, 1, 49, 50, 51, 100, 1234):
            self.fill(count)
            assert self.document()["connections"] == self.service.connections

    def test_eachIsALine(self) -> None:
        """Each connection is one line, so that grep finds it."""
        self.fill(60)
        lines = self.ask(self.resource).body.decode().splitlines()
        assert len(lines) == 62
        assert json.loads(lines[1].rstrip(",")) == self.service.connections[0]

    def test_olderClientsGetTheSameDocument(self) -> None:
        """A client that speaks HTTP/1.0, which has no chunks, gets the document up to the end."""
        self.fill(60)
        client = self.connect(self.resource)
        client.offer(b"GET / HTTP/1.0\r\n\r\n")
        assert self.parse(parseResponse(client.receiveAll()))["total"] == 60

    def test_peerIsFound(self) -> None:
        """With `?peer=` only connections from an address, or through one, are listed, in whatever form it is."""
        self.service.connections = [
            connection(1, "192.0.2.1:1000"),
            connection(2, "192.0.2.1:10000"),
            connection(3, "192.0.2.11:1000", "192.0.2.1:2000"),
            connection(4, "[2001:db8::1]:1000"),
            connection(5, "[fe80::1%lo]:1000"),
            connection(6, "unix"),
        ]
        for peer, expected in {
            "192.0.2.1:1000": "1",
            "[::ffff:192.0.2.1]:1000": "1",
            "192.0.2.1:2000": "3",
            "192.0.2.1": "123",
            "192.0.2.2": "",
            "192.0.2.11:1": "",
            "[2001:DB8:0::1]:1000": "4",
            "2001:db8::1": "4",
            "[fe80::1%25lo]:1000": "5",
            "fe80::1%25lo": "5",
        }.items():
            assert "".join(self.ids(f"?peer={peer}")) == expected, peer

    def test_peerThatIsNoAddressIsRefused(self) -> None:
        """Anything but an IP address is refused, in one line."""
        for peer in (
            "",
            "localhost",
            "192.0.2.1:",
            "192.0.2.1:99999",
            "192.0.2.256",
            "[::1",
            "::1]:5",
            "unix",
            "%00",
            "%0a",
        ):
            answer = self.ask(self.resource, f"?peer={peer}")
            assert answer.code == 400, peer
            assert answer.body.endswith(b" is not an IP address, IP:PORT or [IPV6]:PORT\n")
            assert answer.body.count(b"\n") == 1

    def test_otherParametersAreRefused(self) -> None:
        """An unknown parameter, or one that is given twice, is refused, in one line."""
        for query, message in {
            "?Peer=::1": "'Peer' is not a parameter here; known: peer",
            "?peer=::1&x%0a=1": "'x\\n' is not a parameter here; known: peer",
            "?peer=::1&peer=::2": "peer is given 2 times",
        }.items():
            answer = self.ask(self.resource, query)
            assert (answer.code, answer.body.decode()) == (400, message + "\n")

    def test_silentWorkersAreNamed(self) -> None:
        """The document says which workers didn't answer, so whose connections are missing."""
        self.service.silent = {50: 3, 100: 2, 150: 3}
        self.fill(201)
        found = self.document()
        assert (found["total"], found["silent_workers"]) == (201, [2, 3])

    def test_membersAreDocumented(self) -> None:
        """docs/metrics.md has exactly the members of a real connection, and its example has them all."""
        documented = documentedMembers("/api/connections")
        (example,) = (block for block in page("/api/connections").blocks if block.language == "json")
        assert membersOf(json.loads(example.text)) == documented
        service = EchoUpService(self.reactor, Plan(listeners=(parseListener("127.0.0.1:0"),), limits=Limits()))
        service.startService()
        self.addCleanup(service._forgetPorts)
        (port,) = service.ports
        self.peerAt(("127.0.0.1", port.getHost().port))
        self.reactor.until(lambda: len(service.connections) == 1)
        real = membersOf(self.parse(self.ask(ConnectionsResource(service))))
        assert real == {name for name in documented if ".tls" not in name} | {"connections[].tls"}

    def test_statesAreDocumented(self) -> None:
        """docs/metrics.md has all the states of a connection."""
        (table,) = (table for table in page("/api/connections").tables if table.heads[0] == "State")
        assert [code for row in table.rows for code in codesIn(row[0])] == [stage.value for stage in Stage]

    def test_headHasNoBody(self) -> None:
        """HEAD gets no body."""
        self.fill(60)
        answer = self.ask(self.resource, method="HEAD")
        assert (answer.code, answer.body) == (200, b"")


class SlowClientTests(ResourceTestCase):
    """A client that reads slowly costs no memory, and one that leaves costs nothing."""

    COUNT = 3000

    def setUp(self) -> None:
        """Let a client ask for many connections, and read nothing; a Unix socket's buffers are small."""
        super().setUp()
        self.service = ShownService(PLAN)
        self.service.connections = [connection(i, f"192.0.2.1:{i + 1}", "x" * 200) for i in range(self.COUNT)]
        self.asked = 0
        self.listings: list[Listing] = []
        answer = self.service.connectionsAfter

        def count(cursor: str, peer: str) -> Any:
            self.asked += 1
            return answer(cursor, peer)

        def make(*arguments: Any) -> Listing:
            self.listings.append(Listing(*arguments))
            return self.listings[-1]

        self.patch(self.service, "connectionsAfter", count)
        self.patch(api, "Listing", make)
        self.client = self.connect(ConnectionsResource(self.service), AF_UNIX)
        self.client.offer(requestFor())
        self.reactor.turn(100)

    def test_nothingIsCollectedForASlowClient(self) -> None:
        """The service is asked for a slice only when the client has taken the last; in the end it has everything."""
        assert 0 < self.asked < self.COUNT / self.service.slice / 2
        before = self.asked
        self.reactor.turn(100)
        assert self.asked == before
        document = json.loads(parseResponse(self.client.receiveAll()).body)
        assert document["connections"] == self.service.connections

    def test_clientThatLeavesEndsTheAnswer(self) -> None:
        """When the client is gone, the service isn't asked for connections any more, and nothing waits."""
        before = self.asked
        (listing,) = self.listings
        assert listing._resumed
        self.client.socket.close()
        self.reactor.turn(100)
        assert self.asked == before
        assert not listing._resumed

    def test_clientThatLeavesWhileTheServiceAnswersIsForgotten(self) -> None:
        """Nothing happens if a client is gone when a slice comes."""
        self.service.connections = []
        self.service.isSlow = True
        client = self.connect(ConnectionsResource(self.service))
        client.offer(requestFor())
        client.reset()
        self.reactor.turn()
        with capturedLogs() as events:
            self.service.waiting.pop().callback(None)
        assert events == []

    def test_faultCutsTheAnswer(self) -> None:
        """A fault of the daemon in the middle leaves no document that looks complete."""
        self.patch(self.service, "connectionsAfter", lambda *_: 1 / 0)
        client = self.connect(ConnectionsResource(self.service), AF_UNIX)
        client.offer(requestFor())
        try:
            data = client.receiveAll()
        except ConnectionResetError:
            data = b""
        assert not data.endswith(b"0\r\n\r\n")

    def test_producerIsOne(self) -> None:
        """The answer provides what a transport expects of a producer."""
        assert verifyObject(IPushProducer, Listing(cast("Any", None), self.service, "", None))


def page(section: str) -> Document:
    """Return a section of docs/metrics.md."""
    return Document(section, readDocuments()["docs/metrics.md"].section(f"`{section}`"))


def documentedMembers(section: str) -> set[str]:
    """Return the paths of the members in the tables of a section, without those of objects whose members are there."""
    tables = [table for table in page(section).tables if table.heads[0] == "Member"]
    return withoutObjects({code for table in tables for row in table.rows for code in codesIn(row[0])})


def membersOf(document: Any) -> set[str]:
    """Return the paths of the members of a document, as the tables have them."""
    return withoutObjects(set(pathsIn(document)))


def pathsIn(value: Any, path: str = "") -> Iterator[str]:
    """Return the paths of `value` and its members; objects by option or reason have none."""
    yield path
    if isinstance(value, list):
        for each in value:
            if isinstance(each, dict):
                yield from pathsIn(each, f"{path}[]")
    elif isinstance(value, dict) and not re.search(r"\b(settings|closed|refused|dropped)$", path):
        for name, each in value.items():
            yield from pathsIn(each, f"{path}.{'LISTENER' if path == 'totals' else name}".lstrip("."))


def withoutObjects(paths: set[str]) -> set[str]:
    """Return those of `paths` that are no beginnings of others."""
    return {path for path in paths if path and not any(re.match(re.escape(path) + r"[.[]", other) for other in paths)}


class ParsePeerTests(SynchronousTestCase):
    """`parsePeer` takes addresses."""

    @given(st.text() | st.text("[]:.%0123456789abcdef", max_size=20))
    def test_anyTextIsParsedOrRefused(self, text: str) -> None:
        """Any text is an address, or is refused in one line."""
        if error := raised(ValueError, parsePeer, text):
            assert len(str(error).splitlines()) == 1
        else:
            host, port = parsePeer(text)
            assert parsePeer(host) == (host, None)
            assert port is None or 0 <= port < 2**16
