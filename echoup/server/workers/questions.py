"""What the supervisor asks all workers; one that doesn't answer in time is left out."""

import re
from collections.abc import Iterable

from twisted.internet.defer import gatherResults

from echoup.server.overview import Slice
from echoup.server.workers.process import State, WorkerProcess


def serving(processes: Iterable[WorkerProcess], serial: int = 0) -> list[WorkerProcess]:
    """Return the processes that serve, those with this serial number or a higher one, in the order of the numbers."""
    found = (each for each in processes if each.state is State.SERVING and each.serial >= serial)
    return sorted(found, key=lambda each: each.serial)


async def measure(processes: Iterable[WorkerProcess]) -> tuple[int, ...]:
    """Have the processes bring their counts up to date; return the serial numbers of those that don't answer."""
    asked = serving(processes)
    answers = await gatherResults([process.ask("measure") for process in asked])
    unanswered = [process for process, answer in zip(asked, answers, strict=True) if answer is None]
    return tuple(process.serial for process in serving(unanswered))  # and not of one that has ended meanwhile


async def connectionsAfter(processes: Iterable[WorkerProcess], cursor: str, peer: str) -> Slice:
    """Return some of the open connections, and the next cursor: see `IMainService`.

    One process is asked, in the order of the serial numbers. A cursor begins with the number of the process to ask, and
    a dot, as the ids of its connections do. A cursor of any other form is one after the last connections.
    """
    match = re.fullmatch(r"([0-9]{1,9})\.[0-9]{0,18}", cursor or "0.")
    if not match or not (following := serving(processes, int(match[1]))):
        return [], "", 0
    process, *_ = following
    own = cursor if process.serial == int(match[1]) else ""
    answer = await process.ask("list", own, peer)
    silent = process.serial if answer is None and process.state is State.SERVING else 0
    connections, own = answer or ([], "")
    after = process.serial + 1
    return connections, own or (f"{after}." if serving(processes, after) else ""), silent
