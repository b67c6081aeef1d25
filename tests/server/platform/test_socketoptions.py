"""The options that a socket needs are set as far as its protocol has them."""

import socket
from errno import EPERM
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from echoup.server.platform.socketoptions import isMultipath, passesOptions, prepare
from tests.support.doubles import raised
from tests.support.sockets import multipath

NEEDED = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (socket.SOL_SOCKET, socket.SO_OOBINLINE),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY),
)


class Forbidding(socket.socket):
    """A socket none of whose options may be set."""

    def setsockopt(self, *arguments: Any) -> None:
        """Fail, as for lack of a privilege."""
        raise OSError(EPERM, "Operation not permitted")


class PrepareTests(SynchronousTestCase):
    """`prepare` sets what the protocol has."""

    def prepared(self, stream: socket.socket) -> tuple[bool, ...]:
        """Prepare `stream`, which is closed after the test, and return which of the NEEDED options it has then."""
        self.addCleanup(stream.close)
        prepare(stream)
        assert not stream.getblocking()
        return tuple(bool(stream.getsockopt(*option)) for option in NEEDED)

    def test_tcpHasAll(self) -> None:
        """A TCP socket has them all, and its connections inherit them."""
        for family in (socket.AF_INET, socket.AF_INET6):
            stream = socket.socket(family)
            assert self.prepared(stream) == (True, True, True)
            assert passesOptions(stream)
            assert not isMultipath(stream)

    def test_unixHasNoDelay(self) -> None:
        """A Unix socket has those of its own, and its connections inherit none."""
        stream = socket.socket(socket.AF_UNIX)
        self.addCleanup(stream.close)
        prepare(stream)
        assert [bool(stream.getsockopt(*option)) for option in NEEDED[:2]] == [True, True]
        assert not passesOptions(stream)
        assert not isMultipath(stream)

    def test_multipathLacksUrgentBytes(self) -> None:
        """An MPTCP socket does without SO_OOBINLINE, and its connections are prepared one by one."""
        for family in (socket.AF_INET, socket.AF_INET6):
            stream = multipath(family)
            assert self.prepared(stream)[::2] == (True, True)
            assert not passesOptions(stream)
            assert isMultipath(stream)

    def test_otherErrorsAreRaised(self) -> None:
        """An error of another kind than that the protocol lacks the option is raised."""
        error = raised(OSError, self.prepared, Forbidding())
        assert error is not None
        assert error.errno == EPERM
