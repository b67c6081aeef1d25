"""Names, asked of the system."""

import socket
import threading
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from zope.interface.verify import verifyObject

from echoup.client.connect import resolver as module
from echoup.client.connect.resolver import Resolution, Resolver
from tests.support.doubles import ReactorTestCase


class Receiver:
    """Takes what is resolved."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.isComplete = False

    def resolutionBegan(self, resolution: Resolution) -> None:
        """Keep it."""
        self.resolution = resolution

    def addressResolved(self, address: Any) -> None:
        """Keep it."""
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """Note it."""
        self.isComplete = True


class ResolverTests(ReactorTestCase):
    """`Resolver` tells what the system knows."""

    def setUp(self) -> None:
        """Make one."""
        super().setUp()
        self.resolver = Resolver(self.reactor)

    def resolve(self, name: str, *others: Any) -> Receiver:
        """Return what becomes of a name."""
        receiver = Receiver()
        resolution = self.resolver.resolveHostName(receiver, name, *others)  # type: ignore[arg-type]  # it does for one
        verifyObject(IHostResolution, resolution)
        self.reactor.until(lambda: receiver.isComplete)
        return receiver

    def answer(self, *answers: Any) -> None:
        """Let the system answer every question with these addresses, or an error."""
        self.asked: list[Any] = []

        def getaddrinfo(*question: Any) -> list[Any]:
            self.asked.append(question)
            if isinstance(answers[0], Exception):
                raise answers[0]
            return [(family, 0, 0, "", address) for family, address in answers]

        self.patch(module, "getaddrinfo", getaddrinfo)

    def test_system(self) -> None:
        """The system is asked, and knows its own name."""
        verifyObject(IHostnameResolver, self.resolver)
        receiver = self.resolve("localhost", 8081)
        assert {address.port for address in receiver.found} == {8081}
        assert {address.host for address in receiver.found} <= {"127.0.0.1", "::1"}
        assert (receiver.resolution.name, receiver.resolution.error) == ("localhost", None)

    def test_kinds(self) -> None:
        """Addresses come as they are told, and those are asked for that are wanted."""
        self.answer((socket.AF_INET6, ("::1", 1, 0, 0)), (socket.AF_INET, ("127.0.0.1", 1)))
        assert self.resolve("a", 1).found == [IPv6Address("TCP", "::1", 1), IPv4Address("TCP", "127.0.0.1", 1)]
        assert self.resolve("a", 1, [IPv4Address], "UDP").found[1] == IPv4Address("UDP", "127.0.0.1", 1)
        self.resolve("a", 1, [IPv6Address])
        assert self.asked == [
            ("a", 1, socket.AF_UNSPEC, socket.SOCK_STREAM),
            ("a", 1, socket.AF_INET, socket.SOCK_DGRAM),
            ("a", 1, socket.AF_INET6, socket.SOCK_STREAM),
        ]

    def test_errors(self) -> None:
        """That there is no address is an answer; anything else is none, and says why."""
        failure = "Temporary failure in name resolution"
        for error, told in (
            (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), None),
            (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), None),
            (socket.gaierror(socket.EAI_AGAIN, failure), failure),
            (OSError(24, "Too many open files"), "Too many open files"),
            (UnicodeError("label too long"), "label too long"),
        ):
            self.answer(error)
            receiver = self.resolve("a")
            assert (receiver.found, receiver.resolution.error) == ([], told)

    def test_slow(self) -> None:
        """A name that takes long keeps no other waiting, and not the process."""
        slow = threading.Event()
        self.addCleanup(slow.set)

        def getaddrinfo(name: str, *_: object) -> list[Any]:
            if name == "slow":
                slow.wait()
            return []

        self.patch(module, "getaddrinfo", getaddrinfo)
        waiting = Receiver()
        self.resolver.resolveHostName(waiting, "slow").cancel()  # type: ignore[arg-type]  # as above
        self.resolve("quick")
        assert not waiting.isComplete
        assert all(thread.daemon for thread in self.resolver._pool.threads)
        slow.set()
        self.reactor.until(lambda: waiting.isComplete)
