"""The messages between the supervisor and a worker.

A worker is started with its `Configuration`. After that each message is a line of JSON on a pipe, a list of a name and
its arguments:

    to a worker:    drain DEADLINE      shut down gracefully, and end; DEADLINE is in seconds of the monotonic clock
                    abortDrain          end a shutdown that is under way without waiting any longer
                    reload LISTENERS    read the certificates of the listeners with these descriptions again
                    entered IS_WITHIN   the answer to the oldest `enter` that has none
                    measure TICKET      asks to bring the counts on the page up to date
                    list TICKET CURSOR PEER     asks for open connections; see `IMainService.connectionsAfter`
    from a worker:  ready               it serves
                    failed ERROR        it can't serve, and ends
                    enter PEER          asks whether one more connection from this address is within the limit
                    leave PEER          a connection from this address that was within the limit is gone
                    measured TICKET     the answer to the `measure` with this number
                    listed TICKET CONNECTIONS CURSOR    the answer to the `list` with this number
"""

import json
from dataclasses import dataclass

from echoup.server.settings import Plan
from echoup.server.workers.memory import Shared

CONFIGURATION, OUTPUT, ERRORS, TOLD, SAID, LOG, PAGE, ROOM, LISTENING = range(9)
"""The descriptors of a worker: its configuration, as stdin; stdout and stderr, which are the supervisor's stderr; the
pipes of the messages to it and from it; the pipe of its log; what all workers share; and from LISTENING on the sockets
to accept at."""


@dataclass(frozen=True)
class Configuration:
    """What a worker needs to know, pickled."""

    reactor: str
    """The module whose `install` makes the reactor."""
    number: int
    """The number of the worker, from 0, and of its row of the page; its replacement has the same."""
    serial: int
    """The number of the process, from 1, which no other process of this daemon has."""
    shared: Shared
    plan: Plan


def encode(*message: object) -> bytes:
    """Return the line of a message."""
    return json.dumps(message).encode() + b"\n"
