"""What TARGET means, and how a connection to it fails."""

import socket
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from echoup.client.outcome import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target import Target, parseTarget
from tests.doubles import ReactorTestCase, raised

TEXTS = st.text(st.characters()) | st.text("[]:.%=\\0189afx_-é/ \n", max_size=20)
KINDS = st.sampled_from(["", "tcp:", "unix:", "tcp:host:", "tls:", "[fe80::1%", "[::1]:"])


@implementer(IHostnameResolver, IHostResolution)
class Names:
    """Resolves the names that it knows, at once."""

    name = "the only resolution"

    def __init__(self, known: dict[str, list[str]]) -> None:
        self.known = known

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Tell the addresses of `hostName`."""
        resolutionReceiver.resolutionBegan(self)
        for host in self.known.get(hostName, []):
            resolutionReceiver.addressResolved(IPv4Address("TCP", host, portNumber))
        resolutionReceiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        """Do nothing: it is complete."""


@implementer(IReactorPluggableNameResolver)
class OfflineReactor(MemoryReactorClock):
    """A reactor without a network: connections are attempted for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = Names({"there": ["192.0.2.1"]})

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Do nothing: there are no other names."""
        return self.nameResolver


def connect(reactor: object, description: str, timeout: float = 10.0) -> "Deferred[None]":
    """Connect a client to what is described."""
    known = cast("ReactorBase", reactor)
    client = EchoUpClient(known, 10, bytearray().extend)
    return Deferred.fromCoroutine(parseTarget(description).connect(known, client, timeout))


class ParseTargetTests(SynchronousTestCase):
    """`parseTarget` knows every form, and refuses everything else in one line."""

    def test_addresses(self) -> None:
        """Each form of an address has its host and its port, which is 8081 unless it is given."""
        forms = {
            "example.org": ("example.org", 8081, "example.org:8081"),
            "example.org:1": ("example.org", 1, "example.org:1"),
            "192.0.2.1": ("192.0.2.1", 8081, "192.0.2.1:8081"),
            "2001:db8::1": ("2001:db8::1", 8081, "[2001:db8::1]:8081"),
            "[2001:db8::1]": ("2001:db8::1", 8081, "[2001:db8::1]:8081"),
            "[2001:db8::1]:65535": ("2001:db8::1", 65535, "[2001:db8::1]:65535"),
            "tcp": ("tcp", 8081, "tcp:8081"),
        }
        for text, (host, port, name) in forms.items():
            target = parseTarget(text)
            assert target == Target(text, host, port)
            assert str(target) == name

    def test_endpoints(self) -> None:
        """The endpoints that can half-close are taken, and named as they were written."""
        for text in ("tcp:example.org:8081", "tcp:host=example.org:port=1:timeout=5", "unix:/run/echoup"):
            assert parseTarget(text) == Target(text)
            assert str(parseTarget(text)) == text

    def test_mistakes(self) -> None:
        """What is near to a form is refused, with the reason."""
        mistakes = {
            "": "'' is not a host name or an IP address",
            "8081": "'8081' is a port without a host; 127.0.0.1:8081 is the one on this machine",
            "example.org:0": "'example.org:0' has port 0, which nobody can connect to",
            "example.org:": "'' is not a port number from 0 to 65535",
            "*:8081": "'*' is not a host name or an IP address",
            "tcp:": "'tcp:' is not a tcp endpoint",
            "tcp:example.org:http": "'tcp:example.org:http' is not a tcp endpoint",
            "tcp:example.org:1:colour=red": "'tcp:example.org:1:colour=red' is not a tcp endpoint",
            "tls:example.org:443": "'tls:example.org:443' is not an IPv6 address",
        }
        for text, message in mistakes.items():
            assert message in str(raised(ValueError, parseTarget, text))

    @settings(deadline=None)
    @given(KINDS, TEXTS)
    def test_anyText(self, kind: str, rest: str) -> None:
        """Any text either is a target that has a name of one line, or raises ValueError with one line."""
        error = raised(ValueError, parseTarget, kind + rest)
        line = str(error or parseTarget(kind + rest))
        assert len(line.splitlines()) == 1

    @settings(deadline=None)
    @given(KINDS, TEXTS)
    def test_anyTarget(self, kind: str, rest: str) -> None:
        """Whatever is a target can be tried: it fails as a PathError, if it fails."""
        if not raised(ValueError, parseTarget, kind + rest):
            failures: list[Failure] = []
            connect(OfflineReactor(), kind + rest).addErrback(failures.append)
            assert [failure.value for failure in failures if not failure.check(PathError)] == []


class ConnectTests(ReactorTestCase):
    """`Target.connect` connects, or says in one line what failed, where and why."""

    def setUp(self) -> None:
        """Know some names."""
        super().setUp()
        self.reactor.installNameResolver(Names({name: [name] for name in ("127.0.0.1", "127.0.0.2")}))

    def know(self, name: str, *hosts: str) -> None:
        """Let `name` stand for `hosts`."""
        self.reactor.installNameResolver(Names({name: list(hosts)}))

    def listen(self) -> tuple[socket.socket, int]:
        """Return a socket that listens on 127.0.0.1, and its port."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        return listening, listening.getsockname()[1]

    def assertConnects(self, description: str, listening: socket.socket) -> None:
        """Check that a connection to what is described arrives at `listening`."""
        connecting = connect(self.reactor, description)
        self.reactor.advance(1)
        self.reactor.until(lambda: bool(connecting.called))
        assert self.successResultOf(connecting) is None
        listening.accept()[0].close()

    def assertFails(self, description: str, code: ExitCode, message: str) -> None:
        """Check that connecting to what is described fails with `message`."""
        connecting = connect(self.reactor, description)
        self.reactor.advance(1)
        self.reactor.until(lambda: bool(connecting.called))
        error = self.failureResultOf(connecting, PathError).value
        assert (error.code, str(error)) == (code, message)

    def test_address(self) -> None:
        """An address is connected to."""
        listening, port = self.listen()
        self.assertConnects(f"127.0.0.1:{port}", listening)

    def test_endpoint(self) -> None:
        """A TCP endpoint is connected to."""
        listening, port = self.listen()
        self.assertConnects(f"tcp:127.0.0.1:{port}", listening)

    def test_unix(self) -> None:
        """A Unix endpoint is connected to."""
        path = f"{self.enterContext(TemporaryDirectory())}/socket"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            self.assertConnects(f"unix:{path}", listening)

    def test_nextAddress(self) -> None:
        """Where the first address of a name refuses, the next one is tried."""
        listening, port = self.listen()
        self.know("both", "127.0.0.2", "127.0.0.1")
        self.assertConnects(f"both:{port}", listening)

    def test_refused(self) -> None:
        """A refusal is told with the address and the system's words."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        for description in (f"127.0.0.1:{port}", f"tcp:127.0.0.1:{port}"):
            message = f"cannot connect to {description}: Connection refused"
            self.assertFails(description, ExitCode.UNREACHABLE, message)

    def test_missing(self) -> None:
        """A Unix socket that isn't there is told so."""
        message = "cannot connect to unix:/nonexistent/socket: No such file or directory"
        self.assertFails("unix:/nonexistent/socket", ExitCode.UNREACHABLE, message)

    def test_unresolved(self) -> None:
        """A name that stands for nothing is told by that name, however it was written."""
        for description in ("nowhere.invalid", "tcp:nowhere.invalid:80"):
            self.assertFails(description, ExitCode.UNRESOLVED, f"cannot resolve {description}: no address found")

    def test_impossible(self) -> None:
        """What can't be an address at all is refused at once, as the user's mistake."""
        for description in (
            "tcp:127.0.0.1:65536",
            "tcp:127.0.0.1:-1",
            "tcp:a..b:80",
            f"tcp:{'a' * 64}:80",
            "[fe80::1%a..b]:80",
            f"unix:/{'long' * 50}",
        ):
            if not raised(ValueError, parseTarget, description):
                connecting = connect(self.reactor, description)
                self.reactor.advance(1)
                assert self.flushLoggedErrors() == [], description
                error = self.failureResultOf(connecting, PathError).value
                assert error.code in (ExitCode.USAGE, ExitCode.UNRESOLVED), description


class TimeoutTests(SynchronousTestCase):
    """Connecting takes as long as it may, and no longer."""

    def test_timeout(self) -> None:
        """When nobody answers in time, that is told."""
        for description in ("there:80", "tcp:192.0.2.1:80", "unix:/run/echoup"):
            reactor = OfflineReactor()
            connecting = connect(reactor, description, 2.5)
            reactor.advance(2.4)
            self.assertNoResult(connecting)
            reactor.advance(0.1)
            error = self.failureResultOf(connecting, PathError).value
            assert error.code == ExitCode.TIMED_OUT
            assert str(error) == f"cannot connect to {description}: timed out after 2.5 s"

    def test_ownTimeout(self) -> None:
        """An endpoint string may have a shorter timeout of its own."""
        reactor = OfflineReactor()
        connecting = connect(reactor, "tcp:192.0.2.1:80:timeout=1")
        ((_, _, factory, timeout, _),) = reactor.tcpClients
        assert timeout == 1
        factory.clientConnectionFailed(reactor.connectors[0], Failure(ConnectTimeout()))
        error = self.failureResultOf(connecting, PathError).value
        assert error.code == ExitCode.TIMED_OUT
        assert str(error) == "cannot connect to tcp:192.0.2.1:80:timeout=1: timed out"

    def test_patience(self) -> None:
        """A long timeout is the connection's own too: Twisted's is 30 seconds unless it is told another."""
        for description in ("there:80", "tcp:192.0.2.1:80", "unix:/run/echoup"):
            reactor = OfflineReactor()
            self.assertNoResult(connect(reactor, description, 60))
            ((_, _, _, timeout, _),) = reactor.tcpClients or [(0, 0, *reactor.unixClients[0][1:3], 0)]
            assert timeout >= 60, description
