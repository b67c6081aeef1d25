"""The files of the C library's resolver."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.nameservers.configuration import ResolverConfiguration, isInHosts


class ConfigurationTests(SynchronousTestCase):
    """`ResolverConfiguration` reads resolv.conf as glibc does."""

    def test_fileIsParsed(self) -> None:
        """Nameservers, the last search list and the options are taken; the rest counts for nothing."""
        text = """
        # nameserver 192.0.2.9
        nameserver 192.0.2.1
        nameserver fe80::1%eth0
        nameserver
        domain old.example
        search one.example two.example. .
        options ndots:2 timeout:3 rotate attempts:x
        sortlist 130.155.160.0/255.255.240.0
        """
        expected = ResolverConfiguration(
            ("192.0.2.1", "fe80::1%eth0"), ("one.example", "two.example"), dots=2, timeout=3
        )
        assert ResolverConfiguration.parse(text) == expected

    def test_defaultsHold(self) -> None:
        """Without a line, and with numbers that are none, the defaults of resolv.conf(5) hold."""
        assert ResolverConfiguration.parse("options ndots:x timeout:0") == ResolverConfiguration(
            ("127.0.0.1",), timeout=1
        )
        assert ResolverConfiguration.read(Path("/nonexistent/resolv.conf")) == ResolverConfiguration(("127.0.0.1",))

    def test_glibcAsksThree(self) -> None:
        """A fourth nameserver is never asked."""
        text = "".join(f"nameserver 192.0.2.{number}\n" for number in range(5))
        assert ResolverConfiguration.parse(text).nameservers == ("192.0.2.0", "192.0.2.1", "192.0.2.2")

    def test_candidatesFollowTheSearchList(self) -> None:
        """A name with enough dots is looked up as it is first, others last, and one with a dot at its end only so."""
        configuration = ResolverConfiguration(("192.0.2.1",), ("a.example", "b.example"))
        assert [*configuration.candidates("there")] == ["there.a.example", "there.b.example", "there"]
        assert [*configuration.candidates("there.c")] == ["there.c", "there.c.a.example", "there.c.b.example"]
        assert [*configuration.candidates("there.c.")] == ["there.c"]
        assert [*configuration.candidates("there.")] == ["there"]

    def test_impossibleNamesAreLeftOut(self) -> None:
        """A label has 1 to 63 bytes, and a name 253 at most (RFC 1035, 2.3.4)."""
        configuration = ResolverConfiguration(search=("example",))
        for name in ("a..b", ".", "a" * 64, "\xe4", f"{'a.' * 127}a"):
            assert [*configuration.candidates(name)] == [], name
        assert [*configuration.candidates("a.b" + ".c" * 124)] == ["a.b" + ".c" * 124]

    def test_hostsFileIsRead(self) -> None:
        """A name of hosts(5) is found by any of its names, in any case; a comment or an address isn't one."""
        path = Path(self.enterContext(TemporaryDirectory())) / "hosts"
        path.write_text("192.0.2.1 there.example There # elsewhere\n::1 localhost\n")
        for name in ("THERE", "there.example.", "localhost"):
            assert isInHosts(name, str(path)), name
        for name in ("192.0.2.1", "elsewhere", "here", "#"):
            assert not isInHosts(name, str(path)), name
        assert not isInHosts("there", str(path.with_name("missing")))
