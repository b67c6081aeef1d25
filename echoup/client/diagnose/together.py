"""Run parts of a check at the same time."""

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults

T = TypeVar("T")


async def together(parts: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run `parts` at the same time, and return their results in the same order; otherwise as `settled`."""
    return await settled([Deferred.fromCoroutine(part) for part in parts])


async def settled(running: "Sequence[Deferred[T]]") -> list[T]:
    """Return the results of all of `running`, in the same order.

    If one fails, or this is cancelled, the others are cancelled; the error is that of the first that failed.
    """
    try:
        return await gatherResults(running, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
    finally:
        for each in running:
            each.cancel()
