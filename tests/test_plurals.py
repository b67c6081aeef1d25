"""Numbers of things, in words."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.plurals import counted, plural


class CountedTests(SynchronousTestCase):
    """`counted` puts a noun after its number."""

    def test_onlyOneIsSingular(self) -> None:
        """One is singular; none and several are plural."""
        assert [counted(number, "line") for number in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]
        assert [plural(number, "line") for number in (0, 1, 2)] == ["lines", "line", "lines"]
