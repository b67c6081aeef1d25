"""Durations: their grammar, and their exact values."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.durations import MAXIMUM, UNITS, parseDuration, parsePositiveDuration
from tests.support.doubles import raised
from tests.support.properties import example, given, st

NUMBERS = st.from_regex(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}", fullmatch=True)
PIECES = ["0", "5", ".", "9" * 9, *UNITS, "h", "-", "+", "e3", "_", " ", "\n", "nan", "inf"]
TEXTS = st.text() | st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


class DurationTests(SynchronousTestCase):
    """`parseDuration` reads a number of seconds, or a number with a unit."""

    def test_unitsAreUnderstood(self) -> None:
        """A number is seconds, unless it has a unit; its value is the nearest float."""
        for text, seconds in {
            "5": 5.0,
            "5.": 5.0,
            "0.5": 0.5,
            ".5": 0.5,
            "0": 0.0,
            "5s": 5.0,
            "0.5s": 0.5,
            "500ms": 0.5,
            "0.7ms": 0.0007,
            "250us": 0.00025,
            "250µs": 0.00025,
            "250μs": 0.00025,
            "2m": 120.0,
            "1.5m": 90.0,
            "999999999": float(MAXIMUM),
            "999999999ms": 999999.999,
        }.items():
            assert parseDuration(text) == seconds, text

    def test_otherTextIsRefused(self) -> None:
        """What is neither a number nor a number with a unit is refused, in one line that names the forms."""
        for text in (
            *("", " ", "soon", "nan", "inf", "-inf", "-1", "-1s", "+1", "1e3", "1_0", "0x5", "٣", "."),
            *("ms", "5h", "5 s", " 5", "5\n", "5S", "5min", "5ss", "1m30s", "1,5", "9" * 10, "9" * 400),
        ):
            error = raised(ValueError, parseDuration, text)
            assert str(error) == f"{text!r} is not a duration such as 5, 0.5, 500ms, 5s or 2m"

    def test_hugeIsRefused(self) -> None:
        """More than MAXIMUM is refused, also where only the unit makes it that long."""
        for text in ("999999999m", "16666667m", "999999999.1"):
            assert str(raised(ValueError, parseDuration, text)) == f"{text!r} is more than 999999999 seconds"
        assert parseDuration("16666666m") == 999999960

    def test_zeroIsNotPositive(self) -> None:
        """Where 0 makes no sense it is refused, whatever its unit, and so is what a float can't tell from it."""
        for text in ("0", "0.0", "0ms", "0m", f".{'0' * 400}1s"):
            assert parseDuration(text) == 0
            assert str(raised(ValueError, parsePositiveDuration, text)) == f"{text!r} is not a duration of more than 0"
        assert parsePositiveDuration("1us") == 1e-6
        assert raised(ValueError, parsePositiveDuration, "-1")

    @given(NUMBERS)
    def test_secondsAreTheNumber(self, number: str) -> None:
        """Without a unit, and with the unit s, the value is the number."""
        if float(number) <= MAXIMUM:
            assert parseDuration(number) == parseDuration(f"{number}s") == float(number)

    @given(TEXTS)
    @example("\ud800\u2028")
    def test_anyTextIsTakenOrRefused(self, text: str) -> None:
        """Any text is either 0 to MAXIMUM seconds, or refused in one line."""
        if error := raised(ValueError, parseDuration, text):
            assert len(str(error).splitlines()) == 1
        else:
            assert 0 <= parseDuration(text) <= MAXIMUM
