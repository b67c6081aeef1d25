"""UDP ports: exact answers from the address that was asked, and a limit to each turn."""

import contextlib  # trial would take a global `suppress` for its own
import socket
from errno import EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path
from struct import pack
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort, ISystemHandle
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from echoup.server.datagram import port as datagramport
from echoup.server.datagram.port import (
    BYTES_PER_TURN,
    DATAGRAMS_PER_TURN,
    RECEIVE_BUFFER,
    DatagramListener,
    DatagramPort,
    parseDatagramListener,
)
from echoup.server.datagram.protocol import EchoUpDatagram, IDatagramTransport
from echoup.server.datagram.reflection import RETURN, ReflectionGuard
from echoup.server.datagram.returnpath import DatagramRefusal, ReturnPath
from echoup.server.listening.sockets import closePort
from tests.support.addresses import NO_OWN_ADDRESSES, OWN_ADDRESSES
from tests.support.chance import randomBytes
from tests.support.datagrams import mark, receiveMarked
from tests.support.doubles import ReactorTestCase, raised
from tests.support.properties import given, st
from tests.support.sockets import leave

TEXTS = st.text(st.characters()) | st.text("[]:.*%=\\0189af/ \n", max_size=20)


class DatagramRecorder(DatagramProtocol):
    """Records what it receives, and sends it back unchanged if `isAnswering`."""

    noisy = False
    transport: DatagramPort

    def __init__(self, isAnswering: bool = False) -> None:
        self.isAnswering = isAnswering
        self.received: list[bytes] = []
        self.paths: list[ReturnPath] = []

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """Record it."""
        self.received.append(data)
        self.paths.append(addr)
        if self.isAnswering:
            self.transport.answer(data, addr)


class PortTestCase(ReactorTestCase):
    """A test of UDP ports and their clients."""

    def setUp(self) -> None:
        """Make a guard."""
        super().setUp()
        self.guard = ReflectionGuard(self.reactor, 5000)
        self.addCleanup(self.guard.stop)

    def listen(self, description: str, protocol: DatagramProtocol | None = None) -> list[DatagramPort]:
        """Return the ports that listen on what is described."""
        listener = parseDatagramListener(description)
        return list(listener.open(self.reactor, lambda: protocol or EchoUpDatagram(self.guard)))

    def client(self, bound: str = "") -> socket.socket:
        """Return a client's socket, which doesn't block.

        Its port isn't the number of one of ours, which the kernel may choose again at another address.
        """
        while True:
            client = socket.socket(socket.AF_INET6 if ":" in bound else socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(client.close)
            client.setblocking(False)
            client.bind((bound, 0))
            if client.getsockname()[1] not in self.guard.ports:
                return client

    def ask(self, client: socket.socket, data: bytes, address: tuple[str, int]) -> tuple[bytes, tuple[str, int]]:
        """Return the answer of `address` to `data`, and the address that it comes from."""
        client.sendto(data, address)
        answers: list[tuple[bytes, Any]] = []

        def answered() -> bool:
            try:
                answers.append(client.recvfrom(65_536))
            except BlockingIOError:
                return False
            return True

        self.reactor.until(answered)
        ((answer, sender),) = answers
        return answer, sender[:2]


class SilenceTests(PortTestCase):
    """A port writes nothing into the log by itself."""

    def test_openingAndClosing(self) -> None:
        """Twisted's lines about a port that opens or closes are not logged."""
        with capturedLogs() as events:
            for port in self.listen("0"):
                closePort(port)
        assert events == []


class ExactTests(PortTestCase):
    """Every datagram comes back in upper case, from the address that was asked."""

    def test_everySizeIsAnswered(self) -> None:
        """Every size is answered, up to the largest that IPv4 and IPv6 have."""
        for host, largest in (("127.0.0.1", 65_507), ("::1", 65_527)):
            (port,) = self.listen(f"[{host}]:0" if ":" in host else f"{host}:0")
            address = (host, port.getHost().port)
            client = self.client(host)
            for size in (0, 1, 1400, 8191, 8192, 8193, 65_507, largest):
                data = randomBytes(size)
                assert self.ask(client, data, address) == (data.upper(), address), (host, size)
                self.reactor.advance(RETURN)

    @given(st.binary(max_size=2000))
    def test_anyBytesAreAnswered(self, data: bytes) -> None:
        """Any bytes come back in upper case."""
        (port,) = self.listen("127.0.0.1:0")
        address = ("127.0.0.1", port.getHost().port)
        assert self.ask(self.client(), data, address) == (data.upper(), address)

    def test_answerComesFromTheAskedAddress(self) -> None:
        """The answer comes from the address that was asked, whether the port has one address or many."""
        number = 0
        for description, host in (
            ("127.0.0.2:0", "127.0.0.2"),
            ("0", "127.0.0.1"),
            ("0", "127.0.0.2"),
            ("0.0.0.0:0", "127.3.2.1"),
            ("[::]:0", "::1"),
        ):
            for port in self.listen(description):
                if (":" in port.getHost().host) == (":" in host):
                    number = port.getHost().port
            client = self.client("::1" if ":" in host else "127.0.0.1")
            assert self.ask(client, b"hello", (host, number)) == (b"HELLO", (host, number))

    def test_answerHasTheTOSThatArrived(self) -> None:
        """The answer has the DSCP and the ECN bits with which its datagram came; the next one has its own."""
        for description, host in (("127.0.0.1:0", "127.0.0.1"), ("0", "127.0.0.2"), ("[::1]:0", "::1"), ("*:0", "::1")):
            isV6 = ":" in host
            (port,) = (port for port in self.listen(description) if (":" in port.getHost().host) == isV6)
            client = self.client(host)
            client.connect((host, port.getHost().port))
            for tos in (0x2E << 2, 0, 1, 2, 3, 0xFF, 0x28 | 3, 0):
                mark(client, tos)
                client.send(b"with %d" % tos)
                self.reactor.turn()
                assert receiveMarked(client) == (b"WITH %d" % tos, tos), (description, host)

    def test_kernelTellsTheDestinationBeforeTheTOS(self) -> None:
        """The kernel sends the control messages in this order; the TOS is a byte over IPv4, and an int over IPv6."""
        for host, level, kinds, marked in (
            ("127.0.0.1", socket.IPPROTO_IP, [datagramport.IP_PKTINFO, socket.IP_TOS], b"\xbb"),
            ("::1", socket.IPPROTO_IPV6, [socket.IPV6_PKTINFO, socket.IPV6_TCLASS], pack("@i", 0xBB)),
        ):
            (port,) = self.listen(f"[{host}]:0" if ":" in host else f"{host}:0")
            client = self.client(host)
            for tos, expected in ((0xBB, marked), (0, bytes(len(marked)))):
                mark(client, tos)
                client.sendto(b"hello", (host, port.getHost().port))
                _, ancillary, flags, _ = port.socket.recvmsg(64, datagramport._ANCILLARY)
                assert [message[:2] for message in ancillary] == [(level, kind) for kind in kinds]
                assert (ancillary[1][2], flags) == (expected, 0)

    def test_markedDatagramsDisplaceNoPath(self) -> None:
        """A sender that changes its TOS again and again displaces no path of those that set none."""
        (port,) = self.listen("127.0.0.1:0")
        address = ("127.0.0.1", port.getHost().port)
        self.ask(self.client(), b"hello", address)
        size = datagramport._returnPath.cache_info().currsize
        client = self.client()
        for tos in range(1, 256):
            mark(client, tos)
            assert self.ask(client, b"with %d" % tos, address)[0] == b"WITH %d" % tos
        assert datagramport._returnPath.cache_info().currsize == size
        assert datagramport._markedPath.cache_info().maxsize == datagramport.PATHS

    def test_clientAtOneOfOurPortNumbersGetsNothing(self) -> None:
        """A client at the number of any of our ports gets no answer; another client does."""
        asked, other = self.listen("127.0.0.1:0")[0].getHost(), self.listen("127.0.0.1:0")[0].getHost()
        address = (asked.host, asked.port)
        ourselves = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(ourselves.close)
        ourselves.setblocking(False)
        ourselves.bind(("127.0.0.2", other.port))
        ourselves.sendto(b"hello", address)
        assert self.ask(self.client(), b"hello", address) == (b"HELLO", address)
        assert raised(BlockingIOError, ourselves.recv, 1)

    def test_broadcastAndMulticastGetNothing(self) -> None:
        """A datagram that was sent to more than one host isn't answered."""
        (port,) = self.listen("0.0.0.0:0")
        client = self.client("127.0.0.1")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
        port.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        with capturedLogs() as events:
            for count, host in enumerate(("127.255.255.255", "224.0.0.251"), 1):
                client.sendto(b"hello %d" % count, (host, port.getHost().port))
                self.reactor.until(lambda count=count: len(events) == count)  # type: ignore[misc]
                self.reactor.advance(60, 60)
        assert all("it was sent to more than one host" in (formatEvent(event) or "") for event in events)
        assert raised(BlockingIOError, client.recv, 1)

    def test_portAtABroadcastAddressAnswersNothing(self) -> None:
        """A port that is bound to a broadcast address gets only datagrams to many hosts, and answers none."""
        (port,) = self.listen("127.255.255.255:0")
        client = self.client("127.0.0.1")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.sendto(b"hello", ("127.255.255.255", port.getHost().port))
        with capturedLogs() as events:
            self.reactor.until(lambda: len(events) == 1)
        assert "it was sent to more than one host" in (formatEvent(events[0]) or "")
        assert raised(BlockingIOError, client.recv, 1)


class DatagramPortTests(PortTestCase):
    """`DatagramPort` is a port of Twisted's that limits its turns and survives errors."""

    def one(self, description: str = "127.0.0.1:0", protocol: DatagramProtocol | None = None) -> DatagramPort:
        """Return the one port that is described."""
        (port,) = self.listen(description, protocol)
        return port

    def send(self, port: DatagramPort, *datagrams: bytes) -> None:
        """Let a client send to `port`."""
        client = self.client()
        for data in datagrams:
            client.sendto(data, ("127.0.0.1", port.getHost().port))

    def test_interfacesAreProvided(self) -> None:
        """It provides what Twisted and the protocol expect."""
        port = self.one()
        for interface in (IDatagramTransport, IListeningPort, ISystemHandle):
            assert verifyObject(interface, port)

    def test_hostIsATwistedAddress(self) -> None:
        """`getHost` returns Twisted's addresses."""
        four, six = self.one().getHost(), self.one("[::1]:0").getHost()
        assert four == IPv4Address("UDP", "127.0.0.1", four.port)
        assert six == IPv6Address("UDP", "::1", six.port)

    def test_stopListeningClosesTheSocket(self) -> None:
        """`stopListening` closes the socket, and its Deferred fires then."""
        port = self.one()
        opened = port.getHandle()
        ended = port.stopListening()
        self.reactor.advance(0.1)
        self.successResultOf(ended)
        assert opened.fileno() == -1

    def test_portIsClosedBeforeTheReactorRuns(self) -> None:
        """It can be closed before the reactor runs."""
        port = self.one()
        opened = port.getHandle()
        port.connectionLost(Failure(CONNECTION_DONE))
        assert opened.fileno() == -1
        assert port not in self.reactor.getReaders()

    def test_turnReadsALimitedNumberOfDatagrams(self) -> None:
        """A turn reads DATAGRAMS_PER_TURN, also of empty ones; the next turns read the rest."""
        recorder = DatagramRecorder()
        self.send(self.one(protocol=recorder), *[b""] * (2 * DATAGRAMS_PER_TURN + 1))
        counts = []
        for _ in range(3):
            self.reactor.turn(1)
            counts.append(len(recorder.received))
        assert counts == [DATAGRAMS_PER_TURN, 2 * DATAGRAMS_PER_TURN, 2 * DATAGRAMS_PER_TURN + 1]

    def test_turnReadsALimitedNumberOfBytes(self) -> None:
        """A turn reads nearly BYTES_PER_TURN, and never more."""
        recorder = DatagramRecorder()
        self.send(self.one(protocol=recorder), *[bytes(65_507)] * 10)
        self.reactor.turn(1)
        assert BYTES_PER_TURN - 65_536 < sum(map(len, recorder.received)) <= BYTES_PER_TURN

    def test_datagramsToItselfDoNotKeepItInATurn(self) -> None:
        """Empty datagrams that it sends to itself without end don't keep it in one turn."""
        port = self.one(protocol=(recorder := DatagramRecorder(isAnswering=True)))
        port.answer(b"", ReturnPath(("127.0.0.1", port.getHost().port)))
        self.reactor.turn(3)
        assert 3 <= len(recorder.received) <= 3 * DATAGRAMS_PER_TURN

    def askTwo(self) -> tuple[DatagramPort, socket.socket, DatagramRecorder, list[tuple[str, int]]]:
        """Let a client ask two addresses of one port; return port, client, what the port got, and the addresses."""
        recorder = DatagramRecorder()
        port = self.one("0.0.0.0:0", recorder)
        client = self.client("127.0.0.1")
        asked = [("127.0.0.1", port.getHost().port), ("127.0.0.2", port.getHost().port)]
        for address in asked:
            client.sendto(b"hello", address)
        self.reactor.turn()
        return port, client, recorder, asked

    def test_pathTellsTheAskedAddress(self) -> None:
        """The path of each datagram tells its sender, and the address and port that it was sent to."""
        _, client, recorder, asked = self.askTwo()
        assert [path.sender for path in recorder.paths] == [client.getsockname()] * 2
        assert [path.asked for path in recorder.paths] == asked

    def test_laterAnswersComeFromTheAskedAddress(self) -> None:
        """An answer that is sent when other datagrams have come still comes from the address that was asked."""
        port, client, recorder, asked = self.askTwo()
        for path, address in zip(recorder.paths, asked, strict=True):
            port.answer(b"HELLO", path)
            assert client.recvfrom(10) == (b"HELLO", address)

    def test_sendErrorsAreIgnored(self) -> None:
        """A datagram that can't be sent is lost, and nothing is logged."""
        port = self.one()
        with capturedLogs() as events:
            port.answer(b"to port 0", ReturnPath(("127.0.0.1", 0)))
            port.answer(b"to a broadcast address", ReturnPath(("255.255.255.255", 5000)))
            port.answer(b"to another network", ReturnPath(("::1", 5000)))
            port.answer(bytes(65_508), ReturnPath(("127.0.0.1", 5000)))
        assert events == []

    def test_sendErrorsDoNotStopOtherAnswers(self) -> None:
        """An answer that can't be sent doesn't keep back those after it, nor those of later turns."""

        class Misdirecting(DatagramRecorder):
            def datagramReceived(self, data: bytes, addr: Any) -> None:
                self.transport.answer(data, ReturnPath(("127.0.0.1", 0)))
                self.transport.answer(data, addr)

        port = self.one(protocol=Misdirecting())
        client = self.client("127.0.0.1")
        for turn in (b"1", b"2"):
            for data in (turn + b"a", turn + b"b"):
                client.sendto(data, ("127.0.0.1", port.getHost().port))
            self.reactor.turn()
            assert [client.recv(10), client.recv(10)] == [turn + b"a", turn + b"b"]

    def test_receiveErrorsAreIgnored(self) -> None:
        """An error that the kernel reports instead of a datagram isn't logged."""
        port = self.one()
        gone = self.client("127.0.0.1")
        address = gone.getsockname()
        self.addCleanup(leave(gone).close)
        port.connect(*address)  # only then does the kernel report a closed port
        with capturedLogs() as events:
            port.answer(b"hello", ReturnPath(address))
            port.doRead()
        assert events == []

    def test_protocolErrorsAreLogged(self) -> None:
        """An error of the protocol is logged, and doesn't close the port."""

        class Failing(DatagramRecorder):
            def datagramReceived(self, data: bytes, addr: Any) -> None:
                super().datagramReceived(data, addr)
                raise ZeroDivisionError

        port = self.one(protocol=(failing := Failing()))
        self.send(port, b"one", b"two")
        self.reactor.turn()
        assert failing.received == [b"one", b"two"]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 2

    def test_receiveBufferIsAsLargeAsPermitted(self) -> None:
        """The kernel's buffer has RECEIVE_BUFFER bytes, if that is permitted; the kernel reports twice as many."""
        most = int(Path("/proc/sys/net/core/rmem_max").read_text())
        for number in (datagramport.SO_RCVBUFFORCE, -1):
            self.patch(datagramport, "SO_RCVBUFFORCE", number)
            size = self.one().socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            assert size >= 2 * min(RECEIVE_BUFFER, most)

    def test_onlyLinkLocalAnswersKeepTheInterface(self) -> None:
        """An answer is bound to an interface if the address that was asked is link-local, and only then."""
        for asked, text, interface in (
            ("fe80::1", "fe80::1", 3),
            ("2001:db8::1", "2001:db8::1", 0),
            ("ff02::1", None, 0),
        ):
            info = datagramport._IPV6.pack(socket.inet_pton(socket.AF_INET6, asked), 3)
            origin = datagramport._IPV6.pack(socket.inet_pton(socket.AF_INET6, asked), interface)
            sender = ("2001:db8::7", 5000, 0, 0)
            path = datagramport._returnPath(("::", 8081), sender, info)
            control = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, origin)
            assert path == ReturnPath(sender, (text, 8081) if text else None, (control,))


class CountTests(PortTestCase):
    """Every datagram is counted once: as answered, or as dropped with its reason."""

    def setUp(self) -> None:
        """Listen with one port."""
        super().setUp()
        (self.port,) = self.listen("127.0.0.1:0")
        self.address = ("127.0.0.1", self.port.getHost().port)
        self.counts = self.port.counts

    def dropped(self) -> dict[str, int]:
        """Return the reasons that were counted; check that every datagram is counted once."""
        counts = self.counts
        assert counts.received == counts.answered + sum(counts.dropped.values())
        return {refusal.label: number for refusal, number in counts.dropped.items() if number}

    def test_answeredDatagramsAreCountedWithTheirBytes(self) -> None:
        """Answered datagrams, empty ones too, are counted, and the bytes in both directions."""
        client = self.client()
        for data in (b"hello", b"", b"x" * 1000):
            self.ask(client, data, self.address)
        assert self.dropped() == {}
        assert (self.counts.received, self.counts.receivedBytes) == (3, 1005)
        assert (self.counts.answered, self.counts.sentBytes) == (3, 1005)

    def test_refusedDatagramsAreCountedByReason(self) -> None:
        """A refused datagram counts for its reason, and its bytes as received only."""
        client = self.client()
        self.ask(client, b"HELLO", self.address)
        for _ in range(3):
            client.sendto(b"HELLO", self.address)
        self.reactor.turn()
        assert self.dropped() == {"own_reply": 3}
        assert (self.counts.receivedBytes, self.counts.sentBytes) == (20, 5)

    def test_answersThatTheKernelRefusesAreDropped(self) -> None:
        """An answer that the kernel doesn't take isn't counted as answered, nor are its bytes as sent."""
        client = self.client()
        client.sendto(b"hello", self.address)
        path = ReturnPath(("::1", 5000), self.address)  # not an address of this family
        self.patch(datagramport, "_returnPath", lambda *_: path)
        self.reactor.turn()
        assert self.dropped() == {"unsent": 1}
        assert (self.counts.answered, self.counts.sentBytes) == (0, 0)

    def test_datagramsThatRaiseAnErrorAreDropped(self) -> None:
        """A datagram at which the protocol fails counts as dropped."""
        self.patch(self.guard, "refusalOf", lambda *_: 1 / 0)
        self.client().sendto(b"hello", self.address)
        self.reactor.turn()
        assert self.dropped() == {"unsent": 1}
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    def test_portsOfOneListenerCountTogether(self) -> None:
        """All the ports of a description have the same counts; those of another description have their own."""
        ports = self.listen("*:0")
        self.counts = ports[0].counts
        for host, port in (("127.0.0.1", ports[0]), ("::1", ports[1])):
            self.ask(self.client(host), b"hello", (host, port.getHost().port))
        assert self.dropped() == {}
        assert self.counts.answered == 2
        assert self.port.counts.answered == 0

    def test_labelsAreUnique(self) -> None:
        """Each reason has a short label of its own."""
        labels = [refusal.label for refusal in DatagramRefusal]
        assert labels == ["system_port", "own_port", "no_host", "many_hosts", "rate", "own_reply", "unsent"]


class DatagramListenerTests(PortTestCase):
    """`DatagramListener` listens on every address of a host."""

    def resolveTo(self, *hosts: str) -> None:
        """Let every name resolve to `hosts`."""
        found = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (host, 0)) for host in hosts]
        self.patch(socket, "getaddrinfo", lambda *_, **__: found)

    def failure(self, description: str) -> OSError:
        """Return the error of listening on what is described."""
        error = raised(OSError, self.listen, description)
        assert error is not None
        return error

    def occupyUDP(self) -> int:
        """Return the number of a UDP port that another socket has."""
        return cast("int", self.client("127.0.0.1").getsockname()[1])

    def test_portAloneIsEveryAddress(self) -> None:
        """A port alone means every address, of IPv4 and of IPv6."""
        for description in ("0", "*:0"):
            hosts = [port.getHost().host for port in self.listen(description)]
            assert sorted(hosts) == ["0.0.0.0", "::"]  # noqa: S104  # this is about what it means

    def test_eachPortHasItsProtocol(self) -> None:
        """Each port has a protocol of its own."""
        four, six = self.listen("*:0")
        assert four.protocol is not six.protocol

    def test_takenPortIsAnError(self) -> None:
        """A port that is taken at one of the addresses is an error."""
        assert self.failure(str(self.occupyUDP())).errno == EADDRINUSE

    def test_ipv6LeavesTheNumberToIPv4(self) -> None:
        """A port of IPv6 leaves the same number of IPv4 free."""
        numbers = [self.occupyUDP() for _ in range(10)]
        opened: list[int] = []
        for number in numbers:
            with contextlib.suppress(OSError):  # another process may have one of them for IPv6
                opened += [port.getHost().port for port in self.listen(f"[::]:{number}")]
        assert opened
        assert set(opened) <= set(numbers)

    def test_missingAddressIsSkipped(self) -> None:
        """An address that this machine lacks is skipped if there is another."""
        self.resolveTo("192.0.2.1", "127.0.0.1")
        (port,) = self.listen("host:0")
        assert port.getHost().host == "127.0.0.1"

    def test_onlyMissingAddressesAreAnError(self) -> None:
        """Addresses of which this machine has none are an error."""
        assert self.failure("192.0.2.1:0").errno == EADDRNOTAVAIL

    def test_duplicateAddressIsOpenedOnce(self) -> None:
        """An address that a name has twice is listened on once."""
        self.resolveTo("127.0.0.1", "127.0.0.1")
        assert len(self.listen("host:0")) == 1

    def test_unknownNameIsAnOSError(self) -> None:
        """A name that can't be resolved is an OSError."""
        assert isinstance(self.failure("256.256.256.256:0"), socket.gaierror)


class ParseDatagramListenerTests(SynchronousTestCase):
    """`parseDatagramListener` takes every form, and refuses everything else in one line."""

    def test_formsAreParsed(self) -> None:
        """Each form has its host and its port."""
        for text, (host, port) in OWN_ADDRESSES.items():
            assert parseDatagramListener(text) == DatagramListener(text, host, port)

    def test_mistakesAreNamed(self) -> None:
        """A text that is near to a form is refused with the reason."""
        mistakes = {
            **NO_OWN_ADDRESSES,
            "::1:8081": "'::1:8081' is neither HOST:PORT nor [V6]:PORT",
            "udp:127.0.0.1:8081": "'udp:127.0.0.1:8081' is a UDP address; write --udp 127.0.0.1:8081",
            "udp://127.0.0.1:8081": "'udp://127.0.0.1:8081' is a URL; write --udp 127.0.0.1:8081",
            "tcp:8081": "'tcp:8081' is not a UDP address; write --listen tcp:8081",
            "unix:/run/echoup": "'unix:/run/echoup' is not a UDP address; write --listen unix:/run/echoup",
            "host\n:1": "'host\\n:1' is not an address",
        }
        for text, message in mistakes.items():
            assert message in str(raised(ValueError, parseDatagramListener, text)), text

    @given(st.sampled_from(["", "*:"]), TEXTS)
    def test_anyTextIsParsedOrRefused(self, start: str, rest: str) -> None:
        """Any text either is a listener that describes itself as written, or raises ValueError with one line."""
        if error := raised(ValueError, parseDatagramListener, start + rest):
            assert len(str(error).splitlines()) == 1
        else:
            assert parseDatagramListener(start + rest).description == start + rest
