"""Echo over UDP: the gate, the protocol, and the port that answers from the address that was asked."""

import contextlib  # trial would take a global `suppress` for its own
import socket
from errno import EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path
from random import Random
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort, ISystemHandle
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from echoup.server.datagram import port as datagramport
from echoup.server.datagram import protocol as datagram
from echoup.server.datagram.port import (
    BYTES_PER_TURN,
    DATAGRAMS_PER_TURN,
    RECEIVE_BUFFER,
    DatagramListener,
    DatagramPort,
    parseDatagramListener,
)
from echoup.server.datagram.protocol import (
    ADDRESSES,
    BURST,
    RATE,
    REPLIES,
    RETURN,
    DatagramGate,
    EchoUpDatagram,
    IDatagramTransport,
)
from tests.support.chance import randomBytes
from tests.support.doubles import ReactorTestCase, raised
from tests.support.properties import given, st
from tests.support.sockets import leave

CLIENT = ("198.51.100.7", 40_000)
US = ("192.0.2.1", 8081)
TEXTS = st.text(st.characters()) | st.text("[]:.*%=\\0189af/ \n", max_size=20)


class GateTestCase(SynchronousTestCase):
    """A test of a gate."""

    def setUp(self) -> None:
        """Make a gate whose time is in the test's hands."""
        self.clock = Clock()
        self.gate = DatagramGate(self.clock)
        self.addCleanup(self.gate.stop)

    def admits(self, data: bytes = b"hello", sender: Any = CLIENT, asked: tuple[str, int] | None = US) -> bool:
        """Does the gate admit the datagram?"""
        return self.gate.admits(data, data.upper(), sender, asked)


class DatagramGateTests(GateTestCase):
    """`DatagramGate` admits clients, and nothing by which others could come to harm."""

    def test_client(self) -> None:
        """Whoever may be a client is answered, at IPv4 and at IPv6."""
        for sender in (CLIENT, ("127.0.0.1", 1024), ("2001:db8::7", 65535, 0, 0), ("fe80::1", 5000, 0, 3)):
            assert self.admits(sender=sender), sender

    def test_systemPorts(self) -> None:
        """Behind the ports below 1024 are services that would answer an answer."""
        for port in (0, 7, 19, 53, 1023):
            assert not self.admits(sender=(CLIENT[0], port)), port

    def test_ownPorts(self) -> None:
        """A port of ours, at whatever address, may be ourselves."""
        self.gate.ports.add(CLIENT[1])
        for host in (CLIENT[0], US[0], "2001:db8::7"):
            assert not self.admits(sender=(host, CLIENT[1])), host
        assert self.admits(sender=(CLIENT[0], CLIENT[1] + 1))

    def test_noHost(self) -> None:
        """Behind an address that isn't one host's are many, or none."""
        for host in ("0.0.0.0", "224.0.0.1", "239.255.255.250", "255.255.255.255", "::", "ff02::1"):  # noqa: S104  # a sender
            assert not self.admits(sender=(host, CLIENT[1])), host

    def test_toManyHosts(self) -> None:
        """What was sent to many hosts would be answered by many."""
        assert not self.admits(asked=None)

    def test_burst(self) -> None:
        """One address may send a burst, then so many a second; others have their own."""
        assert sum(self.admits(b"a%d" % i) for i in range(BURST + 100)) == BURST
        self.clock.advance(1)
        other = ("198.51.100.8", CLIENT[1])
        assert sum(self.admits(b"b%d" % i, (CLIENT[0], 1024 + i)) for i in range(BURST)) == RATE
        assert sum(self.admits(b"c%d" % i, other) for i in range(BURST)) == BURST

    @given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 30)), max_size=20))
    def test_rate(self, bursts: list[tuple[float, int]]) -> None:
        """However they come, the address gets its burst and its rate, no more, and no less."""
        self.patch(datagram, "BURST", 20)
        self.patch(datagram, "RATE", 10)
        clock = Clock()
        gate = DatagramGate(clock)
        tokens = 20.0
        for pause, count in bursts:
            clock.advance(pause)
            tokens = min(tokens + pause * 10, 20)
            admitted = sum(gate.admits(b"a", b"A", CLIENT, US) for _ in range(count))
            assert min(count, tokens) - 1.01 < admitted < min(count, tokens) + 0.01
            tokens -= admitted
        gate.stop()

    def test_manyAddresses(self) -> None:
        """Millions of senders that don't exist cost as much memory as some thousands."""
        for i in range(3 * max(ADDRESSES, REPLIES)):
            assert self.admits(sender=(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", 5000))
        assert len(self.gate._rates) == ADDRESSES
        assert len(self.gate._replies) == REPLIES

    def test_busyAddress(self) -> None:
        """An address that is busy isn't forgotten for others that come and go."""
        self.patch(datagram, "BURST", 20)
        self.patch(datagram, "ADDRESSES", 10)
        self.gate = DatagramGate(self.clock)
        admitted = 0
        for i in range(40):
            admitted += self.admits()
            for j in range(9):
                self.admits(sender=(f"10.0.{i}.{j}", 5000))
        assert 19 <= admitted <= 20

    def test_forgets(self) -> None:
        """When a flood is over, the next datagram clears it away."""
        for i in range(1000):
            self.admits(sender=(f"10.0.{i >> 8}.{i & 255}", 5000))
        self.clock.advance(RETURN)
        self.admits()
        assert (len(self.gate._rates), len(self.gate._replies)) == (1, 1)

    def test_log(self) -> None:
        """Refusals are said at once, with the sender and the reason, then once a minute, and in the end."""
        refused = "refused {} datagrams, the last of them from {}: {}".format
        with capturedLogs() as events:
            self.admits(sender=("198.51.100.7", 53))
            assert [formatEvent(event) for event in events] == [refused(1, "198.51.100.7:53", "its port is below 1024")]
            for _ in range(1000):
                self.admits(sender=("2001:db8::7", 5000, 0, 0), asked=None)
            self.clock.advance(60)
            self.admits(sender=("ff02::1", 5000, 0, 0))
            self.gate.stop()
        assert [formatEvent(event) for event in events[1:]] == [
            refused(1000, "[2001:db8::7]:5000", "it was sent to more than one host"),
            refused(1, "[ff02::1]:5000", "its address is not a host's"),
        ]


class ReturningTests(GateTestCase):
    """Our own reply, when it comes back, is known again; little else is taken for it."""

    def test_ownReply(self) -> None:
        """A reply that comes back isn't answered, whatever is in it, also when there is nothing in it."""
        for data in (b"hello", b"HELLO, WORLD", b"", b"0", b"\xe9" * 65_507):
            assert self.admits(data)
            assert not self.admits(data.upper())
            assert not self.admits(data.upper())

    def test_manyInTheAir(self) -> None:
        """Each of many replies is known again, in any order."""
        replies = [b"REPLY %d" % i for i in range(1000)]
        assert all(map(self.admits, replies))
        assert not any(map(self.admits, reversed(replies)))

    def test_lowercase(self) -> None:
        """A client that sends a lowercase letter is answered as often as it repeats itself."""
        assert all(self.admits(b"HELLO, WORLd") for _ in range(100))

    def test_price(self) -> None:
        """A client that repeats itself without a lowercase letter is answered once in a while, and not kept waiting."""
        answered = []
        for _ in range(30):
            answered.append(self.admits(b"HELLO"))
            self.clock.advance(RETURN / 10)
        assert sum(answered) == 3
        assert answered[0]

    def test_others(self) -> None:
        """Another port, another host, another of our addresses or ports and other bytes are another matter."""
        assert self.admits(b"HELLO")
        assert self.admits(b"HELLO", (CLIENT[0], CLIENT[1] + 1))
        assert self.admits(b"HELLO", ("198.51.100.8", CLIENT[1]))
        assert self.admits(b"HELLO", asked=("192.0.2.2", US[1]))
        assert self.admits(b"HELLO", asked=(US[0], US[1] + 1))
        assert self.admits(b"HELLO!")

    def test_later(self) -> None:
        """After a while the same bytes are no reply of ours any more."""
        assert self.admits(b"HELLO")
        self.clock.advance(RETURN)
        assert self.admits(b"HELLO")

    @given(
        st.lists(st.binary(max_size=3) | st.sampled_from([b"a", b"A", b""]), max_size=50), st.booleans(), st.randoms()
    )
    def test_pair(self, spoofed: list[bytes], doubled: bool, random: Random) -> None:
        """Two services answer a spoofed datagram once each, whatever else is in the air, even if each arrives twice."""
        air = [("a", data) for data in spoofed] + [("b", data) for data in spoofed]
        ends = {"a": LinkedTransport(5000, "b", air), "b": LinkedTransport(6000, "a", air)}
        answers = 0
        while air:
            to, data = air.pop(random.randrange(len(air)))
            for _ in range(1 + doubled):
                before = len(air)
                ends[to].protocol.datagramReceived(data, ("192.0.2.9", ends[ends[to].other].port))
                answers += len(air) - before
            assert answers <= 4 * len(spoofed) * (1 + doubled)
        for end in ends.values():
            end.gate.stop()


class LinkedTransport:
    """The transport of one of two services, each of which sends to the other only."""

    asked = US

    def __init__(self, port: int, other: str, air: list[tuple[str, bytes]]) -> None:
        self.port = port
        self.other = other
        self.air = air
        self.gate = DatagramGate(Clock())
        self.protocol = EchoUpDatagram(self.gate)
        self.protocol.makeConnection(cast("IDatagramTransport", self))

    def getHost(self) -> IPv4Address:
        """Where it is."""
        return IPv4Address("UDP", US[0], self.port)

    def write(self, data: bytes, addr: object) -> None:
        """Send to the other."""
        self.air.append((self.other, data))


class DatagramRecorder(DatagramProtocol):
    """Keeps what it is given, and sends it back as it is if asked to."""

    noisy = False
    transport: DatagramPort

    def __init__(self, answer: bool = False) -> None:
        self.answer = answer
        self.received: list[bytes] = []

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """Keep it."""
        self.received.append(data)
        if self.answer:
            self.transport.write(data, addr)


class PortTestCase(ReactorTestCase):
    """A test of UDP ports and their clients."""

    def setUp(self) -> None:
        """Make a gate."""
        super().setUp()
        self.gate = DatagramGate(self.reactor)
        self.addCleanup(self.gate.stop)

    def listen(self, description: str, protocol: DatagramProtocol | None = None) -> list[DatagramPort]:
        """Return the ports that what is described becomes."""
        listener = parseDatagramListener(description)
        return list(listener.listen(self.reactor, lambda: protocol or EchoUpDatagram(self.gate)))

    def client(self, bound: str = "") -> socket.socket:
        """Return a client's socket; it never waits.

        Its port isn't the number of one of ours, which the kernel may give away again at another address.
        """
        while True:
            client = socket.socket(socket.AF_INET6 if ":" in bound else socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(client.close)
            client.setblocking(False)
            client.bind((bound, 0))
            if client.getsockname()[1] not in self.gate.ports:
                return client

    def ask(self, client: socket.socket, data: bytes, address: tuple[str, int]) -> tuple[bytes, tuple[str, int]]:
        """Return the answer to `data` at `address`, and where it comes from."""
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


class ExactTests(PortTestCase):
    """What goes in comes out in upper case, from where it went in."""

    def test_sizes(self) -> None:
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
    def test_anyBytes(self, data: bytes) -> None:
        """Any bytes are answered."""
        (port,) = self.listen("127.0.0.1:0")
        address = ("127.0.0.1", port.getHost().port)
        assert self.ask(self.client(), data, address) == (data.upper(), address)

    def test_askedAddress(self) -> None:
        """Where a port has many addresses, the answer comes from the one that was asked."""
        number = 0
        for description, host in (
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

    def test_refused(self) -> None:
        """A client at the number of one of our ports, whichever, gets nothing; the next one does."""
        asked, other = self.listen("127.0.0.1:0")[0].getHost(), self.listen("127.0.0.1:0")[0].getHost()
        address = (asked.host, asked.port)
        ourselves = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(ourselves.close)
        ourselves.setblocking(False)
        ourselves.bind(("127.0.0.2", other.port))
        ourselves.sendto(b"hello", address)
        assert self.ask(self.client(), b"hello", address) == (b"HELLO", address)
        assert raised(BlockingIOError, ourselves.recv, 1)

    def test_broadcast(self) -> None:
        """What was sent to more hosts than us is not answered."""
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


class DatagramPortTests(PortTestCase):
    """`DatagramPort` is one of Twisted's ports, which takes turns and isn't upset."""

    def one(self, description: str = "127.0.0.1:0", protocol: DatagramProtocol | None = None) -> DatagramPort:
        """Return the one port that is described."""
        (port,) = self.listen(description, protocol)
        return port

    def send(self, port: DatagramPort, *datagrams: bytes) -> None:
        """Let a client send to `port`."""
        client = self.client()
        for data in datagrams:
            client.sendto(data, ("127.0.0.1", port.getHost().port))

    def test_interfaces(self) -> None:
        """It has what Twisted and the protocol expect."""
        port = self.one()
        for interface in (IDatagramTransport, IListeningPort, ISystemHandle):
            assert verifyObject(interface, port)

    def test_address(self) -> None:
        """It says where it is, in Twisted's words."""
        four, six = self.one().getHost(), self.one("[::1]:0").getHost()
        assert four == IPv4Address("UDP", "127.0.0.1", four.port)
        assert six == IPv6Address("UDP", "::1", six.port)

    def test_stopListening(self) -> None:
        """It ends when it is told, and says when it has."""
        port = self.one()
        opened = port.getHandle()
        ended = port.stopListening()
        self.reactor.advance(0.1)
        self.successResultOf(ended)
        assert opened.fileno() == -1

    def test_closedAtOnce(self) -> None:
        """It can be closed before the reactor runs."""
        port = self.one()
        opened = port.getHandle()
        port.connectionLost(Failure(CONNECTION_DONE))
        assert opened.fileno() == -1
        assert port not in self.reactor.getReaders()

    def test_turn(self) -> None:
        """It takes in so many in a turn, though they be empty, and the rest in the next ones."""
        recorder = DatagramRecorder()
        self.send(self.one(protocol=recorder), *[b""] * (2 * DATAGRAMS_PER_TURN + 1))
        counts = []
        for _ in range(3):
            self.reactor.turn(1)
            counts.append(len(recorder.received))
        assert counts == [DATAGRAMS_PER_TURN, 2 * DATAGRAMS_PER_TURN, 2 * DATAGRAMS_PER_TURN + 1]

    def test_bytesOfTurn(self) -> None:
        """It takes in so many bytes in a turn, and never more."""
        recorder = DatagramRecorder()
        self.send(self.one(protocol=recorder), *[bytes(65_507)] * 10)
        self.reactor.turn(1)
        assert BYTES_PER_TURN - 65_536 < sum(map(len, recorder.received)) <= BYTES_PER_TURN

    def test_toItself(self) -> None:
        """Empty datagrams from itself to itself, for ever, leave everything else its turn."""
        port = self.one(protocol=(recorder := DatagramRecorder(answer=True)))
        port.write(b"", ("127.0.0.1", port.getHost().port))
        self.reactor.turn(3)
        assert 3 <= len(recorder.received) <= 3 * DATAGRAMS_PER_TURN

    def test_asked(self) -> None:
        """While a datagram is delivered it tells the address that was asked, and else none."""
        asked = []

        class Asking(DatagramRecorder):
            def datagramReceived(self, data: bytes, addr: Any) -> None:
                asked.append(self.transport.asked)

        port = self.one("0.0.0.0:0", Asking())
        self.send(port, b"hello")
        self.reactor.turn()
        assert (asked, port.asked) == ([("127.0.0.1", port.getHost().port)], None)

    def test_sendErrors(self) -> None:
        """What can't be sent is lost, in silence."""
        port = self.one()
        with capturedLogs() as events:
            port.write(b"to port 0", ("127.0.0.1", 0))
            port.write(b"to everybody", ("255.255.255.255", 5000))
            port.write(b"to another network", ("::1", 5000))
            port.write(bytes(65_508), ("127.0.0.1", 5000))
            port.write(b"to nobody")
        assert events == []

    def test_receiveErrors(self) -> None:
        """An error that the kernel reports instead of a datagram is passed over, in silence."""
        port = self.one()
        gone = self.client("127.0.0.1")
        address = gone.getsockname()
        self.addCleanup(leave(gone).close)
        port.connect(*address)  # only then does the kernel report that nobody is there
        with capturedLogs() as events:
            port.write(b"hello")
            port.doRead()
        assert events == []

    def test_protocolErrors(self) -> None:
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

    def test_receiveBuffer(self) -> None:
        """The kernel keeps a burst for us, as far as we may have it so; the kernel says twice the number."""
        most = int(Path("/proc/sys/net/core/rmem_max").read_text())
        for number in (datagramport.SO_RCVBUFFORCE, -1):
            self.patch(datagramport, "SO_RCVBUFFORCE", number)
            size = self.one().socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            assert size >= 2 * min(RECEIVE_BUFFER, most)

    def test_interface(self) -> None:
        """An answer keeps to the interface where the address that was asked is on no other, and only there."""
        for asked, text, interface in (
            ("fe80::1", "fe80::1", 3),
            ("2001:db8::1", "2001:db8::1", 0),
            ("ff02::1", None, 0),
        ):
            info = datagramport._IPV6.pack(socket.inet_pton(socket.AF_INET6, asked), 3)
            origin = datagramport._IPV6.pack(socket.inet_pton(socket.AF_INET6, asked), interface)
            found = datagramport._destination(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)
            assert found == (text, ((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, origin),))


class DatagramListenerTests(PortTestCase):
    """`DatagramListener` listens on every address of a host."""

    def resolveTo(self, *hosts: str) -> None:
        """Let every name stand for `hosts`."""
        found = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (host, 0)) for host in hosts]
        self.patch(socket, "getaddrinfo", lambda *_, **__: found)

    def failure(self, description: str) -> OSError:
        """Return the error with which listening on what is described fails."""
        error = raised(OSError, self.listen, description)
        assert error is not None
        return error

    def occupyUDP(self) -> int:
        """Return the number of a UDP port that somebody else has."""
        return cast("int", self.client("127.0.0.1").getsockname()[1])

    def test_everyAddress(self) -> None:
        """A port alone is every address, of IPv4 and of IPv6."""
        for description in ("0", "*:0"):
            hosts = [port.getHost().host for port in self.listen(description)]
            assert sorted(hosts) == ["0.0.0.0", "::"]  # noqa: S104  # this is about what it means

    def test_protocols(self) -> None:
        """Each port has a protocol of its own."""
        four, six = self.listen("*:0")
        assert four.protocol is not six.protocol

    def test_taken(self) -> None:
        """A port that is taken at one of the addresses can't be listened on."""
        assert self.failure(str(self.occupyUDP())).errno == EADDRINUSE

    def test_sameNumber(self) -> None:
        """IPv6 leaves the same port of IPv4 to others."""
        numbers = [self.occupyUDP() for _ in range(10)]
        opened: list[int] = []
        for number in numbers:
            with contextlib.suppress(OSError):  # somebody else may have one of them for IPv6
                opened += [port.getHost().port for port in self.listen(f"[::]:{number}")]
        assert opened
        assert set(opened) <= set(numbers)

    def test_missingFamily(self) -> None:
        """An address that this machine lacks is passed over where there is another."""
        self.resolveTo("192.0.2.1", "127.0.0.1")
        (port,) = self.listen("host:0")
        assert port.getHost().host == "127.0.0.1"

    def test_noAddress(self) -> None:
        """Where this machine has none of the addresses, that is an error."""
        assert self.failure("192.0.2.1:0").errno == EADDRNOTAVAIL

    def test_twice(self) -> None:
        """An address that a name has twice is listened on once."""
        self.resolveTo("127.0.0.1", "127.0.0.1")
        assert len(self.listen("host:0")) == 1

    def test_unknownName(self) -> None:
        """A name that stands for nothing is an error like any other."""
        assert isinstance(self.failure("256.256.256.256:0"), socket.gaierror)


class ParseDatagramListenerTests(SynchronousTestCase):
    """`parseDatagramListener` knows every form, and refuses everything else in one line."""

    def test_addresses(self) -> None:
        """Each form of an address has its host and its port."""
        forms: dict[str, tuple[str | None, int]] = {
            "8081": (None, 8081),
            "*:8081": (None, 8081),
            "0": (None, 0),
            "127.0.0.1:8081": ("127.0.0.1", 8081),
            "localhost:8081": ("localhost", 8081),
            "[::1]:8081": ("::1", 8081),
            "[::]:8081": ("::", 8081),
        }
        for text, (host, port) in forms.items():
            assert parseDatagramListener(text) == DatagramListener(text, host, port)

    def test_mistakes(self) -> None:
        """What is near to a form is refused, with the reason."""
        mistakes = {
            "": "'' is not a port number",
            "65536": "'65536' is not a port number",
            "*:": "'' is not a port number",
            "*": "'*' is not a port number",
            "localhost": "'localhost' is not a port number",
            "[::1]": "'[::1]' has no port",
            "::1:8081": "'::1:8081' is neither HOST:PORT nor [V6]:PORT",
            "udp:127.0.0.1:8081": "'udp:127.0.0.1:8081' is neither HOST:PORT nor [V6]:PORT",
            "host\n:1": "'host\\n:1' is not an address",
        }
        for text, message in mistakes.items():
            assert message in str(raised(ValueError, parseDatagramListener, text)), text

    @given(st.sampled_from(["", "*:"]), TEXTS)
    def test_anyText(self, start: str, rest: str) -> None:
        """Any text either is a listener that describes itself as written, or raises ValueError with one line."""
        if error := raised(ValueError, parseDatagramListener, start + rest):
            assert len(str(error).splitlines()) == 1
        else:
            assert parseDatagramListener(start + rest).description == start + rest
