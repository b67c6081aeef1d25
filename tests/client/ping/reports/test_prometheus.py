"""The gauges that Prometheus reads of probes."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families
from trustme import CA
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.trace import Phase, Step
from echoup.client.exitcodes import ExitCode
from echoup.client.ping.reports.prometheus import PrometheusReport
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.result import Result
from tests.support.certificates import NAME, inDER
from tests.support.samples import UNMET, probe, told, traced


class PrometheusTests(SynchronousTestCase):
    """`PrometheusReport` writes the text format of Prometheus."""

    def samples(self, *results: Result, requirements: tuple[Requirement, ...] = ()) -> dict[str, float]:
        """Return what is written for `results`, as Prometheus reads it: a name, or `name:label`, and its value.

        The step that failed is left out, as `failed` returns it.
        """
        found = self.allSamples(*results, requirements=requirements)
        steps = {name: found.pop(name) for name in [*found] if name.startswith("failed_step:")}
        assert [*steps] == [f"failed_step:{step.value}" for step in Step]
        return found

    def failed(self, *results: Result) -> list[str]:
        """Return the steps that are marked as failed."""
        found = self.allSamples(*results)
        return [name.partition(":")[2] for name, value in found.items() if name.startswith("failed_step:") and value]

    def allSamples(self, *results: Result, requirements: tuple[Requirement, ...] = ()) -> dict[str, float]:
        """Return all that is written."""
        written: list[str] = []
        told(PrometheusReport(written.append), *results, requirements=requirements)
        (text,) = written
        found = {}
        for family in text_string_to_metric_families(text):
            assert family.type == "gauge"
            for sample in family.samples:
                assert sample.labels.pop("target") == "there:1"
                found[":".join([sample.name.removeprefix("echoup_ping_"), *sample.labels.values()])] = sample.value
        return found

    def test_knownValuesAreWritten(self) -> None:
        """All known values are written, and every requirement, met or not."""
        certificate = inDER(CA().issue_cert(NAME))
        trace = traced(
            Phase(Step.CONNECT, 0.0, {}, 9.0, "Connection refused"),
            Phase(Step.CONNECT, 0.0, {}, 0.5),
            certificate=certificate,
        )
        found = self.samples(probe(1, 0.25), probe(2, 0.25, trace=trace), requirements=(UNMET,))
        assert found.pop("certificate_expiry_timestamp_seconds") > 1e9
        assert found == {
            "up": 1,
            "probes:answered": 2,
            "probes:lost": 0,
            "probes:wrong": 0,
            "probes:unsent": 0,
            **{f"seconds:{percent}": 0.25 for percent in (50, 90, 95, 99)},
            **{f"seconds_{name}": 0.25 for name in ("min", "avg", "max")},
            "seconds_stddev": 0,
            "phase_seconds:connect": 0.5,
            "untimed": 0,
            "outage_seconds": 0,
            "down_since_seq": 0,
            "exit_code": 1,
            "requirement_met:avg<0us": 0,
        }

    def test_answerInAPauseHasNoTime(self) -> None:
        """An answer that was read after a pause of this process is counted, and the steps are those of another one."""
        trace = traced(Phase(Step.CONNECT, 0.0, {}, 0.5))
        found = self.samples(probe(1, 0.25, trace=trace), replace(probe(2), seconds=None))
        assert (found["probes:answered"], found["untimed"], found["seconds_max"]) == (2, 1, 0.25)
        assert found["phase_seconds:connect"] == 0.5

    def test_unknownValuesAreLeftOut(self) -> None:
        """An unknown value is left out."""
        found = self.samples(probe(2, code=ExitCode.TIMED_OUT))
        counts = {"probes:answered": 0, "probes:lost": 1, "probes:wrong": 0, "probes:unsent": 0, "untimed": 0}
        assert found == {"up": 0, "exit_code": 5, "outage_seconds": 0, "down_since_seq": 2} | counts

    def test_outageThatIsNotOverHasNoLength(self) -> None:
        """The longest outage is one that is over; of one that isn't there is the first probe."""
        lost = [probe(seq, code=ExitCode.TIMED_OUT) for seq in (1, 3, 4)]
        found = self.samples(lost[0], probe(2), *lost[1:])
        assert (found["outage_seconds"], found["down_since_seq"]) == (1.001, 3)

    def test_lastFailureHasStep(self) -> None:
        """The step is that of the last probe that failed, answered or not since; a probe that wasn't sent is none."""
        late = probe(2, code=ExitCode.TIMED_OUT, trace=traced(Phase(Step.FIRST_BYTE, 0.0, {})))
        assert self.failed(probe(1)) == []
        assert self.failed(probe(1, code=ExitCode.UNREACHABLE), probe(2), probe(3, code=ExitCode.LOCAL)) == ["connect"]
        assert self.failed(late, probe(1, code=ExitCode.UNREACHABLE)) == ["first byte"]
        assert self.failed(probe(1, code=ExitCode.TLS_FAILED)) == ["TLS"]

    def test_targetsHaveLabels(self) -> None:
        """Each target has its own samples, and a gauge is described once."""
        written: list[str] = []
        told(PrometheusReport(written.append), probe(1), others={"b:1": (probe(1, code=ExitCode.UNREACHABLE),)})
        (text,) = written
        assert text.count("# HELP echoup_ping_up ") == text.count("# TYPE echoup_ping_up gauge") == 1
        assert {'echoup_ping_up{target="there:1"} 1.0', 'echoup_ping_up{target="b:1"} 0.0'} <= {*text.splitlines()}
        assert 'echoup_ping_exit_code{target="b:1"} 4.0' in text
        assert 'echoup_ping_failed_step{step="connect",target="b:1"} 1.0' in text

    def test_unsentProbeTellsNothingOfThePath(self) -> None:
        """A probe that wasn't sent is counted apart, and doesn't say whether the server is up."""
        mine = probe(2, code=ExitCode.LOCAL)
        found = self.samples(probe(1), mine)
        assert (found["up"], found["probes:lost"], found["probes:unsent"], found["outage_seconds"]) == (1, 0, 1, 0)
        assert self.samples(probe(1, code=ExitCode.TIMED_OUT), mine)["up"] == 0
        counts = {"probes:answered": 0, "probes:lost": 0, "probes:wrong": 0, "probes:unsent": 1, "untimed": 0}
        assert self.samples(mine) == counts | {"outage_seconds": 0, "down_since_seq": 0, "exit_code": 8}
