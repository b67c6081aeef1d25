"""Numbers of things, in words."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.plurals import counted, listed, plural


class CountedTests(SynchronousTestCase):
    """`counted` puts a noun after its number."""

    def test_onlyOneIsSingular(self) -> None:
        """One is singular; none and several are plural."""
        assert [counted(number, "line") for number in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]
        assert [plural(number, "line") for number in (0, 1, 2)] == ["lines", "line", "lines"]

    def test_longListIsCut(self) -> None:
        """Of a long list, the first words and their number are shown."""
        assert listed(["a", "b"]) == listed(["a", "b"], 2) == "a, b"
        assert listed(["a", "b", "c"], 2) == "a, b, … (3)"
