"""What messages call a server."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import ExitCode, PathError, describeServer


class PathErrorTests(SynchronousTestCase):
    """`PathError` keeps the reason apart from the server, and is one line of both."""

    def test_lineNamesServerAndReason(self) -> None:
        """The line says what failed, with which server, at which address, and why."""
        for arguments, line in (
            (("why",), "why"),
            (("why", "there:1"), "there:1: why"),
            (("why", "there:1", "192.0.2.1:1"), "there:1 (192.0.2.1:1): why"),
            (("why", "192.0.2.1:1", "192.0.2.1:1"), "192.0.2.1:1: why"),
            (("why", "there:1", None, "cannot connect to"), "cannot connect to there:1: why"),
        ):
            error = PathError(ExitCode.SHORT, *arguments)
            assert (error.code, error.reason, str(error)) == (ExitCode.SHORT, "why", line)


class DescribeServerTests(SynchronousTestCase):
    """`describeServer` adds the address that was reached, unless the name is that address."""

    def test_addressIsNamedOnce(self) -> None:
        """A name is followed by the address; an address is named once, over UDP too."""
        for server, remote, text in (
            ("there:1", None, "there:1"),
            ("there:1", "192.0.2.1:1", "there:1 (192.0.2.1:1)"),
            ("192.0.2.1:1", "192.0.2.1:1", "192.0.2.1:1"),
            ("[::1]:1", "[::1]:1", "[::1]:1"),
            ("udp:192.0.2.1:1", "192.0.2.1:1", "udp:192.0.2.1:1"),
            ("udp:there:1", "[::1]:1", "udp:there:1 ([::1]:1)"),
            ("unix:/run/x", "unix:/run/x", "unix:/run/x"),
            ("unix:/run/x:timeout=1", "unix:/run/x", "unix:/run/x:timeout=1 (unix:/run/x)"),
        ):
            assert describeServer(server, remote) == text
