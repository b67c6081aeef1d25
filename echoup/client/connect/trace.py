"""What happened on the way to a server and back, step by step."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from echoup.client.connect.tcpinfo import TCPInfo


def describeServer(server: object, remote: str | None) -> str:
    """Return what messages call `server`: with the address of it that was reached, unless that's what it's called."""
    return f"{server} ({remote})" if remote and not str(server).endswith(remote) else str(server)


class Step(Enum):
    """The steps of an exchange, in their order; the values are the words that users read."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    """To one address: there is one for each that was tried."""
    PROXY = "PROXY header"
    TLS = "TLS"
    FIRST_BYTE = "first byte"
    """From the sending to the first byte of the reply."""
    ALL_BYTES = "all bytes"
    """From then on to the last byte of the reply."""
    END = "end"
    """From our end to the server's."""


@dataclass
class Phase:
    """One step: how long it took, and what is known of it."""

    step: Step
    began: float
    """Seconds of the reactor's clock, as `ended`."""
    details: dict[str, Any]
    """What else is known: `addresses` (RESOLVE), `address` and `local` (CONNECT), `version` (PROXY, TLS), `cipher`."""
    ended: float | None = None
    """None if it isn't over, or never was."""
    error: str | None = None
    """Why it came to nothing."""
    tcp: TCPInfo | None = None
    """The connection at the end of it."""

    @property
    def seconds(self) -> float | None:
        """How long it took; None if it isn't over."""
        return None if self.ended is None else self.ended - self.began


class Trace:
    """The phases of one exchange."""

    local: str | None = None
    """Our own address, in words, once there was a connection."""
    remote: str | None = None
    """The server's address, likewise."""
    certificate: bytes | None = None
    """The server's, in DER."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        """`seconds` is the reactor's clock."""
        self.phases: list[Phase] = []
        self._seconds = seconds

    def begin(self, step: Step, **details: Any) -> Phase:
        """Note that a step begins, and return its phase."""
        phase = Phase(step, self._seconds(), details)
        self.phases.append(phase)
        return phase

    def end(self, phase: Phase, handle: Any = None, error: str | None = None, **details: Any) -> None:
        """Note that a step is over, successfully or with an error; `handle` is the socket, if there is one."""
        phase.ended = self._seconds()
        phase.tcp = TCPInfo.of(handle)
        phase.error = error
        phase.details |= details

    @property
    def step(self) -> Step | None:
        """The last step that began; when an exchange fails, the one that failed."""
        return self.phases[-1].step if self.phases else None
