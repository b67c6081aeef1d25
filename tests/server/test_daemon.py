"""The process: how it fails to start, which signals it ignores, and how it is stopped."""

import os
import signal
import socket
import sys
from io import StringIO
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from tempfile import TemporaryDirectory
from time import monotonic
from types import FrameType
from unittest.mock import patch

from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred
from twisted.logger import Logger, capturedLogs, formatEvent, globalLogPublisher, textFileLogObserver
from zope.interface.verify import verifyObject

from echoup.server.daemon import CannotStart, Daemon
from echoup.server.listening.listeners import StartError, parseListener, parseStatusListener
from echoup.server.listening.renewal import ExpiryWatch
from echoup.server.platform.twistedports import fileOf
from echoup.server.service import EchoUpService
from echoup.server.settings import Limits, Plan
from echoup.server.status.site import StatusSite
from echoup.upper import IMPLEMENTATION
from tests.support.certificates import writeCertificates
from tests.support.doubles import ReactorTestCase, raised
from tests.support.mainservice import IdleService

IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
STOPPING = (signal.SIGTERM, signal.SIGINT)


class DaemonTestCase(ReactorTestCase):
    """A test that may change what signals do, and the limit of descriptors."""

    def setUp(self) -> None:
        """Restore them in the end."""
        super().setUp()
        self.addCleanup(setrlimit, RLIMIT_NOFILE, getrlimit(RLIMIT_NOFILE))
        for number in (signal.SIGHUP, *IGNORED, *STOPPING):
            self.addCleanup(signal.signal, number, signal.getsignal(number))


class CannotStartTests(DaemonTestCase):
    """A daemon that can't start ends its process in one line."""

    def test_errorEndsTheInterpreter(self) -> None:
        """It ends the interpreter, with a code that isn't 0, and is an error to twistd."""
        error = CannotStart("no")
        assert isinstance(error, SystemExit)
        assert isinstance(error, Exception)
        assert (error.code, str(error)) == (1, "no")

    def test_takenAddressEndsTheProcessInOneLine(self) -> None:
        """Whichever start finds the address taken, the process ends, with one line on stderr and in the log."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            description = f"127.0.0.1:{other.getsockname()[1]}"
            line = f"address already in use: cannot listen on {description}"
            for start in (Daemon.privilegedStartService, Daemon.startService):
                daemon = Daemon(self.reactor, makeService(self, description))
                self.patch(sys, "__stderr__", stderr := StringIO())
                with capturedLogs() as events:
                    assert str(raised(CannotStart, start, daemon)) == line
                assert stderr.getvalue() == f"twistd echoup: {line}\n"
                assert [formatEvent(event) for event in events] == [line]

    def failure(self, user: int | None = None) -> str:
        """Return why a daemon can't start; it listens nowhere then."""
        service = makeService(self, "127.0.0.1:0")
        self.patch(sys, "__stderr__", stderr := StringIO())
        assert raised(CannotStart, Daemon(self.reactor, service, user).privilegedStartService)
        assert service.ports == []
        (line,) = stderr.getvalue().splitlines()
        return line.removeprefix("twistd echoup: ")

    def test_rootWithoutNull(self) -> None:
        """A root folder without /dev/null, which each of Twisted's ports opens, ends the process in one line."""
        self.patch(os, "devnull", "/no/such/null")
        reason = "no /no/such/null: cannot start; with --chroot, create it in that directory"
        assert self.failure() == reason

    def test_unknownUser(self) -> None:
        """A user that twistd couldn't become, because /etc/passwd lacks it, ends the process in one line."""
        assert self.failure(4_000_000_000) == "/etc/passwd has no user 4000000000: cannot change to that user"

    def test_knownUser(self) -> None:
        """A user that /etc/passwd has is accepted; root is 0."""
        service = makeService(self, "127.0.0.1:0")
        Daemon(self.reactor, service, 0).privilegedStartService()
        assert len(service.ports) == 1


class StartedTestCase(DaemonTestCase):
    """A test that starts a daemon."""

    daemon: Daemon

    def setUp(self) -> None:
        """Let the first SIGTERM or SIGINT stop the daemon, as twistd's does."""
        super().setUp()
        self.stops: list[Deferred[None]] = []
        for number in (signal.SIGHUP, *IGNORED):
            signal.signal(number, signal.SIG_DFL)
        for number in STOPPING:
            signal.signal(number, self.stop)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Stop the daemon, as twistd's own signal handlers do."""
        self.stops.append(self.daemon.stopService())

    def start(self) -> None:
        """Start the daemon and the reactor."""
        self.daemon.privilegedStartService()
        self.daemon.startService()
        self.reactor.fireSystemEvent("startup")


class DaemonTests(StartedTestCase):
    """A daemon takes its process over."""

    def setUp(self) -> None:
        """Make the daemon."""
        super().setUp()
        self.service = makeService(self, "127.0.0.1:0")
        self.daemon = Daemon(self.reactor, self.service)

    def test_daemonHasOneService(self) -> None:
        """It is a collection of services, and the echo service is the one."""
        verifyObject(IServiceCollection, self.daemon)
        assert list(self.daemon) == [self.service]

    def test_timersAreMonotonic(self) -> None:
        """Its timers don't follow the time of day."""
        self.start()
        before = monotonic()
        assert before <= self.reactor.seconds() <= monotonic()

    def test_descriptorLimitIsRaised(self) -> None:
        """It may open as many descriptors as the hard limit allows."""
        _, most = getrlimit(RLIMIT_NOFILE)
        setrlimit(RLIMIT_NOFILE, (min(most, 256), most))
        self.start()
        assert getrlimit(RLIMIT_NOFILE) == (most, most)

    def test_startNamesWhatUpperCases(self) -> None:
        """When it serves, it logs which implementation upper-cases."""
        with capturedLogs() as events:
            self.start()
        assert f"upper-casing in {IMPLEMENTATION}" in map(formatEvent, events)

    def test_userSignalsAreIgnored(self) -> None:
        """SIGUSR1 and SIGUSR2 don't end the process."""
        self.start()
        for number in IGNORED:
            assert signal.getsignal(number) == signal.SIG_IGN

    def test_handledUserSignalsStay(self) -> None:
        """One of those signals that another program handles stays handled."""
        signal.signal(signal.SIGUSR1, self.stop)
        self.start()
        assert signal.getsignal(signal.SIGUSR1) == self.stop

    def hangUp(self) -> list[str]:
        """Send SIGHUP, and return what is said of it."""
        with capturedLogs() as events:
            signal.raise_signal(signal.SIGHUP)
            assert events == []  # a signal may come in the middle of anything
            self.reactor.turn()
        return [f"{event['log_level'].name}: {formatEvent(event)}" for event in events]

    def test_hangUpReadsCertificates(self) -> None:
        """SIGHUP reads the certificates again, with a line for each; one that can't be read is kept."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        path = folder / "server.pem"
        self.service = makeService(self, f"ssl:0:interface=127.0.0.1:privateKey={path}")
        self.daemon = Daemon(self.reactor, self.service)
        self.start()
        assert self.hangUp() == [f"info: reloaded the certificate in {path}"]
        path.unlink()
        (line,) = self.hangUp()
        assert line.startswith(f"error: cannot reload the certificate in {path}; the old one stays in use: {path}: No ")
        writeCertificates(folder)
        assert self.hangUp() == [f"info: reloaded the certificate in {path}"]

    def test_hangUpWithoutCertificateIsIgnored(self) -> None:
        """Without a certificate SIGHUP is ignored; it would have ended the process."""
        self.start()
        assert self.hangUp() == []

    def test_hangUpIsHandledUnderNohup(self) -> None:
        """SIGHUP that was ignored, as under nohup, is handled."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.start()
        assert callable(signal.getsignal(signal.SIGHUP))

    def test_hangUpDuringAStopIsHarmless(self) -> None:
        """During a stop SIGHUP does no harm."""
        self.start()
        signal.raise_signal(signal.SIGTERM)
        assert self.hangUp() == []
        self.reactor.until(lambda: self.stops[0].called)

    def test_firstSignalStops(self) -> None:
        """The first signal does what it did before."""
        self.start()
        signal.raise_signal(signal.SIGTERM)
        self.reactor.until(lambda: self.stops[0].called)
        assert len(self.stops) == 1
        assert self.service.ports == []

    def test_secondSignalAbortsTheDrain(self) -> None:
        """The second one ends a stop that waits for a connection."""
        self.assertAborts(signal.SIGTERM, signal.SIGTERM)

    def test_secondSignalMayBeTheOther(self) -> None:
        """The second one may be of the other kind."""
        self.assertAborts(signal.SIGTERM, signal.SIGINT)

    def assertAborts(self, first: signal.Signals, second: signal.Signals) -> None:
        """Check that `second` ends the stop that `first` began, and begins none of its own."""
        self.start()
        host = self.service.ports[0].getHost()
        self.peerAt((host.host, host.port))
        self.reactor.until(lambda: bool(self.service.connections))
        signal.raise_signal(first)
        self.reactor.turn()
        assert not self.stops[0].called
        signal.raise_signal(second)
        self.reactor.until(lambda: self.stops[0].called)
        assert len(self.stops) == 1

    def test_logIsQueued(self) -> None:
        """From the start of the reactor the log goes through a queue; after its end all is written."""
        stream = self.enterContext((Path(self.enterContext(TemporaryDirectory())) / "log").open("a"))
        observer = textFileLogObserver(stream)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.daemon.privilegedStartService()
        self.daemon.startService()
        assert fileOf(observer) is stream
        self.reactor.fireSystemEvent("startup")
        assert fileOf(observer) is not stream
        Logger("test").info("hello")
        self.reactor.fireSystemEvent("shutdown")
        Logger("test").info("goodbye")
        said = [line.split()[-1] for line in Path(stream.name).read_text().splitlines()]
        assert [word for word in said if word in ("hello", "goodbye")] == ["hello", "goodbye"]

    def test_ignoredInterruptStaysIgnored(self) -> None:
        """SIGINT that was ignored, as in a script's background, stays so."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.start()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


class ReadyDelayTests(StartedTestCase):
    """A daemon that is to stop says so, and goes on serving for the time that load balancers need to notice."""

    def begin(self, delay: float) -> None:
        """Start a daemon with a `delay`, and stop it by a signal."""
        self.service = IdleService(Plan(listeners=(), limits=Limits(), readyDelay=delay))
        self.daemon = Daemon(self.reactor, self.service)
        self.start()
        self.reactor.clock.advance(monotonic())
        self.reactor.seconds = self.reactor.clock.seconds
        assert self.problems() == []
        self.service.events.clear()
        with capturedLogs() as events:
            signal.raise_signal(signal.SIGTERM)
        self.logged = [formatEvent(event) for event in events]
        assert self.problems() == ["draining: the daemon is stopping"]

    def problems(self) -> list[str]:
        """Return why the daemon isn't ready."""
        return self.daemon._health.problems

    def test_serviceStopsAfterTheDelay(self) -> None:
        """The service is stopped after the delay, and not before; one line is logged."""
        self.begin(3)
        assert self.logged == ["not ready; the shutdown begins in 3 s"]
        self.reactor.advance(2.9)
        assert self.service.events == []
        self.reactor.advance(0.2)
        assert self.service.events == ["stops"]

    def test_withoutDelayItStopsAtOnce(self) -> None:
        """Without a delay the service is stopped at once, and nothing is logged."""
        self.begin(0)
        assert (self.logged, self.service.events) == ([], ["stops"])

    def test_certificatesAreReadDuringTheDelay(self) -> None:
        """During the delay everything is as before: SIGHUP works, too."""
        self.begin(3)
        signal.raise_signal(signal.SIGHUP)
        self.reactor.turn()
        assert self.service.events == ["reloads"]

    def test_secondSignalEndsTheDelay(self) -> None:
        """A second signal ends the delay, and the shutdown behind it; a third one does no more."""
        self.begin(3)
        signal.raise_signal(signal.SIGINT)
        self.reactor.advance(0.1)
        assert self.service.events == ["stops", "aborts"]
        self.service.stopped.callback(None)
        self.reactor.until(lambda: self.stops[0].called)
        assert len(self.stops) == 1

    def test_secondSignalAfterTheDelayEndsTheShutdown(self) -> None:
        """A second signal after the delay ends the shutdown."""
        self.begin(3)
        self.reactor.advance(3.1)
        signal.raise_signal(signal.SIGTERM)
        self.reactor.turn()
        assert self.service.events == ["stops", "aborts"]

    def test_delayIgnoresAPause(self) -> None:
        """A pause of the process doesn't shorten the delay."""
        self.begin(3)
        self.reactor.pause(3600)
        self.reactor.advance(2)
        assert self.service.events == []


class StatusSiteTests(StartedTestCase):
    """The status site starts before the service, and ends after it."""

    def make(self, description: str) -> None:
        """Make a daemon whose status site listens at `description`."""
        self.service = IdleService(
            Plan(listeners=(), limits=Limits(), status=parseStatusListener(description), readyDelay=0.05)
        )
        self.daemon = Daemon(self.reactor, self.service)

    def answers(self, path: str) -> str:
        """Return the status code and the body of the answer for `path`, or that there is none."""
        try:
            peer = self.peerAt(self.address)
        except ConnectionRefusedError:
            return "refused"
        peer.offer(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = peer.receiveAll().decode().partition("\r\n\r\n")
        peer.socket.close()
        return f"{head.split()[1]} {body.strip()}"

    def test_siteIsThereFromTheStartToTheEnd(self) -> None:
        """It answers while the service starts, serves, waits and drains; only readyz changes, and all end together."""
        self.make("0")
        self.daemon.privilegedStartService()
        ((port,),) = [site.ports for site in self.daemon if isinstance(site, StatusSite)]
        self.address = ("127.0.0.1", port.getHost().port)
        assert self.answers("/readyz") == "503 started: the daemon is starting"
        with capturedLogs() as events:
            self.daemon.startService()
        assert formatEvent(events[0]) == f"status site on http://127.0.0.1:{self.address[1]}"
        self.reactor.fireSystemEvent("startup")
        assert self.answers("/readyz") == "200 ok"
        signal.raise_signal(signal.SIGTERM)
        stopping = "503 draining: the daemon is stopping"
        assert self.answers("/readyz") == stopping
        self.reactor.until(lambda: "stops" in self.service.events)
        assert (self.answers("/readyz"), self.answers("/livez")) == (stopping, "200 ok")
        self.service.stopped.callback(None)
        self.reactor.until(lambda: self.stops[0].called)
        assert self.answers("/livez") == "refused"
        assert self.service.events.count("stops") == 1

    def test_siteIsLoadedOnlyIfNeeded(self) -> None:
        """Without --status its module, and the web server that it needs, aren't even loaded."""
        with patch.dict(sys.modules, {"echoup.server.status.site": None}):
            assert not raised(ImportError, Daemon, self.reactor, IdleService())
            assert raised(ImportError, self.make, "0")

    def test_takenAddressEndsTheProcess(self) -> None:
        """If its address is taken, the process ends with one line, and the service doesn't even listen."""
        description = f"127.0.0.1:{self.occupy()}"
        self.make(description)
        self.patch(sys, "__stderr__", stderr := StringIO())
        assert raised(CannotStart, self.daemon.privilegedStartService)
        assert stderr.getvalue() == f"twistd echoup: address already in use: cannot listen on {description}\n"
        assert self.service.events == []

    def test_failedStartLeavesNothing(self) -> None:
        """If the service can't listen, or can't start, no socket of the site is left."""
        path = Path(self.enterContext(TemporaryDirectory())) / "status"

        def fail() -> None:
            assert path.is_socket()
            raise StartError("no", "cannot start")

        for name in ("privilegedStartService", "startService"):
            self.make(f"unix:{path}")
            self.patch(self.service, name, fail)
            self.patch(sys, "__stderr__", StringIO())
            assert raised(CannotStart, self.start)
            assert not path.exists()


class ExpiryWatchTests(DaemonTestCase):
    """A daemon with certificates watches them."""

    def test_watchIsThereWithACertificate(self) -> None:
        """A daemon has an ExpiryWatch exactly if a listener has a certificate."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        for description, kinds in (
            ("127.0.0.1:0", [EchoUpService]),
            (f"ssl:0:privateKey={folder}/server.pem", [EchoUpService, ExpiryWatch]),
        ):
            assert [type(each) for each in Daemon(self.reactor, makeService(self, description))] == kinds


def makeService(test: ReactorTestCase, description: str) -> EchoUpService:
    """Return a service whose stop waits ten minutes for its connections."""
    service = EchoUpService(
        test.reactor, Plan(listeners=(parseListener(description),), limits=Limits(), drainTimeout=600)
    )
    test.addCleanup(service._forgetPorts)
    return service
