"""Run parts of a check at the same time."""

from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults

T = TypeVar("T")


async def together(parts: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run `parts` at the same time, and return their results in the same order.

    If one fails, or this is cancelled, the others are cancelled; the error is that of the first that failed.
    """
    running = [Deferred.fromCoroutine(part) for part in parts]
    try:
        return await gatherResults(running, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
    finally:
        for part in running:
            part.cancel()
