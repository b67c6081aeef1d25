"""Whether every byte comes back as it should, whatever the bytes, their number and their division over writes."""

from collections.abc import Iterable
from dataclasses import replace

from twisted.internet.defer import DeferredSemaphore

from echoup.client.diagnose.exactness.judgement import describe, judge, judgeFirst
from echoup.client.diagnose.exactness.samples import LARGE, Kind, Sample, ofSize, opening, samples
from echoup.client.diagnose.exactness.sending import Answers, How, SampleResult, attempt
from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.together import together

TOGETHER = 6
"""How many payloads are under way at the same time."""

REPEATED = 3
"""How many payloads whose reply hung are sent again: each takes a timeout."""

SLOW = 5.0
"""Seconds that a payload of LARGE sizes may take, judged by the one before; on a slower path it is left out."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Send payloads of all kinds, each on its own connection, and compare the replies.

    What failed is sent again: only what fails twice counts. Raise PathError where there is no connection.
    """
    tell("the first reply")
    answers, first = await _begin(path)
    if first.how is not How.RIGHT:
        again = await attempt(path, first.sample, answers)
        if again.error:
            raise again.error
        if again.how is not How.RIGHT:
            return describe([again], judgeFirst(again), answers)
        first = again
    payloads = samples(_host(first.local))
    tell(f"{len(payloads)} payloads")
    outcomes = [first, *await _attemptAll(path, payloads, answers)]
    size = max((each for each in outcomes if each.sample.kind is Kind.SIZE), key=lambda each: len(each.sent))
    for number in LARGE:
        if size.how is not How.RIGHT or size.seconds * number / len(size.sent) > SLOW:
            break
        tell(f"{number} bytes")
        size = await attempt(path, ofSize(number), answers)
        outcomes.append(size)
    confirmed, filtered = await _confirm(path, [each for each in outcomes if each.how is not How.RIGHT], answers, tell)
    return describe(outcomes, judge(confirmed, filtered, outcomes), answers)


async def _begin(path: PathUnderTest) -> tuple[Answers, SampleResult]:
    """Find out when the server answers, with a payload without a line end; return that and the first reply."""
    first = await attempt(path, opening(), Answers.AT_ONCE)
    if first.error:
        raise first.error
    if first.how is not How.HUNG or first.received:
        return Answers.AT_ONCE, first
    for answers in (Answers.BY_LINE, Answers.AT_END):
        other = await attempt(path, opening(), answers)
        if other.received and answers is Answers.BY_LINE:
            # It may only have been late, or lost, the first time.
            again = await attempt(path, opening(), Answers.AT_ONCE)
            return (Answers.AT_ONCE, again) if again.received else (answers, other)
        if other.received:
            return answers, other
    return Answers.AT_ONCE, first


async def _attemptAll(path: PathUnderTest, payloads: Iterable[Sample], answers: Answers) -> list[SampleResult]:
    """Send the payloads, TOGETHER at the same time."""
    places = DeferredSemaphore(TOGETHER)

    async def send(sample: Sample) -> SampleResult:
        async with places:
            return await attempt(path, sample, answers)

    return await together(map(send, payloads))


async def _confirm(
    path: PathUnderTest, failed: Iterable[SampleResult], answers: Answers, tell: Tell
) -> tuple[list[SampleResult], list[SampleResult]]:
    """Send what failed again, one after the other, the smallest first; return what fails again.

    What shows the same alteration as a payload that has failed twice is taken as it is. The second list has the
    look-alikes whose random twins pass. Raise PathError where there is no connection.
    """
    confirmed: list[SampleResult] = []
    filtered: list[SampleResult] = []
    hung = 0
    for outcome in sorted(failed, key=_urgency):
        sample, alteration = outcome.sample, outcome.alteration
        if alteration and any(each.alteration and each.alteration.cause == alteration.cause for each in confirmed):
            confirmed.append(outcome)
            continue
        hung += outcome.how is How.HUNG
        if hung > REPEATED:
            break
        tell(f"again: {sample.name}")
        again = await attempt(path, sample, answers)
        if again.error:
            raise again.error
        if again.how is How.RIGHT:
            continue
        twins = await _attemptAll(path, [replace(sample, data=sample.twin)] * 2, answers) if sample.twin else []
        isFiltered = bool(twins) and all(twin.how is How.RIGHT for twin in twins)
        (filtered if isFiltered else confirmed).append(again)
    return confirmed, filtered


def _urgency(outcome: SampleResult) -> tuple[bool, int, int]:
    """Return what is sent again first: what fails fast, and what says the most."""
    return outcome.how is How.HUNG, [*Kind].index(outcome.sample.kind), len(outcome.sent)


def _host(local: str) -> str:
    """Return the host of our own address; one for documents (RFC 5737) where it has none."""
    host = local.rpartition(":")[0].strip("[]")
    return host if host.count(".") == 3 or ":" in host else "192.0.2.1"
