"""What `--listen` means."""

import contextlib
import os
import socket
from dataclasses import replace
from errno import EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase

from echoup.addresses import joinAddress
from echoup.server.listening import certificate
from echoup.server.listening import listeners as listen
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.inherited import InheritedListener
from echoup.server.listening.listeners import (
    BACKLOG,
    AddressListener,
    Listener,
    ListenError,
    UNIXListener,
    parseListener,
    parseStatusListener,
)
from echoup.server.listening.sockets import ListeningAddress, accept, closePort
from tests.support.addresses import NO_OWN_ADDRESSES, OWN_ADDRESSES
from tests.support.certificates import writeCertificates
from tests.support.chance import examples, randomBytes
from tests.support.doubles import ReactorTestCase, raised
from tests.support.properties import given, st
from tests.support.sockets import longestQueue

TEXTS = st.text(st.characters()) | st.text("[]:.*%=\\0189af/ \n", max_size=20)
EXAMPLES = examples(20_000)
"""Texts that the fuzz test makes up."""

LETTERS = ":::===\\\\[]%*.,/-+_ 0123456789abcfglmnpstux\n\0\x7f\xa0\u200bé²日\udc80"
"""The characters of descriptions, and some that no description should have."""

GOOD = (
    *("8081", "*:8081", "127.0.0.1:8081", "localhost:8081", "[::1]:8081", "[fe80::1%lo]:8081"),
    *("tcp:8081", "tcp:8081:interface=127.0.0.1:backlog=5", r"tcp:8081:interface=\:\:1", "tcp6:8081:interface=\\:\\:"),
    *("unix:@echoup", "tls:8081", "tls:*:8081", "tls:localhost:8081", "tls:[::1]:8081"),
    *("unix:/run/echoup", "unix:/run/echoup:mode=660:backlog=5:lockfile=0", "unix:address=/run/echoup"),
    *("systemd:domain=INET:index=0", "systemd:UNIX:name=echo"),
    *("ssl:8081", "ssl:8081:privateKey=server.pem:certKey=server.pem:extraCertChain=ca.pem"),
    *("ssl:8081:server.pem:server.pem:interface=127.0.0.1:backlog=5", "ssl:port=8081:backlog=5"),
    *("ssl:8081:server.pem:server.pem:TLS_METHOD", r"ssl:8081:interface=\:\:1:dhParameters=none.pem"),
)

OTHER_KINDS = ("udp:", "http://", "haproxy:")
KINDS = st.sampled_from(
    ["", "*:", "tls:", "tcp:", "tcp6:", "unix:", "systemd:", "systemd:domain=INET:", "ssl:", *OTHER_KINDS]
)


class ParseListenerTests(SynchronousTestCase):
    """`parseListener` knows every form, and refuses everything else in one line."""

    def test_addressForms(self) -> None:
        """Each form of an address has its host and its port."""
        for text, (host, port) in OWN_ADDRESSES.items():
            assert parseListener(text) == AddressListener(text, host, port)

    def test_tcpEndpoints(self) -> None:
        """A TCP endpoint has the host, the family and the queue that Twisted gives it."""
        v4, v6 = socket.AF_INET, socket.AF_INET6
        for text, host, family, backlog in (
            ("tcp:8081", None, v4, BACKLOG),
            ("tcp:port=8081", None, v4, BACKLOG),
            ("tcp:8081:interface=127.0.0.1", "127.0.0.1", v4, BACKLOG),
            ("tcp:8081:127.0.0.1:5", "127.0.0.1", v4, 5),
            (r"tcp:8081:interface=\:\:1:backlog=5", "::1", v6, 5),
            ("tcp6:8081", "::", v6, BACKLOG),
            ("tcp6:8081:interface=127.0.0.1", "127.0.0.1", v4, BACKLOG),
            (r"tcp6:8081:interface=\:\:ffff\:127.0.0.1", "127.0.0.1", v4, BACKLOG),
        ):
            assert parseListener(text) == AddressListener(text, host, 8081, family, backlog)

    def test_unixEndpoints(self) -> None:
        """A Unix endpoint has Twisted's mode and lock; its queue is long unless the description says otherwise."""
        for text, mode, backlog, lock in (
            (r"unix:/run/a\=b", 0o666, BACKLOG, True),
            ("unix:address=/run/a=b:mode=660:lockfile=0", 0o660, BACKLOG, False),
            (r"unix:/run/a\=b:600:5", 0o600, 5, True),
        ):
            listener = parseListener(text)
            assert listener == UNIXListener(text, "/run/a=b", mode, backlog, lock)
            assert listener.certificate is None

    def test_abstractEndpoints(self) -> None:
        """A name after `@` is abstract, and has no lock; with its folder it's a file."""
        for text, listener in (
            ("unix:@echoup", UNIXListener("", "\0echoup", replacesLeftover=False)),
            ("unix:address=@echoup:backlog=5", UNIXListener("", "\0echoup", backlog=5, replacesLeftover=False)),
            ("unix:./@echoup", UNIXListener("", "./@echoup")),
        ):
            assert parseListener(text) == replace(listener, description=text)

    def test_tlsAddresses(self) -> None:
        """The forms of an address have the same host and port after `tls:`, and the certificate that is given."""
        enterFolder(self)
        own = ServerCertificate()
        for text, (host, port) in OWN_ADDRESSES.items():
            expected = AddressListener(f"tls:{text}", host, port, certificate=own)
            assert parseListener(f"tls:{text}", certificate=own) == expected

    def test_mistakeIsNamed(self) -> None:
        """A text that is near to a form is refused with the reason."""
        mistakes = {
            **NO_OWN_ADDRESSES,
            "*8081": "'*8081' is not a port number",
            "::1:8081": "nor [V6]:PORT, nor an endpoint of the kinds tls, tcp, tcp6, ssl, unix, systemd",
            "haproxy:tcp:8081": "'haproxy:tcp:8081' is not supported; write --listen tcp:8081 --proxy-from NETWORK",
            "udp:8081": "'udp:8081' is a UDP address; write --udp 8081",
            "udp4:127.0.0.1:8081": "is a UDP address; write --udp 127.0.0.1:8081",
            "udp6:": "is a UDP address; write --udp PORT",
            "http://example.org:80": "'http://example.org:80' is a URL; write --listen example.org:80",
            "http://example.org/index.html": "is a URL; write --listen example.org:PORT",
            "https://[::1]:443/": "is a URL; write --listen tls:[::1]:443",
            "TCP://127.0.0.1:80": "is a URL; write --listen 127.0.0.1:80",
            "tls://8443": "is a URL; write --listen tls:8443:PORT",
            "udp://127.0.0.1:80": "is a URL; write --udp 127.0.0.1:80",
            "tcp://": "is a URL; write --listen HOST:PORT",
            ":8081": "':8081' has no host; write 8081",
            ":": "':' has no host; write PORT",
            "localhost": "'localhost' is not a port number from 0 to 65535; write localhost:PORT for a host",
            "192.0.2.1": "'192.0.2.1' is not a port number from 0 to 65535; write 192.0.2.1:PORT for a host",
            "[::1]": "'[::1]' has no port; write [::1]:PORT",
            "/run/echoup": "'/run/echoup' is not a port number from 0 to 65535; a Unix socket is unix:/run/echoup",
            "@echoup": "'@echoup' is not a port number from 0 to 65535; a Unix socket is unix:@echoup",
            "tcp:8081:interface=::1": r"endpoint string, write each : of an IPv6 address as \:",
            "tls": "'tls': '' is not a port number",
            "tls:": "'tls:': '' is not a port number",
            "tls:localhost": "'tls:localhost': 'localhost' is not a port number",
            "tls:[::1]": "'tls:[::1]': '[::1]' has no port; write [::1]:PORT",
            "tls:8443:privateKey=x": "write tls:PORT or tls:HOST:PORT, and --tls-cert and --tls-key for its files",
            "tls:tcp:8443": "'tls:tcp:8443': no endpoint string is possible here; write tls:PORT or tls:HOST:PORT",
            "tls:udp:8443": "'tls:udp:8443': no endpoint string is possible here",
            "tls:unix:/run/echoup": "'tls:unix:/run/echoup': no endpoint string is possible here",
            "tls:8443": "'tls:8443': --tls-cert FILE is missing",
            "unix:/run/a\nb": "'unix:/run/a\\nb' is not an address",
            "tcp": "'tcp' is not a valid tcp endpoint",
            "tcp:": "'tcp:' is not a valid tcp endpoint",
            "tcp:port": "'tcp:port' is not a valid tcp endpoint",
            "tcp:99999": "'tcp:99999' is not a valid tcp endpoint: '99999' is not a port number from 0 to 65535",
            "tcp:1:colour=red": "'tcp:1:colour=red' is not a valid tcp endpoint",
            "tcp:1:2:3:4": "'tcp:1:2:3:4' is not a valid tcp endpoint: too many values",
            "tcp:foo": "'tcp:foo' is not a valid tcp endpoint: 'foo' is not a port number from 0 to 65535",
            "tcp:1:certificate=x": "'tcp:1:certificate=x' is not a valid tcp endpoint: unknown field certificate",
            "unix:": "'unix:' is not a valid unix endpoint: the path is missing",
            "unix:@": "'unix:@' is not a valid unix endpoint: the name is missing",
            "unix:@x:mode=660": "is not a valid unix endpoint: an abstract socket has no file, so it takes no mode=",
            "unix:@x:660": "is not a valid unix endpoint: an abstract socket has no file, so it takes no mode=",
            "unix:@x:lockfile=0": "valid unix endpoint: an abstract socket has no file, so it takes no lockfile=",
            f"unix:@{'x' * 108}": "is not a valid unix endpoint: longer than the 107 bytes that a Unix socket takes",
            f"unix:/{'long' * 50}": "is not a valid unix endpoint: longer than the 107 bytes that a Unix socket takes",
            "unix:/run/echoup:mode=": "is not a valid unix endpoint: '' is not an octal mode",
            "unix": "'unix' is not a valid unix endpoint: address is missing",
            "unix:/run/echoup:mode=9": "is not a valid unix endpoint: '9' is not an octal mode",
            "unix:/run/echoup:lockfile=x": "is not a valid unix endpoint: 'x' is not a whole number",
            "systemd:domain=INET:index=0": "'systemd:domain=INET:index=0' is not a valid systemd endpoint",
        }
        for text, message in mistakes.items():
            assert message in str(raised(ValueError, parseListener, text))
        assert "endpoint" not in str(raised(ValueError, parseListener, "tls:[::1]"))


class ParseTLSTests(SynchronousTestCase):
    """`ssl:` takes Twisted's arguments by their names or in their order."""

    def setUp(self) -> None:
        """Go to a folder of certificates."""
        enterFolder(self)
        Path("key=1.pem").write_bytes(Path("other.pem").read_bytes())
        Path("colon:.pem").write_bytes(Path("other.pem").read_bytes())

    def parse(self, description: str, clientCA: str | None = None) -> AddressListener:
        """Return the listener that `description` names, which has a certificate."""
        listener = parseListener(description, clientCA)
        assert isinstance(listener, AddressListener)
        assert listener.description == description
        assert listener.certificate is not None
        return listener

    def test_addressArguments(self) -> None:
        """The interface and the queue are as in a TCP endpoint."""
        for description, interface, backlog in (
            ("ssl:8081", None, BACKLOG),
            ("ssl:port=8081", None, BACKLOG),
            ("ssl:8081:interface=127.0.0.1:backlog=7", "127.0.0.1", 7),
            (r"ssl:8081:interface=\:\:1", "::1", BACKLOG),
            ("ssl:8081:server.pem:server.pem:interface=127.0.0.1:backlog=7", "127.0.0.1", 7),
        ):
            listener = self.parse(description)
            assert (listener.host, listener.port, listener.backlog) == (interface, 8081, backlog)
            assert listener.family == (socket.AF_INET6 if interface == "::1" else socket.AF_INET)

    def test_certificateArguments(self) -> None:
        """The other arguments are the certificate's."""
        seen: list[tuple[object, ...]] = []
        self.patch(listen, "ServerCertificate", lambda *arguments: seen.append(arguments))
        named = "privateKey=a:certKey=b:interface=d:extraCertChain=e"
        for description, clientCA, expected in (
            ("ssl:8081", None, ("server.pem", None, None, None)),
            ("ssl:8081", "g", ("server.pem", None, None, "g")),
            (f"ssl:8081:{named}", "g", ("a", "b", "e", "g")),
            (f"ssl:{named}:8081", "g", ("a", "b", "e", "g")),
            ("ssl:8081:a:b:extraCertChain=e:backlog=5", None, ("a", "b", "e", None)),
            (r"ssl:8081:a=1:privateKey=\:\=\\", None, (":=\\", None, None, None)),
            (r"ssl:8081:certKey=b=c:privateKey=a", None, ("a", "b=c", None, None)),
        ):
            seen.clear()
            if "a=1" in description:
                assert raised(ValueError, parseListener, description, clientCA)
                assert seen == []
            else:
                parseListener(description, clientCA)
                assert seen == [expected]

    def test_filePaths(self) -> None:
        """A relative path begins at the current folder, and a file may have any name."""
        for path in ("server.pem", "other.pem", f"{Path.cwd()}/other.pem", "key=1.pem", r"colon\:.pem"):
            self.parse(f"ssl:8081:privateKey={path}")
        assert self.parse("ssl:8081", "ca.pem").certificate

    def test_mistakeIsNamed(self) -> None:
        """A mistake is told in one line, with the description and the reason."""
        for rest, reason in (
            ("", "port is missing"),
            (":", "'' is not a port number from 0 to 65535"),
            (":http", "'http' is not a port number from 0 to 65535"),
            (r":8081\:backlog=5", "unknown field 8081:backlog"),
            (r":8081\:backlog\=5", "'8081:backlog=5' is not a port number from 0 to 65535"),
            (r":8081:backlog=5\:interface\=x", "'5:interface=x' is not a whole number"),
            (":8081:backlog=many", "'many' is not a whole number"),
            (":8081:colour=red", "unknown field colour"),
            (":8081:clientCA=ca.pem", "unknown field clientCA"),
            (":8081:a:b:c:d:e:f:g:h", "too many values"),
            (":8081:port=8082", "port is given twice"),
            (":8081:privateKey=none.pem", "none.pem: No such file or directory"),
            (":8081:privateKey=ca.pem", "ca.pem: "),
            (":8081:certKey=none.pem", "none.pem: No such file or directory"),
            (":8081:certKey=other.pem", "no privateKey= is given, and server.pem: the key does not match the"),
            (":8081:extraCertChain=none.pem", "none.pem: No such file or directory"),
            (":8081:dhParameters=server.pem", "dhParameters= is not supported; only TLS 1.2 and 1.3"),
            (":8081:sslmethod=TLSv1_2_METHOD", "sslmethod= is not supported; only TLS 1.2 and 1.3"),
            (":8081:server.pem:server.pem:TLS_METHOD:127.0.0.1", "sslmethod= is not supported; only TLS 1.2 and 1.3"),
        ):
            error = raised(ValueError, parseListener, f"ssl{rest}")
            assert error is not None, rest
            description = repr(f"ssl{rest}")
            assert str(error).startswith(f"{description} is not a valid ssl endpoint: {reason}"), str(error)
            assert str(error).isprintable()
        error = raised(ValueError, parseListener, "ssl:8081", "none.pem")
        assert str(error) == "'ssl:8081' is not a valid ssl endpoint: none.pem: No such file or directory"


class ParseStatusListenerTests(SynchronousTestCase):
    """`parseStatusListener` takes the forms of --listen, and keeps to this machine unless it is told otherwise."""

    def test_portAloneIsLoopback(self) -> None:
        """A port alone is one of 127.0.0.1; `*:PORT` is one of all addresses."""
        assert parseStatusListener("8082") == AddressListener("127.0.0.1:8082", "127.0.0.1", 8082)
        assert parseStatusListener("*:8082") == AddressListener("*:8082", None, 8082)

    def test_otherFormsAreThoseOfListen(self) -> None:
        """The other forms mean what they mean for --listen."""
        for description in ("localhost:8082", "[::1]:8082", "tcp:8082:interface=127.0.0.1", "unix:status", "unix:@it"):
            assert parseStatusListener(description) == parseListener(description)

    def test_mistakesAreTold(self) -> None:
        """A mistake is told in one line, which names --status."""
        for description, reason in (
            ("tls:8082", "'tls:8082': the status site has no TLS; let a proxy in front of it add it"),
            ("ssl:8082", "'ssl:8082': the status site has no TLS; let a proxy in front of it add it"),
            ("http://[::1]:8082/", "'http://[::1]:8082/' is a URL; write --status [::1]:8082"),
            ("70000", "'70000' is not a port number from 0 to 65535"),
            ("²", "'²' is not a port number from 0 to 65535"),
        ):
            error = str(raised(ValueError, parseStatusListener, description))
            assert error.startswith(reason), error

    def test_socketOfAListenerIsRefused(self) -> None:
        """An inherited socket on which the daemon listens already is refused."""
        self.patch(listen, "parseInherited", lambda description, domain: InheritedListener(description, domain, 3))
        (other,) = listen.parseListeners(["systemd:INET"])
        error = raised(ValueError, parseStatusListener, "systemd:INET", [other])
        assert str(error) == "'systemd:INET' is the same socket as an earlier one"


class AnyTextTests(SynchronousTestCase):
    """Any text is a listener that describes itself as written, or is refused in one printable line."""

    def setUp(self) -> None:
        """Go to a folder of certificates; elsewhere there are no files."""
        enterFolder(self)
        self.certificate = ServerCertificate()
        self.patch(certificate, "Path", inFolder)

    def parses(self, text: str) -> bool:
        """Return whether `text` is a listener, after a check of what becomes of it."""
        try:
            listener = parseListener(text, "ca.pem", self.certificate)
        except ValueError as error:
            assert str(error).isprintable(), str(error)  # noqa: PT017  # other errors are shown whole
            return False
        assert listener.description == text
        return True

    @given(KINDS, TEXTS)
    def test_anyText(self, kind: str, rest: str) -> None:
        """Any text of Hypothesis is parsed or refused."""
        self.parses(kind + rest)

    def test_garbledDescriptions(self) -> None:
        """Good descriptions after accidents, and nonsense, are parsed or refused; each run has other texts."""
        first = int.from_bytes(randomBytes(4))
        kept = 0
        for seed in range(first, first + EXAMPLES):
            text = garble(Random(seed))  # noqa: S311  # it has to be repeatable
            try:
                kept += self.parses(text)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {text!r}") from error
        assert EXAMPLES / 100 < kept < EXAMPLES / 2, kept


def enterFolder(test: SynchronousTestCase) -> None:
    """Go to a folder of certificates until the end of the test."""
    folder = test.enterContext(TemporaryDirectory())
    test.enterContext(contextlib.chdir(folder))
    writeCertificates(Path())


def inFolder(name: str) -> Path:
    """Return a path in the current folder, or one where nothing is for a file of another folder."""
    return Path("nowhere/nothing" if "/" in name or name in ("", ".", "..") else name)


def garble(random: Random) -> str:
    """Return a good description after a few accidents, or nonsense."""
    if random.random() < 0.2:
        return "".join(random.choices(LETTERS, k=random.randrange(40)))
    text = random.choice(GOOD)
    for _ in range(random.randrange(4)):
        start, end = sorted(random.choices(range(len(text) + 1), k=2))
        match random.randrange(5):
            case 0:
                text = text[:start] + text[end:]
            case 1:
                text = text[:end] + text[start:]
            case 2:
                text = text[:start] + "".join(random.choices(LETTERS, k=random.randrange(1, 4))) + text[start:]
            case 3:
                text = text[:start] + random.choice(GOOD)[start:end] + text[start:]
            case 4:
                fields = text.split(":")
                random.shuffle(fields)
                text = ":".join(fields)
    return text


class ListenTestCase(ReactorTestCase):
    """A test that listens."""

    def setUp(self) -> None:
        """Make a directory for Unix sockets, which is removed after the reactor is closed."""
        self.directory = self.enterContext(TemporaryDirectory())
        super().setUp()

    def listen(self, listener: Listener) -> list[Port]:
        """Return the ports that accept at the addresses that `listener` opens."""
        opened = listener.open()
        for address in opened:
            self.addCleanup(address.close)
        return [accept(self.reactor, Factory.forProtocol(Echo), address) for address in opened]

    def failure(self, description: str) -> OSError:
        """Return the error with which listening on `description` fails."""
        error = raised(OSError, self.listen, parseListener(description))
        assert error is not None
        return error


class AddressListenerTests(ListenTestCase):
    """`AddressListener` listens on every address of a host."""

    def resolveTo(self, *hosts: str) -> None:
        """Have every name resolve to `hosts`."""
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in hosts]
        self.patch(socket, "getaddrinfo", lambda *_, **__: found)

    def test_hostIsOnePort(self) -> None:
        """A host of one address is one port, which accepts connections."""
        (port,) = self.listen(parseListener("127.0.0.1:0"))
        self.peerAt(("127.0.0.1", port.getHost().port))

    def test_portAloneIsEveryAddress(self) -> None:
        """A port alone is every address, of IPv4 and of IPv6."""
        hosts = [port.getHost().host for port in self.listen(parseListener("*:0"))]
        assert sorted(hosts) == ["0.0.0.0", "::"]  # noqa: S104  # this is about what it means

    def test_takenAtOneAddress(self) -> None:
        """A port that is taken at one of the addresses can't be listened on."""
        assert self.failure(str(self.occupy())).errno == EADDRINUSE

    def test_ipv6LeavesIPv4Free(self) -> None:
        """Listening on IPv6 leaves the same port of IPv4 free."""
        numbers = [self.occupy() for _ in range(10)]
        opened: list[int] = []
        for number in numbers:
            with contextlib.suppress(OSError):  # another process may have one of them for IPv6
                opened += [port.getHost().port for port in self.listen(parseListener(f"[::]:{number}"))]
        assert opened
        assert set(opened) <= set(numbers)

    def test_missingAddressIsPassedOver(self) -> None:
        """An address that this machine lacks is passed over where there is another."""
        self.resolveTo("192.0.2.1", "127.0.0.1")
        (port,) = self.listen(parseListener("host:0"))
        assert port.getHost().host == "127.0.0.1"

    def test_noAddressIsAnError(self) -> None:
        """A host none of whose addresses this machine has is an error."""
        assert self.failure("192.0.2.1:0").errno == EADDRNOTAVAIL

    def test_repeatedAddressIsOpenedOnce(self) -> None:
        """An address that a name has twice is listened on once."""
        self.resolveTo("127.0.0.1", "127.0.0.1")
        assert len(self.listen(parseListener("host:0"))) == 1

    def test_unknownNameIsAnError(self) -> None:
        """A name that doesn't resolve is an OSError."""
        assert isinstance(self.failure("256.256.256.256:0"), socket.gaierror)

    def test_everyParsedHostListensOrFails(self) -> None:
        """A host that `parseListener` takes, however strange, fails with nothing but an OSError."""
        for host in ("fe80::1%a..b", f"fe80::1%{'a' * 64}", "fe80::1%é", "fe80::1%\0", "fe80::1%\udcff"):
            if not raised(ValueError, parseListener, f"[{host}]:0"):
                self.failure(f"[{host}]:0")


class EndpointTests(ListenTestCase):
    """An endpoint string is listened on as it says."""

    def test_tcpIsOnePort(self) -> None:
        """A TCP endpoint is one port at its interface."""
        (port,) = self.listen(parseListener("tcp:0:interface=127.0.0.1"))
        assert port.getHost().host == "127.0.0.1"

    def test_unixIsAFile(self) -> None:
        """A Unix endpoint is a socket in the file system."""
        self.listen(parseListener(f"unix:{self.directory}/socket"))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{self.directory}/socket")

    def test_abstractSocketIsNoFile(self) -> None:
        """An abstract socket has neither file nor lock, is named as ss(8) does, and is free again when it is closed."""
        name = f"echoup {os.getpid()}"
        enterFolder(self)
        before = list(Path.cwd().iterdir())
        for _ in range(2):
            (listening,) = parseListener(f"unix:@{name}").open()
            with contextlib.closing(listening):
                assert listening.address == rf"unix:@echoup\x20{os.getpid()}"
                assert self.failure(f"unix:@{name}").errno == EADDRINUSE
                port = accept(self.reactor, Factory.forProtocol(Echo), listening)
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"\0{name}")
                    client.sendall(b"hello")
                    self.reactor.turn()
                    assert client.recv(5) == b"hello"
                assert list(Path.cwd().iterdir()) == before
                closePort(port)

    def test_queueLength(self) -> None:
        """The kernel's queue is long unless the description says otherwise."""
        longest = min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))
        endpoint = "tcp:0:interface=127.0.0.1"
        writeCertificates(Path(self.directory))
        tls = f"ssl:0:privateKey={self.directory}/server.pem:interface=127.0.0.1"
        for description, expected in (
            ("127.0.0.1:0", longest),
            (endpoint, longest),
            (f"{endpoint}:backlog=7", 7),
            (tls, longest),
            (f"{tls}:backlog=7", 7),
        ):
            (port,) = self.listen(parseListener(description))
            assert longestQueue(port.socket) == expected

    def test_takenPort(self) -> None:
        """A port that is taken is an OSError that says so."""
        assert self.failure(f"tcp:{self.occupy()}:interface=127.0.0.1").errno == EADDRINUSE

    def test_tlsIsOnePort(self) -> None:
        """A TLS endpoint is a plain port; the factory does the TLS."""
        writeCertificates(Path(self.directory))
        certificate = f"{self.directory}/server.pem"
        for interface, host in (("127.0.0.1", "127.0.0.1"), (r"\:\:1", "::1")):
            (port,) = self.listen(parseListener(f"ssl:0:privateKey={certificate}:interface={interface}"))
            assert port.getHost().host == host
            self.peerAt((host, port.getHost().port))

    def test_errorHasAReason(self) -> None:
        """An endpoint fails with an OSError that has a reason."""
        for description in (
            f"unix:{self.directory}/none/socket",
            "tcp:0:interface=256.0.0.1",
        ):
            assert str(self.failure(description))


class OpenTests(ListenTestCase):
    """A listener can be opened for several processes that accept later, or never."""

    def open(self, description: str, count: int) -> list[ListeningAddress]:
        """Return the addresses that `description` names, open until the end of the test."""
        opened = parseListener(description).open(count)
        for address in opened:
            self.addCleanup(address.close)
        return opened

    def test_tcpHasASocketForEachProcess(self) -> None:
        """At each address of a host there is a socket for each process, all of them on the same port."""
        for listening in self.open("*:0", 3):
            ((host, port),) = {each.getsockname()[:2] for each in listening.sockets}
            assert listening.address == joinAddress(host, port)
            assert len(listening.sockets) == 3
            assert not listening.isInherited

    def test_connectionsAreSpread(self) -> None:
        """The kernel spreads the connections among the sockets."""
        (listening,) = self.open("127.0.0.1:0", 2)
        for _ in range(100):
            self.peerAt(listening.sockets[0].getsockname())
        counts = []
        for each in listening.sockets:
            accepted = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted.append(each.accept()[0])
            for connection in accepted:
                connection.close()
            counts.append(len(accepted))
        assert sum(counts) == 100
        assert min(counts) > 15

    def test_takenPortIsNotShared(self) -> None:
        """Listening fails where another process listens, also if that one shares its port among several sockets."""
        taken = [str(self.occupy()), *(listening.address for listening in self.open("127.0.0.1:0", 2))]
        for address in taken:
            for count in (1, 2):
                error = raised(OSError, lambda: self.open(address, count))  # noqa: B023  # it is called at once
                assert error is not None
                assert error.errno == EADDRINUSE

    def test_unixHasOneSocket(self) -> None:
        """A Unix socket is one for all processes; its file is there until it is closed, and no other."""
        path = Path(self.directory, "socket")
        (listening,) = parseListener(f"unix:{path}:mode=600:lockfile=1").open(3)
        assert (listening.address, len(listening.sockets)) == (f"unix:{path}", 1)
        assert not listening.isInherited
        assert path.stat().st_mode & 0o777 == 0o600
        assert list(Path(self.directory).iterdir()) == [path]
        with socket.socket(socket.AF_UNIX) as client, listening.sockets[0].dup() as copy:
            client.connect(str(path))
            self.reactor.turn()
            listening.close()
            accepted, _ = copy.accept()  # it is still in the queue, which wasn't shut down
            accepted.close()
        assert list(Path(self.directory).iterdir()) == []

    def test_connectionsInheritOptions(self) -> None:
        """A connection inherits its options from the listening socket."""
        for description in ("127.0.0.1:0", "[::1]:0", "tcp:0:interface=127.0.0.1"):
            (own,) = self.open(description, 1)[0].sockets
            self.peerAt(own.getsockname()[:2])
            with own.accept()[0] as connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
                for option in (socket.SO_KEEPALIVE, socket.SO_OOBINLINE):
                    assert connection.getsockopt(socket.SOL_SOCKET, option) == 1


class ListenErrorTests(SynchronousTestCase):
    """`ListenError` says in one line which address and why."""

    def test_systemsWords(self) -> None:
        """The message begins with the system's words, without the number, and ends with the description."""
        error = ListenError("127.0.0.1:80", OSError(EADDRINUSE, "address already in use"))
        assert str(error) == "address already in use: cannot listen on 127.0.0.1:80"

    def test_otherWords(self) -> None:
        """A reason that isn't the system's is told as it is, and so is one that begins with an abbreviation."""
        assert str(ListenError("tcp:99999", OSError("too much"))) == "too much: cannot listen on tcp:99999"
        assert str(ListenError("[::1]:80", OSError("IPv6 is off"))) == "IPv6 is off: cannot listen on [::1]:80"


class ReasonTests(ListenTestCase):
    """`ListenError` tells each obstacle to listening."""

    def test_eachObstacleIsTold(self) -> None:
        """A taken port, a Unix socket of another process, a missing folder, a missing address: each is told."""
        with (
            socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as port,
            socket.socket(socket.AF_UNIX) as listening,
            socket.socket(socket.AF_UNIX) as stale,
        ):
            taken = port.getsockname()[1]
            listening.bind(f"{self.directory}/taken")
            listening.listen()
            stale.bind(f"{self.directory}/stale")
            stale.close()
            for description, reason in (
                *((f"{host}{taken}", "address already in use") for host in ("127.0.0.1:", "[::1]:", "*:", "")),
                (f"tcp:{taken}", "address already in use"),
                (f"tcp6:{taken}", "address already in use"),
                (f"unix:{self.directory}/taken", "address already in use"),
                (f"unix:{self.directory}/stale:lockfile=0", "address already in use"),
                (f"unix:{self.directory}/missing/socket", "no such file or directory"),
                ("192.0.2.1:0", "cannot assign requested address"),
            ):
                message = str(ListenError(description, self.failure(description)))
                assert message == f"{reason}: cannot listen on {description}"


class DefaultFileTests(SynchronousTestCase):
    """A description of `ssl:` needs a port, and a file where the default one is missing."""

    def test_missingDefaults(self) -> None:
        """A missing default file and a missing port are told."""
        enterFolder(self)
        Path("server.pem").unlink()
        for description, reason in (
            ("ssl:0", "no privateKey= is given, and server.pem: No such file or directory; or write tls: with --tls-"),
            ("ssl:privateKey=other.pem", "port is missing"),
            ("ssl:many:privateKey=other.pem", "'many' is not a port number from 0 to 65535"),
        ):
            error = str(raised(ValueError, parseListener, description))
            assert error.startswith(f"'{description}' is not a valid ssl endpoint: {reason}"), error
