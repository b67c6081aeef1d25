"""What messages call a server."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import describeServer


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
