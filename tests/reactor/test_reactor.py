"""The reactor: how it starts and stops, and what it has in addition to streams."""

import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from OpenSSL import SSL
from trustme import CA
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorProcess,
    IReactorSocket,
    IReactorSSL,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
    IReactorUNIX,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.ssl import CertificateOptions, DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.protocols import tls
from zope.interface.verify import verifyObject

from echoup.reactor.interfaces import IStreamReactor
from echoup.reactor.uvloopreactor import UvloopReactor
from tests.support.recorders import Recorder, ServerOf
from tests.support.uvlooptests import KINDS, UvloopTestCase, connected, onReactor, receive

BEGINNING = """
import signal, os, sys
from echoup.reactor.uvloopreactor import install
install()
from twisted.internet import reactor
from twisted.internet.protocol import ProcessProtocol, Protocol, Factory
"""


def runProgram(text: str) -> str:
    """Run a program that installs the reactor; return what it prints."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGINNING + text],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


class ReactorTests(UvloopTestCase):
    """What the reactor provides."""

    def test_providesReactorInterfaces(self) -> None:
        """The reactor provides what Twisted's reactors provide, and what its streams need."""
        for interface in (
            IReactorCore,
            IReactorFDSet,
            IReactorProcess,
            IReactorSocket,
            IReactorSSL,
            IReactorTCP,
            IReactorThreads,
            IReactorTime,
            IReactorUDP,
            IReactorUNIX,
            IStreamReactor,
        ):
            assert verifyObject(interface, self.reactor)

    @onReactor
    async def test_callFromThreadRunsInTheReactor(self) -> None:
        """A call from another thread runs in the reactor's."""
        threads: list[threading.Thread] = []
        await self.inThread(lambda: self.reactor.callFromThread(lambda: threads.append(threading.current_thread())))
        await self.eventually(lambda: bool(threads))
        assert threads == [threading.current_thread()]

    @onReactor
    async def test_loopSleepsBeforeAShortDelay(self) -> None:
        """The loop turns at most three times for a call, whatever part of a millisecond its delay has."""
        turn = Mock(wraps=self.reactor.runUntilCurrent)
        self.patch(self.reactor, "runUntilCurrent", turn)
        delays = [0.0004, 0.0009, 0.0014, 0.0104] * 10
        for delay in delays:
            begun = self.reactor.seconds()
            await deferLater(self.reactor, delay)
            assert self.reactor.seconds() >= begun + delay
        assert turn.call_count <= 3 * len(delays)

    @onReactor
    async def test_datagramsAreExchanged(self) -> None:
        """UDP is Twisted's, on uvloop's loop."""

        class Echo(DatagramProtocol):
            transport: Any

            def datagramReceived(self, datagram: bytes, addr: Any) -> None:
                self.transport.write(datagram, addr)

        class Hearing(DatagramProtocol):
            transport: Any
            heard = b""

            def datagramReceived(self, datagram: bytes, addr: Any) -> None:
                self.heard += datagram

        port = self.reactor.listenUDP(0, Echo(), interface="127.0.0.1")
        hearing = Hearing()
        self.reactor.listenUDP(0, hearing, interface="127.0.0.1")
        hearing.transport.write(b"hello", ("127.0.0.1", port.getHost().port))
        while not hearing.heard:
            await self.turns()
        assert hearing.heard == b"hello"

    @onReactor
    async def test_callbackErrorIsLogged(self) -> None:
        """An error in one of uvloop's callbacks is logged by Twisted's logger."""
        self.reactor._asyncioEventloop.call_soon(lambda: 1 // 0)
        self.reactor._asyncioEventloop.call_exception_handler({"message": "without an exception"})
        await self.turns()
        (logged,) = self.flushLoggedErrors()
        assert logged.check(ZeroDivisionError)

    def test_stopClosesEverything(self) -> None:
        """The reactor's stop ends all connections, read or paused, and closes all ports."""
        recorders: list[Recorder] = []
        ports: list[Any] = []

        async def begin() -> None:
            for kind in KINDS:
                for pause in (True, False):
                    server, client = Recorder(), Recorder()
                    port, _ = self.listen(kind, server)
                    self.connect(port, client)
                    await server.event("made")
                    await client.event("made")
                    if pause:
                        server.transport.pauseProducing()
                        client.transport.pauseProducing()
                    ports.append(port)
                    recorders.extend([server, client])

        self.complete(begin())
        assert [recorder.events for recorder in recorders] == [["made", "lost"]] * 12
        assert all(recorder.reason.check(ConnectionLost) for recorder in recorders)
        assert [port.connected for port in ports] == [False] * 6
        assert not any(Path(port._bindPath.decode()).exists() for port in ports if hasattr(port, "_bindPath"))

    def test_stopEndsAClientThatHasNotBegun(self) -> None:
        """A client that has connected but has no protocol when the reactor stops is told of the end."""
        client = Recorder()
        heard: list[BaseException] = []

        async def connect() -> None:
            port, _ = self.listen("tcp4")
            connector, factory = self.connect(port, client)
            factory.lost.addCallback(heard.append)
            while connector.state == "connecting":
                await self.turns(0)

        self.complete(connect())
        (reason,) = heard
        assert isinstance(reason, ConnectionLost)
        assert client.events in ([], ["made", "lost"])

    @onReactor
    async def test_removeAllStopsReading(self) -> None:
        """The call stops all readers and returns them, once."""
        server = Recorder()
        port, connect = self.listen("tcp4", server)
        with connect() as peer:
            await server.event("made")
            removed = set(self.reactor.removeAll())
            assert {port, server.transport} <= removed
            assert not {port, server.transport} & set(self.reactor.removeAll())
            peer.sendall(b"not read")
            await self.turns()
            assert server.data == b""
            server.transport.abortConnection()
            port.connectionLost(None)
            await server.event("lost")
        self.reactor.installWaker()


class TLSTests(UvloopTestCase):
    """TLS is Twisted's."""

    def setUp(self) -> None:
        """Make a certificate."""
        super().setUp()
        self.patch(tls, "_get_default_clock", lambda: self.reactor)
        folder = Path(self.path()).parent
        certificate = CA().issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "pem")
        self.pem = str(folder / "pem")

    @onReactor
    async def test_startTLSAtAnyTime(self) -> None:
        """Both ends start TLS after clear text, with a producer registered, and close it after all is sent."""
        for kind in KINDS:
            server, client = Recorder(), Recorder()
            port, _ = self.listen(kind, server)
            self.connect(port, client)
            await server.event("made")
            await client.event("made")
            client.transport.write(b"clear")
            await server.event("data")
            server.transport.registerProducer(client.transport, True)
            server.transport.startTLS(DefaultOpenSSLContextFactory(self.pem, self.pem, SSL.TLS_METHOD))
            server.transport.unregisterProducer()
            client.transport.startTLS(CertificateOptions())
            client.transport.writeSequence([b" and ", b"secret"])
            await server.received(b"clear and secret")
            server.transport.write(b"x" * 2**20)
            server.transport.loseConnection()
            await client.event("lost")
            await server.event("lost")
            assert len(client.data) == 2**20
            server.transport.write(b"late")
            server.transport.loseConnection()

    @onReactor
    async def test_listenSSLServesPythonsClient(self) -> None:
        """A TLS port serves the TLS client of Python's ssl."""
        server = Recorder(lambda recorder: recorder.transport.write(b"hello"))
        port = self.reactor.listenSSL(
            0,
            ServerOf(server),
            DefaultOpenSSLContextFactory(self.pem, self.pem, SSL.TLS_METHOD),
            interface="127.0.0.1",
        )
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

        def talk() -> bytes:
            with context.wrap_socket(connected(socket.AF_INET, ("127.0.0.1", port.getHost().port))) as peer:
                data = receive(peer, 5)
                peer.sendall(b"bye")
                return data

        assert await self.inThread(talk) == b"hello"
        await server.event("lost")
        assert server.data == b"bye"


class ProcessTests(UvloopTestCase):
    """What the reactor does in a process of its own."""

    def test_installMakesItTheReactor(self) -> None:
        """The reactor of a program is the one that `install` makes."""
        assert runProgram("reactor.callWhenRunning(reactor.stop); reactor.run(); print(type(reactor).__name__)") == (
            "UvloopReactor\n"
        )
        assert UvloopReactor.__name__ == "UvloopReactor"

    def test_signalsStopIt(self) -> None:
        """SIGTERM and SIGINT stop it in an orderly way."""
        for name in ("SIGTERM", "SIGINT"):
            text = f"""
reactor.addSystemEventTrigger("before", "shutdown", print, "stopping")
reactor.callWhenRunning(os.kill, os.getpid(), signal.{name})
reactor.run()
print(reactor._exitSignal)
"""
            assert runProgram(text) == f"stopping\n{int(getattr(signal, name))}\n"

    def test_childProcessesAreReaped(self) -> None:
        """It collects the output and exit codes of ten simultaneous child processes."""
        text = """
ended = []
class Child(ProcessProtocol):
    printed = b""
    def outReceived(self, data):
        self.printed += data
    def processEnded(self, reason):
        ended.append((self.printed, reason.value.exitCode))
        if len(ended) == 10:
            reactor.stop()
def spawn():
    for number in range(10):
        reactor.spawnProcess(Child(), "/bin/sh", ["sh", "-c", f"echo {number}; exit {number}"])
reactor.callWhenRunning(spawn)
reactor.run()
print(sorted(ended) == [(b"%d\\n" % number, number or None) for number in range(10)] or ended)
"""
        printed = runProgram(text.replace("number or None", "number"))
        assert printed == "True\n"
