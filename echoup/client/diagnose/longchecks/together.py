"""Several coroutines at the same time."""

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")


async def together(parts: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run `parts` at the same time, and return their results in order; else as `settled`."""
    return await settled([Deferred.fromCoroutine(part) for part in parts])


async def settled(running: "Sequence[Deferred[T]]") -> list[T]:
    """Return the results of all of `running`, in order.

    Raise the first error, as it is, and cancel the others; cancelling this cancels all of them.
    """
    try:
        return await gatherResults(running, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
    finally:
        for one in running:
            one.cancel()


async def sleep(clock: IReactorTime, seconds: float) -> None:
    """Let `seconds` of `clock` pass; cancelling ends it."""
    over: Deferred[None] = Deferred()
    call = clock.callLater(seconds, over.callback, None)
    try:
        await over
    finally:
        if call.active():
            call.cancel()
