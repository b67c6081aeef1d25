"""Times and amounts in words."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.amounts import size, time


class AmountTests(SynchronousTestCase):
    """Two significant digits are enough."""

    def test_timesHaveTheirUnit(self) -> None:
        """Less than a second is in ms."""
        words = [time(seconds) for seconds in (0, 0.0000123, 0.00031, 0.0099, 0.02, 0.7, 0.9996, 1.25, 75)]
        assert words == ["0 ms", "0.012 ms", "0.31 ms", "9.9 ms", "20 ms", "700 ms", "1 s", "1.2 s", "75 s"]

    def test_sizesHaveTheirUnit(self) -> None:
        """Four digits are never needed."""
        words = [size(count) for count in (0, 1, 999, 1000, 4096, 1.5 * 2**20, 2**30, 2**41)]
        assert words == ["0 B", "1 B", "999 B", "0.98 KiB", "4 KiB", "1.5 MiB", "1 GiB", "2048 GiB"]
