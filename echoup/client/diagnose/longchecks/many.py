"""The check `many`: how many connections the path carries at the same time, and how the next one fails."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.task import deferLater

from echoup.client.diagnose.finding import Finding, skipped
from echoup.client.diagnose.longchecks.manyproblems import Failure, Holding, problems, summary
from echoup.client.diagnose.longchecks.ownlimits import allowance, raised
from echoup.client.diagnose.longchecks.proof import prove
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
    with raised(wanted):
        own = allowance(wanted, path.host)
        crowd = _Crowd(path, tell, min(wanted, own.number))
        try:
            await crowd.gather()
            await crowd.proveAgain()
            if crowd.failures:
                await crowd.replace()
            await crowd.disperse()
        finally:
            for client in crowd.held:
                path.drop(client)
    holding = Holding(
        wanted,
        crowd.number,
        len(crowd.proven),
        crowd.cut,
        crowd.dead,
        tuple(crowd.failures),
        crowd.forgiven,
        crowd.isReplaceable,
        own,
    )
    if not crowd.held:
        if crowd.failures:
            raise crowd.failures[-1].error
        return skipped(own.reason)
    return Finding(summary(holding), tuple(problems(holding)), holding.figures)


@dataclass
class _Crowd:
    """The connections that are held."""

    path: PathUnderTest
    tell: Tell
    number: int
    """How many there are to be, at most."""
    held: list[EchoUpClient] = field(default_factory=list)
    """Those that were proven when they were opened."""
    failures: list[Failure] = field(default_factory=list)
    """The last failures, which ended the check; the last of them is the one that was confirmed."""
    forgiven: list[Failure] = field(default_factory=list)
    """The failures that did not repeat."""
    cut: list[EchoUpClient] = field(default_factory=list)
    """Those of `held` that were closed or reset while others were opened."""
    dead: list[EchoUpClient] = field(default_factory=list)
    """Those of `held` that did not answer when all were held."""
    proven: list[EchoUpClient] = field(default_factory=list)
    """Those that did."""
    isReplaceable: bool | None = None
    """Whether a new connection works after some were closed; None if that wasn't tried."""

    async def gather(self) -> None:
        """Open connections until there are enough, or one fails twice."""
        while len(self.held) < self.number and not self.failures and len(self.forgiven) <= FORGIVEN:
            self.tell(f"{len(self.held)} of {self.number} connections are open")
            size = min(BATCH, self.number - len(self.held))
            tried = await together(self._open() for _ in range(size))
            failures = [failure for failure in tried if failure]
            if not failures:
                continue
            if failures[0].error.code is not ExitCode.LOCAL:
                await deferLater(self.path.clock, REPRIEVE)
            if again := await self._open():
                self.failures = [*failures, again]
            else:
                self.forgiven += failures

    async def _open(self) -> Failure | None:
        """Open one more, and prove it; return how that failed."""
        client = EchoUpClient(self.path.reactor, 0, clock=self.path.clock)
        try:
            await self.path.connect(client=client)
            await prove(self.path, client)
            self.held.append(client)
        except PathError as error:
            if error.code is ExitCode.WRONG:
                raise
            return Failure(error, client.handle is not None, client.ending, len(self.held))
        finally:
            if client not in self.held[-1:]:
                self.path.drop(client)
        return None

    async def proveAgain(self) -> None:
        """Find out which of them still work, while all are held."""
        self.cut = [client for client in self.held if client.ending]
        living = [client for client in self.held if not client.ending]
        for batch in _batches(living):
            self.tell(f"{len(self.proven)} of {len(living)} connections answer while all are held")
            answers = await together(self._answers(client) for client in batch)
            for client, isAnswering in zip(batch, answers, strict=True):
                (self.proven if isAnswering else self.dead).append(client)

    async def _answers(self, client: EchoUpClient) -> bool:
        try:
            await prove(self.path, client)
        except PathError as error:
            if error.code is ExitCode.WRONG:
                raise
            return False
        return True

    async def replace(self) -> None:
        """Close two connections, and find out whether a new one works then."""
        if len(self.proven) < 2 or self.failures[-1].error.code is ExitCode.LOCAL:
            return
        for client in self.proven[-2:]:
            self.path.drop(client)
            await client.closed
        await deferLater(self.path.clock, REPRIEVE)
        self.isReplaceable = not await self._open()

    async def disperse(self) -> None:
        """Reset all connections, batch by batch: neither end keeps anything of a connection that was reset."""
        for batch in _batches(self.held[::-1]):
            for client in batch:
                self.path.drop(client)
            for client in batch:
                await client.closed


def _batches(clients: Sequence[EchoUpClient]) -> list[Sequence[EchoUpClient]]:
    return [clients[start : start + BATCH] for start in range(0, len(clients), BATCH)]
