"""What the kernel says of its queues."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from echoup.server.platform.kernelqueues import acceptQueue, unsentOn
from tests.support.sockets import connectedPair


class UnsentTests(SynchronousTestCase):
    """What the peer of a connection hasn't taken is counted."""

    def test_unsentBytesAreThoseThatAreNotAcknowledged(self) -> None:
        """While the peer's kernel has room it takes all; what it has no room for stays with ours."""
        near, far = connectedPair(socket.AF_INET)
        with near, far:
            assert unsentOn(near) == 0
            near.setblocking(False)
            sent = 0
            while True:
                try:
                    sent += near.send(bytes(65536))
                except BlockingIOError:
                    break
            assert 0 < unsentOn(near) < sent


class AcceptQueueTests(SynchronousTestCase):
    """The length of an accept queue, and its limit, are found where the kernel tells."""

    def test_queueHoldsThoseThatWait(self) -> None:
        """Those that have connected and are not accepted are in the queue, over IPv4 and IPv6."""
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.create_server((host, 0), family=family, backlog=7) as listening:
                found = [acceptQueue(listening)]
                clients = [socket.create_connection(listening.getsockname()[:2]) for _ in range(3)]
                found.append(acceptQueue(listening))
                listening.accept()[0].close()
                assert [*found, acceptQueue(listening)] == [(0, 7), (3, 7), (2, 7)]
                for client in clients:
                    client.close()

    def test_unixSocketHasNone(self) -> None:
        """Of a Unix socket the kernel doesn't tell, nor of a TCP socket that doesn't listen."""
        with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening, socket.socket() as other:
            listening.bind(str(Path(folder, "socket")))
            listening.listen()
            assert (acceptQueue(listening), acceptQueue(other)) == (None, None)
