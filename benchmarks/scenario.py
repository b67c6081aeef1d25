"""The loads under which every server is measured."""

from dataclasses import dataclass, replace

MIB = 1 << 20


@dataclass(frozen=True)
class Scenario:
    """One kind of load.

    `mode` is the first argument of the load. `size` is that of a message in bytes. With `timed` the load runs for
    `--seconds`; otherwise each connection carries one message. `unit` is what is counted: message, connection or MiB.
    `transport` is tcp, tls or udp.
    """

    name: str
    mode: str
    connections: int
    size: int
    timed: bool = True
    unit: str = "message"
    transport: str = "tcp"

    @property
    def title(self) -> str:
        """The heading of its table."""
        how = "" if self.transport == "tcp" else f", {self.transport.upper()}"
        if self.mode in {"connect", "resume"}:
            verb = self.mode.title()
            return f"{verb}, {inBytes(self.size)} there and back, close; {self.connections} at a time{how}"
        if self.mode == "idle":
            return f"{inThousands(self.connections)} idle connections"
        if self.unit == "MiB":
            return f"{inBytes(self.size)} in one stream, sent and received at once"
        return f"{inBytes(self.size)} × {inThousands(self.connections)}{how}"

    @property
    def baseline(self) -> str:
        """The name of the server that the others are compared to. No server in C speaks TLS or UDP here."""
        return "c" if self.transport == "tcp" else "go"


SCENARIOS = [
    Scenario("64b-1", "exchange", 1, 64),
    Scenario("64b-100", "exchange", 100, 64),
    Scenario("64b-10000", "exchange", 10_000, 64),
    Scenario("1k-100", "exchange", 100, 1 << 10),
    Scenario("16k-8", "exchange", 8, 16 << 10),
    Scenario("64k-8", "exchange", 8, 64 << 10),
    Scenario("stream", "exchange", 1, 1 << 30, timed=False, unit="MiB"),
    Scenario("connect", "connect", 32, 64, unit="connection"),
    Scenario("idle", "idle", 15_000, 64, timed=False, unit="connection"),
    Scenario("tls-64b-100", "exchange", 100, 64, transport="tls"),
    Scenario("tls-64k-8", "exchange", 8, 64 << 10, transport="tls"),
    Scenario("tls-connect", "connect", 32, 64, unit="connection", transport="tls"),
    Scenario("tls-resume", "resume", 32, 64, unit="connection", transport="tls"),
    Scenario("udp-64b", "udp", 100, 64, transport="udp"),
]


def smaller(scenario: Scenario, connections: int, size: int) -> Scenario:
    """Return `scenario` with at most `connections` connections, and messages of at most `size` bytes."""
    return replace(scenario, connections=min(scenario.connections, connections), size=min(scenario.size, size))


def inBytes(size: int) -> str:
    """Return a size in the largest unit that fits: `64 KiB`."""
    for shift, unit in (30, "GiB"), (20, "MiB"), (10, "KiB"):
        if size >= 1 << shift:
            return f"{size >> shift} {unit}"
    return f"{size} B"


def inThousands(number: float) -> str:
    """Return a number rounded to an integer, with blanks between the thousands: `10 000`."""
    return f"{number:,.0f}".replace(",", " ")
