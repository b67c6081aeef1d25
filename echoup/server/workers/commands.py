"""What a parent and its workers tell each other: once, by whom a worker is configured, and then in AMP."""

import signal
from dataclasses import dataclass
from typing import ClassVar

from twisted.protocols import amp

from echoup.server.settings import Plan
from echoup.server.workers.memory import Shared

CONFIGURATION, LOG, ERRORS, CONTROL, PAGE, ROOM, LISTENING = range(7)
"""The descriptors of a worker: its configuration, where its log goes, the parent's stderr, the control connection, what
all workers share, and from LISTENING on the sockets to accept at."""


IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The signals that are the parent's alone: a terminal sends some of them to all of its processes, systemd to all of its
service's, and the parent speaks for its workers."""


@dataclass(frozen=True)
class Configuration:
    """All that a worker has to know, in the parent's pickle on its descriptor CONFIGURATION."""

    reactor: str
    """The module whose `install` makes the reactor."""
    number: int
    """Which of the workers it is, and so which row of the page is its."""
    shared: Shared
    plan: Plan
    """Its listeners are for the descriptors from LISTENING on."""


class Ready(amp.Command):
    """From a worker: it serves; or there is an error, and it is about to end."""

    arguments: ClassVar = [(b"error", amp.Unicode())]
    requiresAnswer = False


class Enter(amp.Command):
    """From a worker: may one more connection from `peer` come in?"""

    arguments: ClassVar = [(b"peer", amp.Unicode())]
    response: ClassVar = [(b"isAdmitted", amp.Boolean())]


class Leave(amp.Command):
    """From a worker: a connection of `peer` that came in is gone."""

    arguments: ClassVar = [(b"peer", amp.Unicode())]
    requiresAnswer = False


class Drain(amp.Command):
    """To a worker: stop gracefully, and end at `deadline`, in seconds of the clock that all processes share."""

    arguments: ClassVar = [(b"deadline", amp.Float())]
    requiresAnswer = False


class AbortDrain(amp.Command):
    """To a worker that stops: no more waiting for anybody."""

    requiresAnswer = False


class Reload(amp.Command):
    """To a worker: read the certificates of `listeners` again, which are their descriptions."""

    arguments: ClassVar = [(b"listeners", amp.ListOf(amp.Unicode()))]
    requiresAnswer = False
