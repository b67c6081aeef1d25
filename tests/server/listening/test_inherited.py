"""Sockets that the process was started with are listened on and left as they were."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EBADF, EINVAL
from pathlib import Path
from stat import S_IMODE
from tempfile import TemporaryDirectory
from typing import Any, cast
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.listening import inherited
from echoup.server.listening.inherited import InheritedListener, parseInherited
from echoup.server.listening.listeners import parseListener
from echoup.server.listening.sockets import accept
from tests.support.descriptors import keepsDescriptors
from tests.support.doubles import ReactorTestCase, raised
from tests.support.properties import given, st
from tests.support.sockets import longestQueue

INET = "systemd:domain=INET"


class ParseTestCase(SynchronousTestCase):
    """A test that sets the environment with which the process began."""

    def begin(self, **environment: str) -> None:
        """Set the environment with which the process began."""
        path = Path(self.enterContext(TemporaryDirectory()), "environ")
        path.write_bytes(b"".join(os.fsencode(f"{name}={value}\0") for name, value in environment.items()))
        self.patch(inherited, "Path", {"/proc/self/environ": path}.__getitem__)

    def beginUnderSystemd(self, count: str, names: str | None = None) -> None:
        """Have systemd pass `count` sockets, with `names` unless that is None."""
        named = {} if names is None else {"LISTEN_FDNAMES": names}
        self.begin(LISTEN_PID=str(os.getpid()), LISTEN_FDS=count, **named)

    def refusal(self, description: str) -> str:
        """Return the words with which `description` is refused."""
        error = raised(ValueError, parseListener, description)
        assert error is not None
        start = f"'{description}' is not a valid systemd endpoint: "
        assert str(error).startswith(start)
        return str(error).removeprefix(start)


class ParseInheritedTests(ParseTestCase):
    """`parseInherited` finds what systemd passed."""

    def test_socketByIndex(self) -> None:
        """A socket can be named by its index, as Twisted writes it, by position or by name."""
        self.beginUnderSystemd("2", "echo:status")
        for index, descriptor in ((0, 3), (1, 4)):
            for description in (f"systemd:domain=UNIX:index={index}", f"systemd:UNIX:{index}"):
                assert parseListener(description) == InheritedListener(description, "UNIX", descriptor)

    def test_socketByName(self) -> None:
        """A socket can be named by its name, quoted as any value of an endpoint."""
        self.beginUnderSystemd("2", "echo:my=socket")
        for name, descriptor in (("echo", 3), ("my=socket", 4), (r"e\cho", 3)):
            description = f"systemd:domain=INET6:name={name}"
            assert parseListener(description) == InheritedListener(description, "INET6", descriptor)

    def test_withoutNames(self) -> None:
        """Without LISTEN_FDNAMES the sockets have indices, and the name that systemd gives them then."""
        self.beginUnderSystemd("2")
        assert parseInherited("", "INET", index="1").descriptor == 4
        assert parseInherited("", "INET", name="unknown").descriptor == 4
        assert self.refusal(f"{INET}:name=echo") == "systemd passed 2 sockets, but not this one"

    def test_unreadableEnvironment(self) -> None:
        """Where the environment can't be read, as without /proc, the description is refused with the reason."""
        self.patch(inherited, "Path", {"/proc/self/environ": Path("/no/such/environ")}.__getitem__)
        reason = "cannot read /no/such/environ, which names systemd's sockets: No such file or directory"
        assert self.refusal(f"{INET}:index=0") == reason

    def test_missingSocketIsRefused(self) -> None:
        """A socket that wasn't passed is refused."""
        self.beginUnderSystemd("1", "echo")
        for which in ("index=1", "index=-1", "name=other", "name="):
            assert self.refusal(f"{INET}:{which}") == "systemd passed 1 socket, but not this one"

    def test_foreignEnvironmentIsIgnored(self) -> None:
        """Sockets that were passed to another process, or with a malformed environment, aren't found."""
        ours = str(os.getpid())
        for environment in (
            {},
            {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "echo"},
            {"LISTEN_PID": ours},
            {"LISTEN_PID": ours, "LISTEN_FDS": "one"},
            {"LISTEN_PID": ours, "LISTEN_FDS": ""},
            {"LISTEN_PID": ours, "LISTEN_FDS": "0"},
            {"LISTEN_PID": ours, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "echo"},
            {"LISTEN_FDS": "1", "\udcff": "\udcfe"},
        ):
            self.begin(**environment)
            assert self.refusal(f"{INET}:index=0") == "systemd passed no sockets"

    def test_mistakeIsNamed(self) -> None:
        """A wrong description is refused with the reason."""
        self.beginUnderSystemd("1", "echo")
        for domain in ("inet", "AF_INET", "NETLINK", ""):
            words = f"domain={domain} is not INET, INET6 or UNIX"
            assert self.refusal(f"systemd:domain={domain}:index=0") == words
        for which in ("", ":index=0:name=echo"):
            assert self.refusal(INET + which) == "give index= or name=, not both"
        assert self.refusal(f"{INET}:index=x") == "'x' is not a whole number"
        for description in ("systemd", "systemd:", "systemd:index=0", f"{INET}:index=0:mode=660", "systemd:INET:0:a:b"):
            assert self.refusal(description)

    @given(st.text("0123456789:ab", max_size=5), st.none() | st.text("ab:", max_size=5), st.text("0123ab", max_size=2))
    def test_anyEnvironment(self, count: str, names: str | None, which: str) -> None:
        """In any environment, a description names one of the sockets that it counts or is refused."""
        self.beginUnderSystemd(count, names)
        for description in (f"{INET}:index={which}", f"{INET}:name={which}"):
            if error := raised(ValueError, parseListener, description):
                assert str(error).isprintable()
            else:
                listener = parseListener(description)
                assert isinstance(listener, InheritedListener)
                assert 3 <= listener.descriptor < 3 + int(count)


class StartedTests(SynchronousTestCase):
    """A process that was started with sockets finds them."""

    def start(self, environment: str, code: str) -> str:
        """Run `code` in a new process, the way systemd starts one; the descriptor 3 is a socket that listens."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
            command = f'exec 3<&0 </dev/null; LISTEN_PID=$$ {environment} exec "$0" -c "$1"'
            return subprocess.run(
                ["sh", "-c", command, sys.executable, code],
                stdin=listening.fileno(),
                env={name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")},
                cwd=Path(__file__).parents[3],
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
            ).stdout

    def test_foundRepeatedly(self) -> None:
        """A socket is found any number of times, although Twisted clears the environment."""
        code = (
            "from echoup.server.listening.listeners import parseListener\n"
            "from twisted.python.systemd import ListenFDs\n"
            "for which in ('index=0', 'name=echo', 'index=0'):\n"
            "    print(parseListener('systemd:domain=INET:' + which).descriptor, end=' ')\n"
            "    ListenFDs.fromEnvironment()\n"
        )
        assert self.start("LISTEN_FDS=1 LISTEN_FDNAMES=echo", code) == "3 3 3 "

    def test_foundWithoutNames(self) -> None:
        """Without LISTEN_FDNAMES, too, a socket is found and listened on."""
        code = (
            "import socket\n"
            "from twisted.internet import reactor\n"
            "from twisted.internet.protocol import Factory, Protocol\n"
            "from echoup.server.listening.listeners import parseListener\n"
            "from echoup.server.listening.sockets import accept\n"
            "(address,) = parseListener('systemd:domain=INET:index=0').open()\n"
            "print(accept(reactor, Factory.forProtocol(Protocol), address).getHost().port)\n"
        )
        assert self.start("LISTEN_FDS=1", code) == f"{self.port}\n"


class InheritedListenerTests(ReactorTestCase):
    """`InheritedListener` listens on a socket that another process holds, too."""

    def setUp(self) -> None:
        """Make a directory for Unix sockets, which is removed after the reactor is closed."""
        self.path = Path(self.enterContext(TemporaryDirectory()), "socket")
        super().setUp()

    def opened(self, family: socket.AddressFamily, backlog: int | None = 7) -> socket.socket:
        """Return a bound socket, which listens unless `backlog` is None."""
        addresses: dict[int, Any] = {
            socket.AF_INET: ("127.0.0.1", 0),
            socket.AF_INET6: ("::1", 0),
            socket.AF_UNIX: str(self.path),
        }
        other = socket.socket(family)
        self.addCleanup(other.close)
        other.bind(addresses[family])
        if backlog is not None:
            other.listen(backlog)
        return other

    def listen(self, other: socket.socket, domain: str) -> Port:
        """Return the port that accepts at `other`, as in a process that was started with it."""
        (self.listening,) = InheritedListener("systemd:...", domain, os.dup(other.fileno())).open()
        assert self.listening.isInherited
        self.addCleanup(self.listening.close)
        return accept(self.reactor, Factory.forProtocol(Echo), self.listening)

    def close(self, stopped: object) -> None:
        """Wait until a port has stopped listening, and close the address that it accepted at."""
        self.reactor.turn()
        self.successResultOf(cast("Deferred[object]", stopped))
        self.listening.close()

    def failure(self, descriptor: int, domain: str = "INET") -> OSError:
        """Return the error with which listening fails."""
        listener = InheritedListener("systemd:...", domain, descriptor)
        error = raised(OSError, listener.open)
        assert error is not None
        return error

    @contextmanager
    def client(self, other: socket.socket) -> Iterator[socket.socket]:
        """Return a client that connects to `other`, where the kernel takes clients up to the length of the queue."""
        with socket.socket(other.family) as client:
            client.setblocking(False)
            client.connect_ex(other.getsockname())
            yield client

    def echoes(self, client: socket.socket) -> bool:
        """Return whether the text that `client` sends is echoed."""
        client.send(b"hello")
        client.setblocking(True)
        client.settimeout(0)
        received = b""

        def complete() -> bool:
            nonlocal received
            try:
                received += client.recv(5)
            except BlockingIOError:
                return False
            return True

        self.reactor.until(complete)
        return received == b"hello"

    def test_eachDomainIsServed(self) -> None:
        """The port has the socket's address and serves its clients, also those that came before it."""
        for family, domain in ((socket.AF_INET, "INET"), (socket.AF_INET6, "INET6"), (socket.AF_UNIX, "UNIX")):
            other = self.opened(family)
            with self.client(other) as early:
                port = self.listen(other, domain)
                host = port.getHost()
                address = other.getsockname()
                assert (host.name.decode() if domain == "UNIX" else (host.host, host.port)) == (
                    address if domain == "UNIX" else address[:2]
                )
                with self.client(other) as late:
                    assert self.echoes(early)
                    assert self.echoes(late)

    def test_abstractSocketIsServed(self) -> None:
        """An abstract Unix socket, which has no file, is served."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(f"\0echoup-{uuid4()}")
            other.listen()
            self.listen(other, "UNIX")
            with self.client(other) as client:
                assert self.echoes(client)

    def test_closedPortLeavesTheQueue(self) -> None:
        """When the port closes the socket stays, with the clients in its queue, for the next process."""
        for family, domain in ((socket.AF_INET, "INET"), (socket.AF_UNIX, "UNIX")):
            other = self.opened(family)
            port = self.listen(other, domain)
            stopped = port.stopListening()
            with self.client(other) as early:
                self.close(stopped)
                with self.client(other) as late:
                    self.listen(other, domain)
                    assert self.echoes(early)
                    assert self.echoes(late)

    def test_closedPortLeavesNoDescriptor(self) -> None:
        """After the port and the address are closed no descriptor of the socket is left."""
        first = self.listen(self.opened(socket.AF_INET), "INET")  # with it, Twisted opens one for later
        self.close(first.stopListening())
        for family, domain in ((socket.AF_INET, "INET"), (socket.AF_UNIX, "UNIX")):
            other = self.opened(family)
            with keepsDescriptors():
                self.close(self.listen(other, domain).stopListening())

    def test_fileStaysAsItWas(self) -> None:
        """The file of a Unix socket keeps its mode, and is there after the port is closed."""
        other = self.opened(socket.AF_UNIX)
        for mode in (0o600, 0o640):
            self.path.chmod(mode)
            before = self.path.stat()
            stopped = self.listen(other, "UNIX").stopListening()
            assert S_IMODE(self.path.stat().st_mode) == mode
            self.close(stopped)
            assert self.path.stat() == before

    def test_queueKeepsItsLength(self) -> None:
        """The queue of a TCP socket is as long as it was."""
        other = self.opened(socket.AF_INET, 7)
        self.listen(other, "INET")
        assert longestQueue(other) == 7

    def test_unixQueueKeepsItsLength(self) -> None:
        """The queue of a Unix socket is as long as it was: it takes one client more than its length."""
        self.listen(self.opened(socket.AF_UNIX, 2), "UNIX")
        clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for client in clients:
            self.addCleanup(client.close)
            client.setblocking(False)
        assert [bool(client.connect_ex(str(self.path))) for client in clients] == [False] * 3 + [True] * 2

    def test_urgentBytesStayInPlace(self) -> None:
        """Urgent bytes that come before a connection is accepted come back in their place."""
        other = self.opened(socket.AF_INET)
        self.listen(other, "INET")
        peer = self.peerAt(other.getsockname())
        peer.socket.send(b"a", socket.MSG_OOB)
        peer.socket.send(b"b", socket.MSG_OOB)
        peer.socket.send(b"c")
        assert peer.receive(3) == b"abc"

    def test_wrongDomainIsRefused(self) -> None:
        """A socket of another domain than the description says is refused."""
        sockets = {domain: self.opened(getattr(socket, f"AF_{domain}")) for domain in ("INET", "INET6", "UNIX")}
        for said in sockets:
            for domain, other in sockets.items():
                if said != domain:
                    error = self.failure(other.fileno(), said)
                    assert (error.errno, error.strerror) == (EINVAL, f"the socket's domain is {domain}")

    def test_unlisteningSocketIsRefused(self) -> None:
        """A socket that doesn't listen is refused."""
        for family, domain in ((socket.AF_INET, "INET"), (socket.AF_UNIX, "UNIX")):
            error = self.failure(self.opened(family, backlog=None).fileno(), domain)
            assert (error.errno, error.strerror) == (EINVAL, "not a listening socket")

    def test_otherDescriptorIsRefused(self) -> None:
        """A descriptor that isn't a socket, or isn't open, is refused."""
        with Path(os.devnull).open() as null:
            assert self.failure(null.fileno()).strerror == "Socket operation on non-socket"
            free = os.dup(0)
            os.close(free)
            assert self.failure(free).errno == EBADF
