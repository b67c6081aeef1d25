"""Ports: what they accept, what they leave to the kernel, and how their connections describe themselves."""

import gc
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IListeningPort, ISystemHandle
from zope.interface.verify import verifyObject

from echoup.reactor.ports import ServerStream
from tests.support.descriptors import keepsDescriptors, openDescriptors
from tests.support.recorders import Recorder, ServerOf
from tests.support.sockets import longestQueue
from tests.support.uvlooptests import FAMILIES, KINDS, UvloopTestCase, connected, onReactor, receive


class PortTests(UvloopTestCase):
    """Ports, and the connections that they accept."""

    @onReactor
    async def test_providesListeningPort(self) -> None:
        """A port provides IListeningPort, and doesn't provide ISystemHandle."""
        for kind in KINDS:
            port, _ = self.listen(kind)
            assert verifyObject(IListeningPort, port)
            assert not ISystemHandle.providedBy(port)

    @onReactor
    async def test_pausedPortLeavesConnectionsToTheKernel(self) -> None:
        """A connection to a port that doesn't read waits in the kernel's queue, and is accepted when it reads again."""
        for kind in KINDS:
            port, connect = self.listen(kind)
            port.stopReading()
            port.stopReading()
            peers = [connect() for _ in range(20)]
            await self.turns()
            assert port.factory.built == []
            port.startReading()
            port.startReading()
            for peer in peers:
                peer.sendall(b"x")
            await self.accepted(port, 20)
            for recorder in port.factory.built:
                await recorder.received(b"x")
            for peer in peers:
                peer.close()

    @onReactor
    async def test_queueKeepsItsLength(self) -> None:
        """The kernel's queue has the requested length, even after a pause."""
        port, _ = self.listen("tcp4", backlog=7)
        for _ in range(3):
            assert longestQueue(port.socket) == 7
            port.stopReading()
            port.startReading()

    @onReactor
    async def test_stoppedPortRefuses(self) -> None:
        """A stopped port refuses, its connections continue, and its file is removed."""
        for kind in KINDS:
            port, connect = self.listen(kind)
            address = port.getHost()
            with connect() as peer:
                await self.accepted(port)
                (recorder,) = port.factory.built
                await port.stopListening()
                with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                    connect()
                peer.sendall(b"still")
                await recorder.event("data")
                if kind == "unix":
                    assert not Path(os.fsdecode(address.name)).exists()

    @onReactor
    async def test_readingPortIsAReader(self) -> None:
        """A port and its connections count as readers of the reactor while they read."""
        port, connect = self.listen("tcp4")
        assert port in self.reactor.getReaders()
        with connect():
            await self.accepted(port)
            (recorder,) = port.factory.built
            assert recorder.transport in self.reactor.getReaders()
            recorder.transport.pauseProducing()
            assert recorder.transport not in self.reactor.getReaders()
        port.stopReading()
        assert port not in self.reactor.getReaders()
        await port.stopListening()

    @onReactor
    async def test_portIsRemovedAndAdded(self) -> None:
        """A port that is removed from the readers accepts nothing until it is added, and then each connection once."""
        for kind in KINDS:
            port, connect = self.listen(kind)
            for _ in range(2):
                self.reactor.removeReader(port)
            with connect() as peer:
                await self.turns()
                assert (port.factory.built, port in self.reactor.getReaders()) == ([], False)
                for _ in range(2):
                    self.reactor.addReader(port)
                assert self.reactor.getReaders().count(port) == 1
                await self.accepted(port)
                peer.sendall(b"x")
                (recorder,) = port.factory.built
                await recorder.received(b"x")
                assert isinstance(recorder.transport, ServerStream)
            await port.stopListening()

    @onReactor
    async def test_streamIsRemovedAndAdded(self) -> None:
        """A stream that is removed from the readers reads nothing until it is added; as a writer it does nothing."""
        for kind in KINDS:
            recorder = Recorder()
            peer = self.pair(kind, recorder)
            await recorder.event("made")
            self.reactor.removeReader(recorder.transport)
            peer.sendall(b"later")
            await self.turns()
            assert (recorder.data, recorder.transport in self.reactor.getReaders()) == (b"", False)
            self.reactor.addReader(recorder.transport)
            await recorder.received(b"later")
            self.reactor.addWriter(recorder.transport)
            self.reactor.removeWriter(recorder.transport)
            recorder.transport.write(b"answer")
            assert await self.inThread(receive, peer, 6) == b"answer"
            peer.close()
            await recorder.event("lost")

    @onReactor
    async def test_acceptsHundredsAtOnce(self) -> None:
        """A port accepts hundreds of simultaneous connections, and numbers them in order."""
        port, connect = self.listen("tcp4", backlog=512)
        peers = [connect() for _ in range(300)]
        await self.accepted(port, 300)
        assert sorted(recorder.transport.sessionno for recorder in port.factory.built) == list(range(300))
        for peer in peers:
            peer.close()

    @onReactor
    async def test_noDescriptorLeaks(self) -> None:
        """A thousand connections, ended in all ways, leave no descriptor open."""
        port, connect = self.listen("tcp4")
        await self.inThread(os.getpid)
        with keepsDescriptors() as before:
            for number in range(1000):
                recorder = Recorder()
                port.factory.ready.append(recorder)
                peer = connect()
                await recorder.event("made")
                recorder.transport.getHandle()
                if number % 3 == 0:
                    recorder.transport.loseConnection()
                elif number % 3 == 1:
                    recorder.transport.abortConnection()
                else:
                    peer.close()
                await recorder.event("lost")
                peer.close()
            await self.eventually(lambda: openDescriptors() == before)

    @onReactor
    async def test_handleIsTheSocket(self) -> None:
        """The handle is the connection's socket, and is closed when the connection is lost."""
        for kind in KINDS:
            recorder = Recorder()
            peer = self.pair(kind, recorder)
            await recorder.event("made")
            stream: Any = recorder.transport
            handle = stream.getHandle()
            assert handle is stream.getHandle()
            assert (handle.family, handle.type) == (FAMILIES[kind], socket.SOCK_STREAM)
            assert handle.fileno() == stream.fileno() > 0
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
            assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2**17
            for flag in (True, False):
                stream.setTcpKeepAlive(flag)
                stream.setTcpNoDelay(flag)
                assert (stream.getTcpKeepAlive(), stream.getTcpNoDelay()) == (flag, flag and kind != "unix")
            peer.close()
            await recorder.event("lost")
            assert (handle.fileno(), stream.fileno()) == (-1, -1)
            with open(os.devnull) as another:  # noqa: PTH123  # may get the number that the handle had
                del handle
                gc.collect()
                assert os.fstat(another.fileno())

    @onReactor
    async def test_addressesOfBothEnds(self) -> None:
        """Both ends have Twisted's addresses."""
        for kind in KINDS:
            recorder = Recorder()
            port, connect = self.listen(kind, recorder)
            with connect() as peer:
                await recorder.event("made")
                assert recorder.transport.getHost() == port.getHost()
                client = recorder.transport.getPeer()
                if kind == "unix":
                    assert client == UNIXAddress(None)
                else:
                    address = {"tcp4": IPv4Address, "tcp6": IPv6Address}[kind]
                    assert client == address("TCP", *peer.getsockname())
            await recorder.event("lost")
            assert recorder.transport.getPeer() == client

    @onReactor
    async def test_linkLocalAddressNamesItsInterface(self) -> None:
        """A link-local address names its interface."""
        lines = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
        links = [(line[0], int(line[1], 16), line[5]) for line in lines if line[0].startswith("fe80")]
        if not links:
            self.skipTest("no interface has a link-local address")
        digits, index, interface = links[0]
        host = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
        server = Recorder()
        port = self.reactor.listenTCP(0, ServerOf(server), interface=f"{host}%{interface}")
        with connected(socket.AF_INET6, (host, port.getHost().port, 0, index)):
            await server.event("made")
            for address in (server.transport.getHost(), server.transport.getPeer()):
                assert (address.host, address.scopeID) == (f"{host}%{interface}", index)

    @onReactor
    async def test_namesOfAConnection(self) -> None:
        """A connection's repr and log prefix name its protocol, number, port and peer, even after the loss."""
        recorder = Recorder()
        port, connect = self.listen("tcp4", recorder)
        with connect():
            await recorder.event("made")
            stream: Any = recorder.transport
            assert (repr(stream), stream.logPrefix()) == (
                f"<Recorder #0 on {port.getHost().port}>",
                "Recorder,0,127.0.0.1",
            )
        await recorder.event("lost")
        await self.turns()
        assert (repr(stream), stream.logPrefix()) == (f"<- #0 on {port.getHost().port}>", "-,0,127.0.0.1")

    @onReactor
    async def test_namesOfAUnixConnection(self) -> None:
        """The repr and the log prefix of a connection to a Unix socket name its path, which is the port's."""
        recorder = Recorder()
        port, connect = self.listen("unix", recorder)
        path = os.fsdecode(port.getHost().name)
        with connect():
            await recorder.event("made")
            stream: Any = recorder.transport
            assert (repr(stream), stream.logPrefix()) == (f"<Recorder #0 on {path}>", f"Recorder,0,{path}")
