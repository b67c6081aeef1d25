"""The trace of a path, and the kernel's state of a connection."""

import socket
from struct import unpack_from

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.tcpinfo import STATES, TCPInfo
from echoup.client.connect.trace import Phase, Step, Trace


class TraceTests(SynchronousTestCase):
    """A `Trace` has a phase for each step."""

    def test_phaseHasTimesAndDetails(self) -> None:
        """Each phase has its times, and what is known at its beginning and at its end."""
        clock = Clock()
        trace = Trace(clock.seconds)
        assert trace.step is None
        phase = trace.begin(Step.CONNECT, address="there")
        assert trace.step is Step.CONNECT
        assert phase.seconds is None
        clock.advance(2)
        trace.end(phase, local="here")
        assert phase == Phase(Step.CONNECT, 0.0, {"address": "there", "local": "here"}, 2.0)
        assert phase.seconds == 2
        failed = trace.begin(Step.TLS)
        trace.end(failed, error="no")
        assert trace.phases == [phase, Phase(Step.TLS, 2.0, {}, 2.0, "no")]
        assert trace.step is Step.TLS


class TCPInfoTests(SynchronousTestCase):
    """`TCPInfo.of` asks the kernel."""

    def test_statesAreTold(self) -> None:
        """The states of RFC 9293 are told apart; the kernel's numbers are read from the right places."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.assertState(listening, "LISTEN")
            with socket.create_connection(listening.getsockname()) as near, listening.accept()[0] as far:
                info = self.assertState(near, "ESTABLISHED")
                raw = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 72)
                (microseconds,) = unpack_from("I", raw, 68)  # tcpi_rtt
                assert info.rtt == microseconds / 1e6 > 0
                assert info.retransmits == 0
                near.shutdown(socket.SHUT_WR)
                assert far.recv(1) == b""
                self.assertState(far, "CLOSE-WAIT")
                # FIN-WAIT-1, and FIN-WAIT-2 when our end is acknowledged, which is another round trip.
                ended = TCPInfo.of(near)
                assert ended
                assert (ended.state, ended.retransmits) in [("FIN-WAIT-1", 0), ("FIN-WAIT-2", 0)]
        assert STATES.index("CLOSING") == 11

    def test_timeWaitShowsAsClosed(self) -> None:
        """Once both ends were sent the kernel keeps TIME-WAIT to itself, and shows our socket as CLOSED."""
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            socket.create_connection(listening.getsockname()) as near,
            listening.accept()[0] as far,
        ):
            near.shutdown(socket.SHUT_WR)
            assert far.recv(1) == b""
            far.sendall(b"X")
            far.shutdown(socket.SHUT_WR)
            assert near.recv(2, socket.MSG_WAITALL) == b"X"
            self.assertState(near, "CLOSED")

    def assertState(self, connection: socket.socket, state: str) -> TCPInfo:
        """Check the state of a connection, and return what is known."""
        info = TCPInfo.of(connection)
        assert info
        assert info.state == state
        return info

    def test_unansweredConnectionIsSynSent(self) -> None:
        """A connection that isn't answered is in SYN-SENT."""
        with socket.socket() as listening, socket.socket() as near:
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            with socket.create_connection(listening.getsockname()):  # it fills the queue
                near.setblocking(False)
                near.connect_ex(listening.getsockname())
                assert self.assertState(near, "SYN-SENT").rtt == 0

    def test_otherSocketsHaveNone(self) -> None:
        """Of a socket that isn't TCP, or is closed, nothing is known."""
        with socket.socket(socket.AF_UNIX) as local, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            assert [TCPInfo.of(local), TCPInfo.of(datagrams)] == [None, None]
        with socket.socket() as connection:
            pass
        assert [TCPInfo.of(connection), TCPInfo.of(None)] == [None, None]
