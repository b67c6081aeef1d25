"""The check `many`: how many connections the path carries at the same time, and how the next one fails."""

from collections.abc import Iterator, Sequence

from twisted.internet.task import deferLater

from echoup.client.diagnose.finding import Finding, skipped
from echoup.client.diagnose.longchecks.manyproblems import FailedConnection, Holding, NextFailure
from echoup.client.diagnose.longchecks.ownlimits import allowance
from echoup.client.diagnose.longchecks.proof import newClient, prove, works
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient

BATCH = 50
"""How many connections are opened, proven or dropped at a time."""

REPRIEVE = 1.0
"""Seconds until a connection that failed is tried again: by then a limit of the rate leaves room again."""

FORGIVEN = 5
"""How many failures that did not repeat end the check: what fails so often isn't a limit of the number."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Hold as many connections as the scope says, each proven at the beginning and at the end, or find the limit."""
    wanted = path.scope.many
    holding = Holding(wanted, *allowance(wanted, path.host))
    try:
        await _gather(path, tell, holding)
        await _proveAgain(path, tell, holding)
        await _replace(path, holding)
        for batch in _batches(holding.held[::-1]):
            for client in batch:
                path.drop(client)  # by a reset, of which neither end keeps anything
            for client in batch:
                await client.closed
    finally:
        for client in holding.held:
            path.drop(client)
    if not holding.held:
        if holding.failures:
            raise holding.failures[-1].error
        return skipped(holding.ownLimit)
    return holding.finding


async def _gather(path: PathUnderTest, tell: Tell, holding: Holding) -> None:
    """Open connections until there are enough, or one fails twice."""
    while (left := holding.tried - len(holding.held)) > 0 and len(holding.forgiven) <= FORGIVEN:
        tell(f"{len(holding.held)} of {holding.tried} connections are open")
        tried = await together(_open(path, holding) for _ in range(min(BATCH, left)))
        failures = [failure for failure in tried if failure]
        if not failures:
            continue
        if failures[0].kind is not NextFailure.LOCAL:
            await deferLater(path.clock, REPRIEVE)
        if again := await _open(path, holding):
            holding.failures = [*failures, again]
            break
        holding.forgiven += failures


async def _open(path: PathUnderTest, holding: Holding) -> FailedConnection | None:
    """Open one more, and prove it; return how that failed."""
    client = newClient(path)
    try:
        await path.connect(client=client)
        await prove(path, client)
        holding.held.append(client)
    except PathError as error:
        if error.code is ExitCode.WRONG:
            raise
        return FailedConnection(error, client.handle is not None, client.ending, len(holding.held))
    finally:
        if client not in holding.held[-1:]:
            path.drop(client)
    return None


async def _proveAgain(path: PathUnderTest, tell: Tell, holding: Holding) -> None:
    """Find out which of the connections still work, while all are held."""
    holding.cut = [client for client in holding.held if client.ending]
    living = [client for client in holding.held if not client.ending]
    for batch in _batches(living):
        tell(f"{len(holding.proven)} of {len(living)} connections answer while all are held")
        answers = await together(works(path, client) for client in batch)
        for client, isAnswering in zip(batch, answers, strict=True):
            (holding.proven if isAnswering else holding.dead).append(client)


async def _replace(path: PathUnderTest, holding: Holding) -> None:
    """Close two connections where the path has a limit, and find out whether a new one works then."""
    if len(holding.proven) < 2 or not holding.failures or holding.failures[-1].kind is NextFailure.LOCAL:
        return
    for client in holding.proven[-2:]:
        path.drop(client)
        await client.closed
    await deferLater(path.clock, REPRIEVE)
    holding.isReplaceable = not await _open(path, holding)


def _batches(clients: Sequence[EchoUpClient]) -> Iterator[Sequence[EchoUpClient]]:
    return (clients[start : start + BATCH] for start in range(0, len(clients), BATCH))
