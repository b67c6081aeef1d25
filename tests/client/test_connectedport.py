"""A port finds the address of a server that answers."""

import socket
from collections.abc import Sequence

from echoup.client.connect.race import ATTEMPT_DELAY
from echoup.client.connectedport import Address, ConnectedPort
from echoup.client.exitcodes import PathError
from tests.support.doubles import ReactorTestCase, raised

HOSTS = "127.0.0.1", "127.0.0.2", "127.0.0.3"
NOWHERE = "255.255.255.255"
"""An address to which the system sends nothing."""
FORBIDDEN = "Permission denied (this machine does not send to that address)"
OVERSIZED = "Message too long (this machine cannot send that much at once)"


class Recorder(ConnectedPort):
    """Records what comes, and the failures."""

    def __init__(self) -> None:
        self.came: list[tuple[bytes, str]] = []
        self.failures: list[PathError] = []

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """Record a datagram, and from where it came."""
        self.came.append((data, addr[0]))

    def refused(self, error: PathError) -> None:
        """Record a failure."""
        self.failures.append(error)
        self.close()


class ConnectedPortTests(ReactorTestCase):
    """`ConnectedPort` talks with the first address that answers."""

    def setUp(self) -> None:
        """Choose the number of a port, which all addresses have."""
        super().setUp()
        self.servers: dict[str, socket.socket] = {}
        self.number = 0
        self.serve(HOSTS[2])
        self.port = Recorder()
        self.addCleanup(self.assertNothingLeft)

    def serve(self, host: str) -> None:
        """Let a server listen at `host`; the others refuse."""
        server = self.servers[host] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind((host, self.number))
        server.setblocking(False)
        self.number = server.getsockname()[1]

    def open(self, hosts: Sequence[str], patience: float | None = ATTEMPT_DELAY) -> None:
        """Open the port to `hosts`."""
        self.port.open(self.reactor, "there", [(host, self.number) for host in hosts], patience)

    def called(self, *hosts: str) -> str:
        """Return what messages call the addresses of `hosts`."""
        return ", ".join(f"{host}:{self.number}" for host in hosts)

    def take(self, host: str) -> tuple[list[bytes], tuple[str, int]]:
        """Return what has come to the server at `host`, and the last sender."""
        self.reactor.turn()
        taken: list[bytes] = []
        sender = "", 0
        while True:
            try:
                data, sender = self.servers[host].recvfrom(65536)
            except BlockingIOError:
                return taken, sender
            taken.append(data)

    def answer(self, host: str, data: bytes) -> None:
        """Answer what has come to the server at `host`."""
        taken, sender = self.take(host)
        assert taken
        self.servers[host].sendto(data, sender)
        self.reactor.turn()

    def assertNothingLeft(self) -> None:
        """Close the port, and check that neither a socket nor a timer is left."""
        self.port.close()
        self.reactor.turn()
        assert self.reactor.getDelayedCalls() == []
        assert set(self.reactor.getReaders()) <= self.reactor._internalReaders

    def test_refusingAddressIsLeftAtOnce(self) -> None:
        """When one address after the other refuses, the next gets all that was sent, in no time."""
        self.open(HOSTS)
        for data in (b"one", b"two"):
            self.port.sendDatagram(data)
        self.reactor.until(lambda: self.port.remote == f"{HOSTS[2]}:{self.number}")
        assert self.port.address == self.called(*HOSTS)
        taken, sender = self.take(HOSTS[2])
        assert taken == [b"one", b"two"]
        self.servers[HOSTS[2]].sendto(b"ONE", sender)
        self.reactor.until(lambda: bool(self.port.came))
        assert (self.port.came, self.port.failures) == ([(b"ONE", HOSTS[2])], [])
        assert self.port.address == self.called(HOSTS[2])
        assert self.port.local == f"{sender[0]}:{sender[1]}"

    def test_silentAddressHasNextBesideIt(self) -> None:
        """After a while the next address is tried as well; the first that answers is the only one from then on."""
        for host in HOSTS[:2]:
            self.serve(host)
        for winner, loser in ((0, 1), (1, 0)):
            self.port = Recorder()
            self.open(HOSTS)
            self.port.sendDatagram(b"one")
            assert self.port.address == self.called(HOSTS[0])
            self.reactor.advance(ATTEMPT_DELAY - 0.1)
            assert self.take(HOSTS[1])[0] == []
            self.reactor.advance(0.11)
            self.port.sendDatagram(b"two")
            assert self.port.address == self.called(*HOSTS[:2])
            senders = []
            for host in HOSTS[:2]:
                taken, sender = self.take(host)
                assert taken == [b"one", b"two"]
                senders.append(sender)
            self.servers[HOSTS[winner]].sendto(b"ONE", senders[winner])
            self.reactor.until(lambda: bool(self.port.came))
            self.servers[HOSTS[loser]].sendto(b"ONE", senders[loser])
            self.port.sendDatagram(b"three")
            self.reactor.advance(100, step=1)
            assert self.port.came == [(b"ONE", HOSTS[winner])]
            assert self.port.address == self.called(HOSTS[winner])
            assert [self.take(HOSTS[each])[0] for each in (winner, loser, 2)] == [[b"three"], [], []]
            self.assertNothingLeft()

    def test_refusalAfterAnswerIsReported(self) -> None:
        """An address that has answered and then refuses is reported; the others aren't tried."""
        self.serve(HOSTS[0])
        self.open(HOSTS)
        self.port.sendDatagram(b"one")
        self.answer(HOSTS[0], b"ONE")
        self.servers[HOSTS[0]].close()
        self.port.sendDatagram(b"two")
        self.reactor.until(lambda: bool(self.port.failures))
        assert self.port.address == self.called(HOSTS[0])
        assert str(self.port.failures[0]) == "Connection refused"
        assert self.take(HOSTS[2])[0] == []

    def test_reasonsAreReportedTogether(self) -> None:
        """When all addresses have failed that is reported once, with the reason of each if they differ."""
        self.servers.pop(HOSTS[2]).close()
        different = f"{NOWHERE}:{self.number}: {FORBIDDEN}; {HOSTS[0]}:{self.number}: Connection refused"
        for hosts, why in ((HOSTS[:2], "Connection refused"), ((NOWHERE, HOSTS[0]), different)):
            self.port = Recorder()
            self.open(hosts)
            for data in (b"one", b"two"):
                self.port.sendDatagram(data)
            self.reactor.until(lambda: bool(self.port.failures))
            self.reactor.advance(1)
            assert [str(error) for error in self.port.failures] == [why]
            assert self.port.address == self.called(*hosts)

    def test_unusableAddressesRaise(self) -> None:
        """When no address can be used, opening raises the reason."""
        error = raised(PathError, self.open, (NOWHERE, NOWHERE))
        assert error is not None
        assert str(error) == FORBIDDEN
        assert self.port.local is None

    def test_knownAddressIsOnlyLeftWhenItRefuses(self) -> None:
        """Without a limit to the patience with the first address, silence is no reason to try the next one."""
        self.serve(HOSTS[0])
        self.open(HOSTS, None)
        self.port.sendDatagram(b"one")
        self.reactor.advance(100, step=1)
        assert (self.take(HOSTS[0])[0], self.take(HOSTS[2])[0]) == ([b"one"], [])
        self.servers[HOSTS[0]].close()
        self.port.sendDatagram(b"two")
        self.reactor.until(lambda: self.port.remote == f"{HOSTS[2]}:{self.number}")
        assert self.take(HOSTS[2])[0] == [b"one", b"two"]

    def test_oversizedDatagramIsReported(self) -> None:
        """A datagram that is too long for the system is reported in its words, without and after an answer."""
        self.open(HOSTS[2:])
        self.port.sendDatagram(b"one")
        self.answer(HOSTS[2], b"ONE")
        error = raised(PathError, self.port.sendDatagram, bytes(70_000))
        assert error is not None
        assert str(error) == OVERSIZED
        assert not self.port.isClosed
        self.open(HOSTS[2:])
        self.port.sendDatagram(bytes(70_000))
        assert [str(error) for error in self.port.failures] == [OVERSIZED]

    def test_sourceAndTOSAreUsed(self) -> None:
        """Datagrams come from the address and with the TOS byte that were given."""
        self.port.source, self.port.tos = HOSTS[0], 0xB8
        self.servers[HOSTS[2]].setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.open(HOSTS[2:])
        self.port.sendDatagram(b"hello")
        self.reactor.turn()
        _, ((_, _, tos),), _, (host, _) = self.servers[HOSTS[2]].recvmsg(16, 64)
        assert (host, tos) == (HOSTS[0], b"\xb8")
        assert self.port.local
        assert self.port.local.startswith(HOSTS[0])
