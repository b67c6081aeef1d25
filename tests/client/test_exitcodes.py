"""What messages call a server."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import describeServer


class DescribeServerTests(SynchronousTestCase):
    """`describeServer` tells the address of a server that was reached, if its name doesn't."""

    def test_forms(self) -> None:
        """A name is told with the address; an address is told once, over UDP, too."""
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
