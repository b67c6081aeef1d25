"""The path that a diagnosis is about."""

import socket
from contextlib import closing

from twisted.internet.defer import Deferred

from echoup.client.diagnose.datagramsocket import DatagramSocket
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.datagram import DatagramTarget
from tests.support.doubles import ReactorTestCase


class OpenDatagramsTests(ReactorTestCase):
    """`openDatagrams` opens a socket as the target says."""

    def open(self, target: DatagramTarget, tos: int | None = None) -> DatagramSocket:
        """Return a socket to `target`."""
        path = PathUnderTest(self.reactor, target, Scope())
        path.address = target.host
        opened = self.successResultOf(Deferred.fromCoroutine(path.openDatagrams(tos)))
        assert isinstance(opened, DatagramSocket)
        return opened

    def test_socketIsTheTargets(self) -> None:
        """It sends from the target's address, with its TOS or the one that is given."""
        target = DatagramTarget("127.0.0.1", 9, bindAddress="127.0.0.2", tos=8)
        for tos, sent in ((None, 8), (0, 0), (16, 16)):
            with closing(self.open(target, tos)) as opened:
                assert opened.local[0] == "127.0.0.2"
                assert opened.socket.getpeername() == ("127.0.0.1", 9)
                assert opened.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == sent

    def test_whatThisMachineCannotOpen(self) -> None:
        """An address that this machine doesn't have is its own fault, with the errno as the cause."""
        path = PathUnderTest(self.reactor, DatagramTarget("127.0.0.1", 9, bindAddress="192.0.2.1"), Scope())
        path.address = "127.0.0.1"
        error = self.failureResultOf(Deferred.fromCoroutine(path.openDatagrams()), PathError).value
        assert error.code is ExitCode.LOCAL
        assert isinstance(error.__cause__, OSError)
        assert str(error).startswith("cannot send to udp:127.0.0.1:9: ")
