"""What happens on the way to a server and back, step by step; only reports read it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from echoup.client.connect.tcpinfo import TCPInfo


class Step(Enum):
    """The steps to a server and back, in their order; the values are the words that users read."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    """To one address; each address that is tried has a phase of its own."""
    PROXY = "PROXY header"
    TLS = "TLS"
    FIRST_BYTE = "first byte"
    """From the sending to the first byte of the reply."""
    ALL_BYTES = "all bytes"
    """From then on to the last byte of the reply."""
    END = "end"
    """From our half-close to the server's close."""


@dataclass
class Phase:
    """One step: how long it took, and what is known of it."""

    step: Step
    began: float
    """Seconds of the reactor's clock, as `ended`."""
    details: dict[str, Any]
    """What else is known: `addresses` (RESOLVE), `address` and `local` (CONNECT), `version` (PROXY, TLS), `cipher`."""
    ended: float | None = None
    """None while the step lasts, and where it was given up."""
    error: str | None = None
    """Why the step failed."""
    tcp: TCPInfo | None = None
    """The connection at the end of the step, or when it was given up."""

    @property
    def seconds(self) -> float | None:
        """How long it took; None if it didn't end."""
        return None if self.ended is None else self.ended - self.began


class Trace:
    """The phases of one exchange, from the name's resolution on."""

    certificate: bytes | None = None
    """The server's, in DER."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        """`seconds` is the reactor's clock."""
        self.phases: list[Phase] = []
        self._seconds = seconds

    def begin(self, step: Step, since: float | None = None, **details: Any) -> Phase:
        """Record that a step begins, or began at the second `since`, and return its phase."""
        phase = Phase(step, self._seconds() if since is None else since, details)
        self.phases.append(phase)
        return phase

    def end(self, phase: Phase, handle: Any = None, error: str | None = None, **details: Any) -> None:
        """Record that a step ended, with or without an error; `handle` is the socket, if there is one."""
        phase.ended = self._seconds()
        phase.tcp = TCPInfo.of(handle)
        phase.error = error
        phase.details |= details

    def abandon(self, phase: Phase, handle: Any) -> None:
        """Record the state of the connection when a step is given up."""
        phase.tcp = TCPInfo.of(handle)

    @property
    def step(self) -> Step | None:
        """The last step that began: the one that failed, where the exchange did."""
        return self.phases[-1].step if self.phases else None
