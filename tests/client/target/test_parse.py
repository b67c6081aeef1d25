"""The forms of TARGET, and what is said of others."""

from dataclasses import replace
from ipaddress import IPv6Address
from itertools import product
from random import Random

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import PathError
from echoup.client.target.datagram import DatagramTarget
from echoup.client.target.parse import parseTarget
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from tests.support.chance import randomBytes
from tests.support.doubles import raised
from tests.support.names import Names
from tests.support.properties import example, given, st
from tests.support.targets import KINDS, TEXTS, OfflineReactor, connect

FORMS = [
    "example.org:8081",
    "[2001:db8::1]:8081",
    "fe80::1%eth0",
    "tcp:host=example.org:port=1:timeout=5",
    "tcp:example.org:8081:bindAddress=127.0.0.1",
    "unix:/run/echoup:timeout=3",
    "unix:@echoup",
    r"tls:\:\:1:443:timeout=3:certificate=a.pem:privateKey=b.pem",
    "tls:host=example.org:port=443:trustRoots=/etc/ssl",
    "tls:[::1]:443:bindAddress=127.0.0.1",
    "udp:example.org:8081",
]


class ParseTargetTests(SynchronousTestCase):
    """`parseTarget` accepts every form, and refuses everything else in one line."""

    def test_addressHasHostAndPort(self) -> None:
        """Each form of an address has its host and its port, by default 8081."""
        forms = {
            "example.org": ("example.org", 8081, "example.org:8081"),
            "example.org:1": ("example.org", 1, "example.org:1"),
            "192.0.2.1": ("192.0.2.1", 8081, "192.0.2.1:8081"),
            "2001:db8::1": ("2001:db8::1", 8081, "[2001:db8::1]:8081"),
            "[2001:db8::1]": ("2001:db8::1", 8081, "[2001:db8::1]:8081"),
            "[2001:db8::1]:65535": ("2001:db8::1", 65535, "[2001:db8::1]:65535"),
            "tcp": ("tcp", 8081, "tcp:8081"),
            "نامه\u200cای.example:1": ("نامه\u200cای.example", 1, "نامه\u200cای.example:1"),
        }
        for text, (host, port, name) in forms.items():
            target = parseTarget(text)
            assert target == StreamTarget(text, host, port)
            assert str(target) == name

    def test_unixEndpointIsTaken(self) -> None:
        """A Unix endpoint is accepted, and named in the form in which it was written."""
        for text, expected in (
            ("unix:/run/echoup", StreamTarget("", path="/run/echoup")),
            ("unix:path=/run/echoup:timeout=3", StreamTarget("", path="/run/echoup", patience=3)),
            (r"unix:/a\:timeout\=", StreamTarget("", path="/a:timeout=")),
            ("unix:@echoup", StreamTarget("", path="\0echoup")),
            (r"unix:path=@a\:b=c:timeout=3", StreamTarget("", path="\0a:b=c", patience=3)),
            ("unix:./@echoup", StreamTarget("", path="./@echoup")),
        ):
            target = parseTarget(text)
            assert target == replace(expected, description=text)
            assert str(target) == text

    def test_streamEndpointIsTaken(self) -> None:
        """TCP and TLS endpoints are accepted in Twisted's forms and with our addresses; their name is the address."""
        for kind, (address, host, port) in product(
            ("tcp", "tls"),
            (
                ("example.org:443", "example.org", 443),
                ("host=example.org:port=443", "example.org", 443),
                ("example.org:port=443", "example.org", 443),
                (r"\:\:1:443", "::1", 443),
                (r"host=\:\:1:port=443", "::1", 443),
                ("example.org", "example.org", 8081),
                ("[::1]:443", "::1", 443),
                ("[::1]", "::1", 8081),
                ("::1", "::1", 8081),
            ),
        ):
            text = f"{kind}:{address}"
            target = parseTarget(text)
            assert target == StreamTarget(text, host, port, Security() if kind == "tls" else None)
            assert str(target) == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def test_namedArgumentsAreTaken(self) -> None:
        """The named arguments of Twisted's TLS endpoints are accepted, in any order."""
        for text, expected in (
            ("tls:a:1:timeout=3", StreamTarget("", "a", 1, Security(), patience=3)),
            ("tls:a:1:bindAddress=127.0.0.2", StreamTarget("", "a", 1, Security(), bindAddress="127.0.0.2")),
            ("tls:trustRoots=/x\\:y:a:1", StreamTarget("", "a", 1, Security("/x:y"))),
            ("tls:a:certificate=b:1:privateKey=c=d", StreamTarget("", "a", 1, Security(None, "b", "c=d"))),
        ):
            assert parseTarget(text) == replace(expected, description=text)

    def test_udpPrefixesAddress(self) -> None:
        """After udp: an address follows, in any form."""
        for text, host, port in (("a", "a", 8081), ("a:1", "a", 1), ("::1", "::1", 8081), ("[::1]:1", "::1", 1)):
            assert parseTarget(f"udp:{text}") == DatagramTarget(host, port)

    def test_mistakeIsRefusedWithReason(self) -> None:
        """A text that is near to a form is refused, with the reason."""
        mistakes = {
            "": "'' is not a host name or an IP address",
            "8081": "'8081' is a port without a host; for this machine write 127.0.0.1:8081",
            "example.org:0": "'example.org:0' has port 0, which cannot be connected to",
            "example.org:": "'' is not a port number from 0 to 65535",
            "*:8081": "'*' is not a host name or an IP address",
            "tcp:": "'tcp:' is not a valid tcp endpoint",
            "tcp:example.org:http": "'tcp:example.org:http' is not a valid tcp endpoint",
            "tcp:example.org:1:colour=red": "'tcp:example.org:1:colour=red' is not a valid tcp endpoint",
            "tcp:example.org:1:timeout=-1": "is not a valid tcp endpoint: a number is negative",
            "tcp:example.org:1:bindAddress=here": "endpoint: 'here' does not appear to be an IPv4 or IPv6 address",
            "unix:": "'unix:' is not a valid unix endpoint: ",
            "unix:/a:/b": "'unix:/a:/b' is not a valid unix endpoint: ",
            "unix:@": "'unix:@' is not a valid unix endpoint: the name is missing",
            "unix:@\0": "'unix:@\\x00' is not an address",
            "tls:": "'tls:' is not a valid tls endpoint: '' is not a host name or an IP address",
            "tls:example.org:http": "is not a valid tls endpoint: 'http' is not a port number from 0 to 65535",
            "tls:example.org:0": "has port 0, which cannot be connected to",
            "tls:example.org:1:2": "'example.org:1:2' is not an IPv6 address",
            "tls:443:host=example.org": "is not a valid tls endpoint: 'example.org' is not a port number",
            "tls:example.org:443:colour=red": "is not a valid tls endpoint: unknown field colour",
            "tls:example.org:443:description=red": "is not a valid tls endpoint: unknown field description",
            "tls:example.org:443:timeout=-1": "is not a valid tls endpoint: a number is negative",
            "tls:example.org:443:timeout=inf": "is not a valid tls endpoint: ",
            "tls:example.org:443:timeout=0.5": "is not a valid tls endpoint: ",
            "http://localhost:8081": "'http://localhost:8081' is a URL; write HOST:PORT, tls:HOST:PORT or ",
            "https://localhost": "is a URL; write HOST:PORT, tls:HOST:PORT or udp:HOST:PORT",
            "tls://localhost:443": "is a URL; write HOST:PORT, tls:HOST:PORT or udp:HOST:PORT",
            "udp://localhost": "is a URL; write HOST:PORT, tls:HOST:PORT or udp:HOST:PORT",
            "ssl:localhost:8443": "is not supported; write tls:HOST:PORT",
            "ssl:localhost": "is not supported; write tls:HOST:PORT",
            "tcp6:[::1]:80": "'tcp6:[::1]:80' has an unknown kind; the kinds are tcp:, tls:, unix: and udp:",
            "example:80:90": "has an unknown kind; the kinds are tcp:, tls:, unix: and udp:",
            "decade:80:90": "has an unknown kind; the kinds are tcp:, tls:, unix: and udp:",
            "dead:80:90": "'dead:80:90' is not an IPv6 address",
            "127.0.0.1:80:90": "'127.0.0.1:80:90' is not an IPv6 address",
            "udp:": "'' is not a host name or an IP address",
            "udp:8081:1:2": "'8081:1:2' is not an IPv6 address",
            "udp:example.org:0": "'udp:example.org:0' has port 0, which cannot be connected to",
            "udp:*:1": "'*' is not a host name or an IP address",
        }
        for text, message in mistakes.items():
            assert message in str(raised(ValueError, parseTarget, text))

    @given(st.ip_addresses(v=6), st.booleans(), st.sampled_from(["", "%eth0"]))
    def test_anyIPv6IsNoKind(self, address: IPv6Address, isLong: bool, interface: str) -> None:
        """No IPv6 address is taken for a kind of target, with whichever digits it begins."""
        host = (address.exploded if isLong else str(address)) + interface
        for text in (host, host.upper().replace("ETH", "eth")):
            assert parseTarget(text) == StreamTarget(text, text)

    def test_hostMayBeNamedLikeKind(self) -> None:
        """A host may have the name of a kind, and a path may look like a URL's."""
        assert parseTarget("ssl:8443") == StreamTarget("ssl:8443", "ssl", 8443)
        assert parseTarget("ssl") == StreamTarget("ssl", "ssl")
        assert parseTarget("unix:///run/x") == StreamTarget("unix:///run/x", path="///run/x")

    @given(KINDS, TEXTS)
    def test_anyTextIsTakenOrRefused(self, kind: str, rest: str) -> None:
        """Any text either is a target with a name of one line, or raises ValueError with one line."""
        error = raised(ValueError, parseTarget, kind + rest)
        line = str(error or parseTarget(kind + rest))
        assert len(line.splitlines()) == 1

    def test_anyMistakeIsTakenOrRefused(self) -> None:
        """So does any text that a form becomes when characters are lost, doubled, swapped or inserted."""
        random = Random(randomBytes(8))  # noqa: S311  # it has to be repeatable
        for _ in range(20_000):
            text = list(random.choice(FORMS))
            for _ in range(random.randint(1, 6)):
                start, end = sorted(random.choices(range(len(text) + 1), k=2))
                text[start:end] = random.choice(
                    ["", text[start:end] * 2, text[end:], random.choice("[]:=%-\\9é\n\x1b")]
                )
            error = raised(ValueError, parseTarget, "".join(text))
            assert str(error or parseTarget("".join(text))).isprintable(), text

    @given(KINDS, TEXTS)
    @example("udp:", "0.0.0.0")  # noqa: S104  # no socket is bound to it
    @example("udp:", "[::1]:1")
    def test_anyTargetCanBeTried(self, kind: str, rest: str) -> None:
        """Any target can be tried: if connecting fails it fails with a PathError."""
        Names({}).install(self)
        if not raised(ValueError, parseTarget, kind + rest):
            failures: list[Failure] = []
            connect(OfflineReactor(), kind + rest).addErrback(failures.append)
            assert [failure.value for failure in failures if not failure.check(PathError)] == []


class NumberTests(SynchronousTestCase):
    """A port is in range, and a path fits into a socket's address."""

    def test_outOfRangeIsRefused(self) -> None:
        """A number that is too large, or a path that is too long, is refused in the form in which it was written."""
        path, name = f"unix:/{'x' * 107}", f"unix:@{'x' * 108}"
        for text, message in (
            ("127.0.0.1:99999", "'99999' is not a port number from 0 to 65535"),
            ("tcp:127.0.0.1:70000", "'tcp:127.0.0.1:70000' is not a valid tcp endpoint: '70000' is"),
            ("tcp6:::1:443", "'tcp6:::1:443' has an unknown kind; the kinds are tcp:, tls:, "),
            (path, f"'{path}' is not a valid unix endpoint: longer than the 107 bytes "),
            (name, f"'{name}' is not a valid unix endpoint: longer than the 107 bytes "),
        ):
            error = str(raised(ValueError, parseTarget, text))
            assert error.startswith(message), error
