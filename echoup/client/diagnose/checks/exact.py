"""Whether every byte comes back as it should, whatever the bytes, their number and their division over writes."""

from collections.abc import Iterable
from dataclasses import replace

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.task import deferLater

from echoup.client.diagnose.exactness.judgement import describe, judge, judgeFirst, judgeNone
from echoup.client.diagnose.exactness.samples import LARGE, Kind, Sample, ofSize, opening, samples
from echoup.client.diagnose.exactness.sending import Answers, How, SampleResult, attempt
from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.together import together

TOGETHER = 3
"""How many payloads are under way at the same time."""

REPEATED = 3
"""How many payloads whose reply hung are sent again: each takes a timeout."""

BREATH = 0.3
"""Seconds before a payload is sent again whose connection ended without a reply: others may end meanwhile."""

RETRIES, CONTROLS = 2, 3
"""How many times such a payload is sent again, by itself, and how many others then show whether it is the reason."""

SLOW = 5.0
"""Seconds that a payload of LARGE sizes may take, judged by the one before; on a slower path it is left out."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Send payloads of all kinds, each on its own connection, and compare the replies.

    What failed is sent again: only what fails twice counts. Raise PathError where there is no connection any more.
    """
    tell("the first reply")
    answers, first = await _begin(path)
    if first.how is not How.RIGHT:
        untried = path.untried
        again = await _attemptAlone(path, first.sample, answers)
        if again.error:
            if path.host:  # reach has made one
                raise again.error
            return describe([again], (judgeNone(again.error),), answers)
        if again.how is not How.RIGHT:
            return describe([again], judgeFirst(again, untried), answers)
        first = again
    payloads = samples(_host(first.local))
    tell(f"{len(payloads)} payloads")
    outcomes = [first, *await _attemptAll(path, payloads, answers)]
    isSlow = await _sendLarge(path, outcomes, answers, tell)
    failed = [each for each in outcomes if each.how is not How.RIGHT]
    confirmed, filtered = await _confirm(path, failed, answers, tell)
    closed = [each for each in confirmed if each.isClosed]
    if closed and await _isLimited(path, answers, tell):
        confirmed = [each for each in confirmed if not each.isClosed]
    else:
        closed = []
    return describe(outcomes, judge(confirmed, filtered, outcomes, closed), answers, isSlow)


async def _begin(path: PathUnderTest) -> tuple[Answers, SampleResult]:
    """Find out when the server answers, with a payload without a line end; return that and the first reply."""
    first = await attempt(path, opening(), Answers.AT_ONCE)
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


async def _attemptAlone(path: PathUnderTest, sample: Sample, answers: Answers) -> SampleResult:
    """Send one payload, again after a pause where its connection ends without a reply."""
    outcome = await attempt(path, sample, answers)
    for _ in range(RETRIES):
        if not outcome.isClosed:
            break
        await deferLater(path.clock, BREATH)
        outcome = await attempt(path, sample, answers)
    return outcome


async def _isLimited(path: PathUnderTest, answers: Answers, tell: Tell) -> bool:
    """Return whether connections end without a reply whatever is sent on them."""
    tell("what is known to pass, to see whether connections are limited")
    for _ in range(CONTROLS):
        if (await attempt(path, opening(), answers)).how is not How.RIGHT:
            return True
        await deferLater(path.clock, BREATH)
    return False


async def _sendLarge(path: PathUnderTest, outcomes: list[SampleResult], answers: Answers, tell: Tell) -> bool:
    """Send the payloads of LARGE sizes, unless smaller ones fail; return whether the path is too slow for some."""
    size = max((each for each in outcomes if each.sample.kind is Kind.SIZE), key=lambda each: len(each.sent))
    if size.isClosed:
        size = await _attemptAlone(path, size.sample, answers)
    for number in LARGE:
        if size.how is not How.RIGHT:
            return False
        if size.seconds * number / len(size.sent) > SLOW:
            return True
        tell(f"{number} bytes")
        size = await _attemptAlone(path, ofSize(number), answers)
        outcomes.append(size)
    return False


async def _attemptAll(path: PathUnderTest, payloads: Iterable[Sample], answers: Answers) -> list[SampleResult]:
    """Send the payloads, TOGETHER at the same time, or one after the other once one ends without a reply."""
    places = DeferredSemaphore(TOGETHER)

    async def send(sample: Sample) -> SampleResult:
        async with places:
            outcome = await attempt(path, sample, answers)
            if outcome.isClosed:
                path.places.narrow()
            return outcome

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
        again = await _attemptAlone(path, sample, answers)
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
