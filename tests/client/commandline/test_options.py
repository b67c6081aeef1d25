"""The target that TARGET and the options of the path make."""

from typing import Any

import click
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.commandline.options import pathOptions
from echoup.client.target.datagram import DatagramTarget
from echoup.client.target.parse import parseTarget
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import raised
from tests.support.properties import given, st

OPTIONS = ["--tls", "--insecure", "--cafile=a", "--cert=b", "--key=c", "--server-name=d", "--proxy-protocol=v1"]


@click.command()
@pathOptions
@click.option("--other")
def command(target: object, other: str | None) -> object:
    """Return the target."""
    return target, other


def made(*arguments: str) -> Any:
    """Return the target that `arguments` make."""
    return command.main(list(arguments), standalone_mode=False)[0]


class PathOptionsTests(SynchronousTestCase):
    """`pathOptions` gives a command its target."""

    def test_targetWithoutOptions(self) -> None:
        """Without options the target is TARGET's, by default the local daemon; the command keeps its own options."""
        assert made() == parseTarget("127.0.0.1:8081")
        for text in ("example.org", "unix:/run/echoup", "tls:example.org:443", "udp:[::1]:1"):
            assert made(text) == parseTarget(text)
        assert command.main(["--other=x", "a"], standalone_mode=False) == (parseTarget("a"), "x")

    def test_tlsOptionsSetSecurity(self) -> None:
        """`--tls` makes the target TLS, and each of its options sets a field of its security."""
        assert made("a", "--tls") == StreamTarget("a", "a", 8081, Security())
        for option, security in (
            ("--cafile=x", Security(cafile="x")),
            ("--cert=x", Security(cert="x")),
            ("--server-name=x", Security(serverName="x")),
            ("--insecure", Security(insecure=True)),
        ):
            assert made("a", "--tls", option) == StreamTarget("a", "a", 8081, security)
        everything = made("a:1", "--tls", "--cafile=b", "--cert=c", "--key=d", "--server-name=e", "--proxy-protocol=v2")
        assert everything == StreamTarget("a:1", "a", 1, Security("b", "c", "d", "e"), 2)

    def test_optionsOverrideTLSTarget(self) -> None:
        """A TARGET that begins with tls: needs no `--tls`; the options override what its string says."""
        text = "tls:a:443:certificate=b:privateKey=c:trustRoots=d:bindAddress=127.0.0.1:timeout=3"
        target = made(text, "--cafile=x", "--insecure")
        assert target == StreamTarget(text, "a", 443, Security("x", "b", "c", insecure=True), None, "127.0.0.1", 3)
        assert made("tls:a", "--tls") == parseTarget("tls:a")
        assert made("tls:a:443:certificate=b", "--key=c") == StreamTarget(
            "tls:a:443:certificate=b", "a", 443, Security(None, "b", "c")
        )

    def test_proxyProtocolSetsVersion(self) -> None:
        """`--proxy-protocol` sets the version of the header, with or without TLS."""
        for name, version in (("v1", 1), ("v2", 2)):
            for text in ("a", "tls:a", "tcp:a:1", "unix:a"):
                assert made(text, f"--proxy-protocol={name}").proxyProtocol == version

    def test_unixTargetMayBeTLS(self) -> None:
        """A target without a host may be TLS, with the name to expect in the certificate or `--insecure`."""
        for option in ("--server-name=a", "--insecure"):
            assert made("unix:/run/echoup", "--tls", option).security

    def test_pinSetsSecurity(self) -> None:
        """`--pin` is part of the security, in its normal form, beside `--insecure` or without it."""
        digits = "AB" * 32
        pin = f"sha256:{digits.lower()}"
        assert made("tls:a", f"--pin=sha256:{digits}").security == Security(pin=pin)
        assert made("a", "--tls", "--insecure", f"--pin={pin}").security == Security(insecure=True, pin=pin)

    def test_sourceAndTOSAreSet(self) -> None:
        """`--source` and `--tos` say how streams and datagrams are sent; the source chooses the version of IP."""
        for text in ("a:1", "tls:a:1", "udp:a:1", "127.0.0.1:1"):
            target = made(text, "--source=127.0.0.2", "--tos=EF")
            assert (target.bindAddress, target.tos, target.family) == ("127.0.0.2", 0xB8, 4)
            assert made(text, "--tos=0").tos == 0
        assert made("a", "--source=::1", "-6").bindAddress == "::1"
        assert made("[fe80::1%lo]:1", "--source=fe80::2%lo").bindAddress == "fe80::2%lo"
        assert made("a").tos is None

    def test_contradictionsAreRefused(self) -> None:
        """Options that contradict each other are refused, with the reason."""
        needTLS = "--cafile, --cert, --key, --server-name, --insecure and --pin need --tls"
        streams = "TLS and the PROXY protocol need a stream, and udp:a is UDP"
        host = "has no host name to expect in the certificate: name one with --server-name"
        for arguments, message in (
            (["8081"], "'8081' is a port without a host"),
            (["--cafile=x"], needTLS),
            (["--cert=x"], needTLS),
            (["--key=x"], needTLS),
            (["--server-name=x"], needTLS),
            (["--insecure"], needTLS),
            ([f"--pin=sha256:{'0' * 64}"], needTLS),
            (["--tls", "--pin=x"], "Invalid value for '--pin': 'x' is not sha256:"),
            (["udp:a", f"--pin=sha256:{'0' * 64}"], streams),
            (["--source=localhost"], "Invalid value for '--source': 'localhost' is not an IP address"),
            (["--source="], "Invalid value for '--source': '' is not an IP address"),
            (["--source=::1"], "--source ::1 is IPv6, and 127.0.0.1:8081 isn't"),
            (["udp:[::1]:1", "--source=127.0.0.1"], "--source 127.0.0.1 is IPv4, and udp:[::1]:1 isn't"),
            (["a", "--source=::1", "-4"], "--source ::1 is IPv6, so -4 can't be given"),
            (["tcp:a:1:bindAddress=127.0.0.1", "--source=::1"], "has a bindAddress, so --source can't be given"),
            (["unix:a", "--source=::1"], "--source and --tos need a host, and unix:a has none"),
            (["unix:a", "--tos=0"], "--source and --tos need a host, and unix:a has none"),
            (["udp:a", "--source=fe80::1%lo"], "over UDP --source can't be a link-local address with its interface"),
            (["--tos=256"], "Invalid value for '--tos': '256' is neither"),
            (["--tls", "--key=x"], "--key needs --cert"),
            (["tls:a:443:privateKey=x"], "--key needs --cert"),
            (["--tls", "--cafile="], "--cafile: '' is not a file"),
            (["--tls", "--cert="], "--cert: '' is not a file"),
            (["unix:a", "--tls"], f"unix:a {host}"),
            (["a", "-4", "-6"], "-4 and -6 are mutually exclusive"),
            (["unix:a", "-6"], "-4 and -6 need a host, and unix:a has none"),
            (["udp:a", "--tls"], streams),
            (["udp:a", "--insecure"], streams),
            (["udp:a", "--proxy-protocol=v1"], streams),
            (["a", "--proxy-protocol=v3"], "'v3' is not one of 'v1', 'v2'"),
        ):
            error = raised(click.UsageError, made, *arguments)
            assert error is not None
            assert message in error.format_message()

    @given(st.sampled_from(["a", "tls:a:1", "tcp:a:1", "unix:a", "udp:a", "a:0"]), st.sets(st.sampled_from(OPTIONS)))
    def test_anyOptionsAreTakenOrRefused(self, text: str, options: set[str]) -> None:
        """Any options together either make a target that has them all, or are refused in one line."""
        if error := raised(click.UsageError, made, text, *options):
            assert len(error.format_message().splitlines()) == 1
            return
        target = made(text, *options)
        if isinstance(target, DatagramTarget):
            assert not options
        else:
            assert (target.proxyProtocol == 1) == ("--proxy-protocol=v1" in options)
            assert bool(target.security) == (text.startswith("tls:") or "--tls" in options)
            if security := target.security:
                assert security.insecure == ("--insecure" in options)
                assert [security.cafile, security.cert, security.key, security.serverName] == [
                    value if any(option.endswith(f"={value}") for option in options) else None for value in "abcd"
                ]
