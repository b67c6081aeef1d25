"""What a check found."""

from unittest import TestCase

from echoup.client.diagnose.finding import Finding, Problem, Status


class FindingTests(TestCase):
    """Tests of Finding."""

    def test_datagramsOnlyWarnOfStream(self) -> None:
        """For a target that is a stream, only failures of UDP alone become warnings."""
        problems = (
            Problem(Status.FAIL, "one", "", isOfDatagrams=True),
            Problem(Status.NOTE, "two", "", isOfDatagrams=True),
            Problem(Status.FAIL, "three", ""),
        )
        milder = Finding("", problems).asOfStream()
        assert [each.status for each in milder.problems] == [Status.WARN, Status.NOTE, Status.FAIL]
