"""The status site: its pages, and where it listens."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.logger import capturedLogs, formatEvent

from echoup.server.listening.listeners import ListenError, parseStatusListener
from echoup.server.overview import Check
from echoup.server.settings import Limits, Plan
from echoup.server.status.channel import MOST
from echoup.server.status.health import Health
from echoup.server.status.site import INDEX, StatusSite
from tests.support.descriptors import fewDescriptors
from tests.support.doubles import Peer, ReactorTestCase, raised
from tests.support.mainservice import IdleService


class SiteTestCase(ReactorTestCase):
    """A test with a status site."""

    def make(self, description: str) -> None:
        """Make a site that is to listen at `description`, and start it."""
        self.service = IdleService(Plan(listeners=(), limits=Limits(), statusHosts=("status.example",)))
        self.health = Health(self.service)
        self.health.isStarted = True
        self.site = StatusSite(self.reactor, parseStatusListener(description), self.service, self.health)
        self.addCleanup(self.site.close)

    def start(self, description: str = "0") -> list[str]:
        """Start a site at `description`, and return what is logged."""
        self.make(description)
        with capturedLogs() as events:
            self.site.startService()
        return [formatEvent(event) for event in events]

    def connect(self) -> Peer:
        """Return the far end of a connection to the site."""
        host = self.site.ports[0].getHost()
        return self.peerAt((host.host, host.port))

    def get(self, path: str) -> str:
        """Return the status code and the body of the answer for `path`."""
        peer = self.connect()
        peer.offer(f"GET {path} HTTP/1.1\r\nHost: status.example\r\n\r\n".encode())
        head, _, body = peer.receiveAll().decode().partition("\r\n\r\n")
        peer.socket.close()
        return f"{head.split()[1]} {body}"


class PageTests(SiteTestCase):
    """What the pages for people and for health checks say."""

    def setUp(self) -> None:
        """Start a site."""
        super().setUp()
        self.start()

    def test_indexListsAllPages(self) -> None:
        """`/` lists the paths of all other pages, and each of them is there."""
        assert self.get("/") == f"200 {INDEX}"
        for line in INDEX.splitlines():
            assert not self.get(line.split()[0]).startswith("404")

    def test_livezIsAlwaysGood(self) -> None:
        """`/livez` is good even if the daemon isn't ready."""
        self.service.conditions = [Check("full", "9 connections for 3 s")]
        assert self.get("/livez") == "200 ok\n"

    def test_readyzSaysWhyNot(self) -> None:
        """`/readyz` is 503 with a line for each problem, and 200 without any."""
        assert self.get("/readyz") == "200 ok\n"
        self.service.conditions = [Check("full", "9 connections for 3 s"), Check("workers", "1 of 4 missing")]
        assert self.get("/readyz") == "503 full: 9 connections for 3 s\nworkers: 1 of 4 missing\n"

    def test_verboseListsAllConditions(self) -> None:
        """With `?verbose` it lists those that are met, too; the status code is the same."""
        self.service.conditions = [Check("full"), Check("workers", "1 of 4 missing")]
        lines = "[+] started ok\n[+] draining ok\n[+] full ok\n[-] workers: 1 of 4 missing\n"
        assert self.get("/readyz?verbose") == self.get("/readyz?verbose=1") == f"503 {lines}"
        self.service.conditions = []
        assert self.get("/readyz?verbose") == "200 [+] started ok\n[+] draining ok\n"


class ListenTests(SiteTestCase):
    """The site listens at one description, which may have several addresses."""

    def test_addressIsLogged(self) -> None:
        """Its addresses are logged once it has started, and nothing else is."""
        folder = self.enterContext(TemporaryDirectory())
        assert self.start(f"unix:{folder}/status") == [f"status site on unix:{folder}/status"]
        (line,) = self.start("0")
        assert line == f"status site on http://127.0.0.1:{self.site.ports[0].getHost().port}"

    def test_stopClosesEverything(self) -> None:
        """Its stop closes its ports and its connections, removes its file, and logs nothing."""
        path = Path(self.enterContext(TemporaryDirectory())) / "status"
        self.start(f"unix:{path}")
        assert path.is_socket()
        with capturedLogs() as events:
            stopped = self.site.stopService()
            self.reactor.until(lambda: stopped.called)
        assert (path.exists(), events, self.site.ports) == (False, [], [])
        self.start()
        peer = self.connect()
        self.reactor.turn()
        self.site.stopService()
        self.reactor.until(lambda: isGone(peer))
        assert self.reactor.getDelayedCalls() == []

    def test_stopResetsConnections(self) -> None:
        """When the stop is over, its connections have been reset: the end of the reactor would close them."""
        self.start()
        peer = self.connect()
        self.reactor.turn()
        stopped = self.site.stopService()
        self.reactor.until(lambda: stopped.called)
        assert raised(ConnectionResetError, peer.take, 1)

    def test_takenAddress(self) -> None:
        """A taken address is an error that names it."""
        description = f"127.0.0.1:{self.occupy()}"
        self.make(description)
        error = raised(ListenError, self.site.privilegedStartService)
        assert str(error) == f"address already in use: cannot listen on {description}"


class CrowdTests(SiteTestCase):
    """However many clients come, a request is answered."""

    def test_requestAmongSilentClientsIsAnswered(self) -> None:
        """A request is answered although many silent clients come before it and after it, all at once."""
        self.start()
        before = [self.connect() for _ in range(3 * MOST)]
        peer = self.connect()
        peer.socket.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        after = [self.connect() for _ in range(3 * MOST)]
        assert peer.receiveAll().endswith(b"ok\n")
        self.reactor.until(lambda: all(isGone(each) for each in before))
        assert not any(isGone(each) for each in after[-MOST:])

    def test_clientsWithoutDescriptorsAreOneLine(self) -> None:
        """Clients that it can't accept, because no descriptors are left, cost one line."""
        self.start()
        host = self.site.ports[0].getHost()
        peers = [socket.socket() for _ in range(5)]
        with capturedLogs() as events, fewDescriptors():
            for peer in peers:
                self.addCleanup(peer.close)
                peer.connect((host.host, host.port))
                self.reactor.until(lambda: bool(events))
                self.reactor.turn()
        assert [formatEvent(event) for event in events] == [
            "the status site refused 1 connection: no file descriptors left"
        ]


def isGone(peer: Peer) -> bool:
    """Return whether the connection was closed or reset."""
    try:
        return peer.take(1) == b""
    except ConnectionResetError:
        return True
