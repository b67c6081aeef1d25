"""Latencies, and what they say about a queue."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.longchecks.latency import Latencies, lateness


def latencies(reply: float, handshake: float, probes: int = 3, handshakes: int = 3) -> Latencies:
    """Return times that are all the same."""
    return Latencies([reply] * probes, [handshake] * handshakes)


class LatenciesTests(SynchronousTestCase):
    """Times are summed up once there are enough."""

    def test_fewSayNothing(self) -> None:
        """A median of few is none."""
        few = latencies(0.1, 0.1, 2, 2)
        assert (few.typical, few.typicalHandshake) == (None, None)
        assert few.figures == {"probes": 2, "handshake": None, "p50": None, "p95": None, "max": None}

    def test_figures(self) -> None:
        """The report has the median, the 95th percentile and the largest."""
        times = latencies(0.1, 0.01, 5)
        times.add(Latencies([0.2] * 5 + [0.3], []))
        assert times.figures == {"probes": 11, "handshake": 0.01, "p50": 0.2, "p95": 0.25, "max": 0.3}


class LatenessTests(SynchronousTestCase):
    """A queue makes both replies and handshakes late."""

    idle = latencies(0.0005, 0.0003)

    def test_queueOnTheWay(self) -> None:
        """Replies and handshakes that are half a second late wait in a queue on the way."""
        assert abs(lateness(self.idle, latencies(0.5005, 0.5)) - 0.5) < 1e-9

    def test_busyProgram(self) -> None:
        """Replies alone are late because of the programs."""
        assert lateness(self.idle, latencies(2.0, 0.01)) == 0

    def test_shortQueue(self) -> None:
        """A queue of less than 0.1 s is no trouble."""
        assert lateness(self.idle, latencies(0.09, 0.09)) == 0

    def test_longPath(self) -> None:
        """On a long path the latency must double as well."""
        far = latencies(0.3, 0.3)
        assert lateness(far, latencies(0.45, 0.45)) == 0
        assert lateness(far, latencies(0.7, 0.7)) > 0.3

    def test_unknown(self) -> None:
        """Where the kernel doesn't tell its times, nothing is said."""
        assert lateness(self.idle, latencies(1.0, 1.0, handshakes=0)) == 0
        assert lateness(latencies(0.1, 0.1, 1), latencies(1.0, 1.0)) == 0
