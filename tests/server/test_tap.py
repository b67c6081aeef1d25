"""The service that the options of `twistd echoup` describe."""

import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from twisted.application.service import Application, IServiceMaker
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import FileLogObserver, ILogObserver, capturedLogs, formatEvent, textFileLogObserver
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.python.usage import Options as ParentOptions
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from echoup.server import tap
from echoup.server.daemon import Daemon
from echoup.server.log.jsonlog import formatJSON
from echoup.server.platform.twistedports import fileOf
from echoup.server.service import EchoUpService
from echoup.server.workers.supervisor import WorkersService
from tests.support.certificates import writeCertificates
from tests.support.descriptors import keepsDescriptors
from tests.support.doubles import ReactorTestCase, raised
from tests.support.tlspeer import TLSPeer
from twisted import internet
from twisted.plugins.echoup_plugin import echoup


class MakeServiceTests(ReactorTestCase):
    """`makeService` makes what the options describe."""

    def setUp(self) -> None:
        """Make the reactor the installed one."""
        super().setUp()
        self.patch(internet, "reactor", self.reactor)
        self.patch(os, "environ", {})

    def make(self, *arguments: str) -> EchoUpService:
        """Return the echo service inside the daemon."""
        options = tap.Options()
        options.parseOptions(arguments)
        daemon = tap.makeService(options)
        assert isinstance(daemon, Daemon)
        (service,) = [each for each in daemon if isinstance(each, EchoUpService)]
        self.addCleanup(service._forgetPorts)
        return service

    def test_notStarted(self) -> None:
        """A service that isn't started has opened nothing."""
        before = self.reactor.getReaders()
        self.make("--listen=127.0.0.1:0")
        assert self.reactor.getReaders() == before
        assert self.reactor.getDelayedCalls() == []

    def test_optionsAreUsed(self) -> None:
        """The service listens, limits, ends, logs and drains as the options say."""
        service = self.make(
            "--listen=127.0.0.1:0",
            "--listen=127.0.0.1:0",
            "--max-connections=3",
            "--max-connections-per-peer=2",
            "--idle-timeout=40",
            "--stall-timeout=20",
            "--drain-timeout=1",
            "--log-connections",
        )
        with capturedLogs() as events:
            service.startService()
            addresses = [(port.getHost().host, port.getHost().port) for port in service.ports]
            assert len(addresses) == 2
            inside = [self.peerAt(address) for address in addresses]
            self.reactor.until(lambda: len(service.connections) == 2)
            assert raised(ConnectionResetError, self.peerAt(addresses[0]).receiveAll)
            self.reactor.advance(41, step=1)
            assert [peer.receiveAll() for peer in inside] == [b"", b""]
            assert len(service.connections) == 2
            self.reactor.advance(25, step=1)
            assert len(service.connections) == 0
            self.peerAt(addresses[1]).offer(b"x")
            stopped = service.stopService()
            self.reactor.advance(1.1)
            self.successResultOf(stopped)
        said = [str(formatEvent(event)) for event in events]
        assert sum("reason=idle" in line for line in said) == 2
        assert sum("reason=stopping" in line for line in said) == 1

    def test_arrivalOptionsAreUsed(self) -> None:
        """The service takes headers from proxies, speaks TLS, and waits for both as long as the options say."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        service = self.make(
            f"--listen=ssl:0:privateKey={folder}/server.pem:interface=127.0.0.1",
            f"--tls-client-ca={folder}/ca.pem",
            "--proxy-from=127.0.0.0/8",
            "--handshake-timeout=2",
        )
        service.startService()
        host = service.ports[0].getHost()
        peer = self.peerAt((host.host, host.port))
        peer.offer(b"PROXY TCP4 192.0.2.7 198.51.100.2 40000 443\r\n")
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        context.load_cert_chain(folder / "client.pem")
        client = TLSPeer(peer, context)
        client.shakeHands()
        client.offer(b"hello")
        assert client.receive(5) == b"HELLO"
        assert [connection.source for connection in service.connections] == ["192.0.2.7"]
        self.peerAt((host.host, host.port))
        self.reactor.until(lambda: len(service.connections) == 2)
        self.reactor.advance(1.9)
        assert len(service.connections) == 2
        self.reactor.advance(0.1)
        assert len(service.connections) == 1

    def test_udpRateIsKept(self) -> None:
        """From one address the service answers two seconds' worth of `--udp-rate` at once, and everything without."""
        for rate, answered in (("1", 2), ("0", 10)):
            service = self.make("--listen=127.0.0.1:0", "--udp=127.0.0.1:0", f"--udp-rate={rate}")
            service.startService()
            host = service.ports[1].getHost()
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.connect((host.host, host.port))
                client.setblocking(False)
                for i in range(10):
                    client.send(b"a%d" % i)
                self.reactor.turn()
                assert [client.recv(2) for _ in range(answered)] == [b"A%d" % i for i in range(answered)]
                assert raised(BlockingIOError, client.recv, 2)

    def test_workersHaveAParent(self) -> None:
        """With several workers the service is their parent, which has opened nothing before its start."""
        options = tap.Options()
        options.parseOptions(["--listen=127.0.0.1:0", "--workers=2"])
        with keepsDescriptors():
            daemon = cast("Daemon", tap.makeService(options))
        assert [each for each in daemon if isinstance(each, WorkersService)]

    def test_maximumIsKept(self) -> None:
        """The service has no more connections than the options say."""
        service = self.make("--listen=127.0.0.1:0", "--max-connections=2")
        service.startService()
        host = service.ports[0].getHost()
        for _ in range(4):
            self.peerAt((host.host, host.port))
        self.reactor.until(lambda: len(service.connections) == 2)
        self.reactor.turn()
        assert len(service.connections) == 2

    def test_selectReactorLowersTheMaximum(self) -> None:
        """On the select reactor a maximum that select can't keep is told, after the settings in force."""
        reactor = SelectReactor()
        for reader in reactor._internalReaders:
            self.addCleanup(reader.connectionLost, Failure(CONNECTION_DONE))
        self.patch(internet, "reactor", reactor)
        with capturedLogs() as events:
            self.make("--max-connections=0")
            self.make("--max-connections=880")
        said = [str(formatEvent(event)) for event in events]
        assert said.pop(1) == "the select reactor serves at most 880 connections"
        assert ["max-connections=880" in line for line in said] == [True, True]

    def test_settingsAreLogged(self) -> None:
        """One line has all settings that have a value, each a field of the event, and numbers are numbers."""
        folder = Path(self.enterContext(TemporaryDirectory()), "a folder")
        folder.mkdir()
        writeCertificates(folder)
        with capturedLogs() as events:
            files = (f"--tls-cert={folder}/server.pem", f"--tls-client-ca={folder}/ca.pem")
            self.make("--listen=127.0.0.1:0", "--listen=tls:0", *files, "--idle-timeout=1.5")
        (event,) = events
        inLog = str(folder).replace(" ", r"\x20")
        assert formatEvent(event) == (
            f"settings: listen=127.0.0.1:0,tls:0 tls-cert={inLog}/server.pem tls-client-ca={inLog}/ca.pem "
            "udp-rate=5000 max-connections=1024 "
            "max-connections-per-peer=0 idle-timeout=1.5 stall-timeout=60 handshake-timeout=5 ready-delay=0 "
            "drain-timeout=10 workers=1 log-connections=no log-format=text"
        )
        assert (event["max-connections"], event["idle-timeout"], event["drain-timeout"]) == (1024, 1.5, 10)
        assert (event["listen"], event["log-connections"]) == ("127.0.0.1:0,tls:0", "no")

    def test_statusOptionsAreInThePlan(self) -> None:
        """The options of the status site and of the log are in the plan, whose settings are logged."""
        with capturedLogs() as events:
            self.make(
                "--status=0", "--status-host=a.example", "--status-host=::1", "--ready-delay=2", "--log-format=json"
            )
        (said,) = [str(formatEvent(event)) for event in events]
        assert " status=127.0.0.1:0 status-host=a.example,::1 " in said
        assert " ready-delay=2 " in said
        assert said.endswith(" log-format=json")

    def test_unknownVariableIsLogged(self) -> None:
        """A variable that begins like ours, and is no setting, costs a line."""
        os.environ["ECHOUP_REPLICA"] = "3"
        with capturedLogs() as events:
            self.make("--listen=127.0.0.1:0")
        said = [formatEvent(event) for event in events]
        assert "ECHOUP_REPLICA is not a setting; it is ignored" in said


class JSONTests(ReactorTestCase):
    """With `--log-format json`, twistd and twist log flat objects."""

    def setUp(self) -> None:
        """Make the reactor the installed one."""
        super().setUp()
        self.patch(internet, "reactor", self.reactor)
        self.patch(os, "environ", {"ECHOUP_LOG_FORMAT": "json"})

    def observer(self, **given: object) -> object:
        """Return the observer of the application that twistd makes with its options `given`; None if it has none."""
        options = tap.Options()
        options.parent = ParentOptions()
        options.parent.update({"nodaemon": True, **given})
        options.parseOptions(["--listen=127.0.0.1:0"])
        tap.makeService(options).setServiceParent(application := Application("echoup"))
        return application.getComponent(ILogObserver, None)

    def test_stdoutIsJSON(self) -> None:
        """Twistd gets an observer for stdout, and its lines are flat objects."""
        observer = self.observer()
        assert isinstance(observer, FileLogObserver)
        assert fileOf(observer) is sys.stdout
        assert observer.formatEvent is formatJSON

    def test_logFileIsJSON(self) -> None:
        """With `--logfile` the observer's file is twistd's own, which SIGUSR1 rotates."""
        handlers: dict[int, Callable[[int, None], None]] = {}
        self.patch(signal, "getsignal", lambda _: signal.SIG_DFL)
        self.patch(signal, "signal", handlers.__setitem__)
        with TemporaryDirectory() as folder:
            observer = self.observer(logfile=f"{folder}/log")
            assert isinstance(observer, FileLogObserver)
            file = fileOf(observer)
            assert isinstance(file, LogFile)
            self.addCleanup(file.close)
            observer({"log_time": 0.0, "log_format": "hello", "log_namespace": "test"})
            assert json.loads(Path(file.path).read_text())["message"] == "hello"
            handlers[signal.SIGUSR1](signal.SIGUSR1, None)
            self.reactor.turn()
            assert Path(folder, "log.1").exists()

    def test_loggerOfTheUserStays(self) -> None:
        """With `twistd --logger` there is no observer of ours."""
        assert self.observer(logger=lambda: None) is None

    def test_textIsTwistds(self) -> None:
        """With `--log-format text` there is none either."""
        os.environ.clear()
        assert self.observer() is None

    def test_twistLogsJSON(self) -> None:
        """Twist makes its observer with the same format."""
        options = tap.Options()
        options.parent = ParentOptions()
        options.parent["fileLogObserverFactory"] = textFileLogObserver
        options.parseOptions(["--listen=127.0.0.1:0"])
        assert isinstance(tap.makeService(options), Daemon)
        observer = options.parent["fileLogObserverFactory"](file := StringIO())
        assert (fileOf(observer), observer.formatEvent) == (file, formatJSON)


class PluginTests(SynchronousTestCase):
    """`twistd echoup` is a plugin."""

    def test_pluginInterfaces(self) -> None:
        """The plugin provides the interfaces of one that makes a service."""
        verifyObject(IServiceMaker, echoup)
        verifyObject(IPlugin, echoup)

    def test_pluginNames(self) -> None:
        """The plugin is called echoup, and finds the options and the service."""
        assert echoup.tapname == "echoup"
        assert echoup.options is tap.Options
        assert echoup.makeService is tap.makeService
