"""The servers under test: echoup and its alternatives."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import which

BASELINE = "c"
"""The peer that the tables and the chart compare the others to."""

FEW = ("64b-1", "64k-8", "stream", "connect")
"""The scenarios for a server that starts two programs for each connection."""

MANY = ("64b-100", "64b-10000", "64k-8", "connect")
"""The scenarios with enough connections for two workers."""


class LeftOutError(Exception):
    """A peer can't be measured on this machine; the message is one line that says why."""


@dataclass(frozen=True)
class Peer:
    """A server, with its name, its title in the tables, and its command line.

    `program` must be on PATH. `build` is a command that runs once, before the first start. `scenarios` names the
    scenarios for this server; none means all. `everywhere` lets the server and the load use all cores.
    """

    name: str
    title: str
    command: tuple[str, ...]
    program: str = ""
    build: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    everywhere: bool = False

    def prepare(self) -> None:
        """Build the server; raise LeftOutError if that fails."""
        if self.program and not which(self.program):
            raise LeftOutError(f"{self.program} is not on PATH")
        if self.build:
            built = subprocess.run(self.build, capture_output=True, text=True, timeout=300, check=False)
            if built.returncode:
                raise LeftOutError(f"{self.program} failed: {reasonIn(built.stderr)}")


def peers(folder: Path) -> list[Peer]:
    """Return all peers. Their programs are built in `folder`."""
    sources = Path(__file__).parent / "peers"
    binary = str(folder / "echo-c"), str(folder / "echo-go")

    def python(source: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, str(sources / source), *arguments)

    def echoup(*options: str, reactor: str = "") -> tuple[str, ...]:
        twistd = str(Path(sys.executable).parent / "twistd")
        chosen = (f"--reactor={reactor}",) if reactor else ()
        plain = ("-n", "--pidfile=", "echoup", "--listen", "127.0.0.1:0", "--max-connections", "0")
        return (twistd, *chosen, *plain, *options)

    one, two = (echoup("--workers", count, reactor="uvloop") for count in "12")
    tr = "stdbuf -o0 tr a-z A-Z"
    socat = ("socat", "TCP-LISTEN:0,bind=127.0.0.1,backlog=4096,nodelay,fork", f"EXEC:{tr}")
    compileC = ("cc", "-O3", "-o", binary[0], str(sources / "echo.c"))  # -O3 uses SIMD, which -O2 doesn't
    compileGo = ("go", "build", "-o", binary[1], str(sources / "echo.go"))
    return [
        Peer("echoup", "echoup", echoup()),
        Peer("echoup-uvloop", "echoup on uvloop", echoup(reactor="uvloop")),
        Peer("echoup-1", "echoup on uvloop, 1 worker, all cores", one, scenarios=MANY, everywhere=True),
        Peer("echoup-2", "echoup on uvloop, 2 workers, all cores", two, scenarios=MANY, everywhere=True),
        Peer("twisted", "Twisted, wire.Echo", python("twisted_echo.py")),
        Peer("asyncio-protocol", "asyncio Protocol", python("asyncio_protocol.py")),
        Peer("asyncio-protocol-uvloop", "asyncio Protocol on uvloop", python("asyncio_protocol.py", "uvloop")),
        Peer("asyncio-streams", "asyncio streams", python("asyncio_streams.py")),
        Peer("asyncio-streams-uvloop", "asyncio streams on uvloop", python("asyncio_streams.py", "uvloop")),
        Peer("threads", "Python threads", python("threads.py")),
        Peer("sequential", "Python, one client at a time", python("sequential.py"), scenarios=("64b-1",)),
        Peer("go", "Go, one core", (binary[1],), "go", compileGo),
        Peer("c", "C, epoll", (binary[0],), "cc", compileC),
        Peer("socat", "socat and tr", socat, "socat", scenarios=FEW),
        Peer(
            "ncat",
            "ncat and tr",
            ("ncat", "-k", "-l", "127.0.0.1", "0", "-e", f"/usr/bin/env {tr}"),
            "ncat",
            scenarios=FEW,
        ),
    ]


def reasonIn(text: str) -> str:
    """Return the line in which a program says why it failed: the last one with a colon, cut at 200 characters."""
    lines = [line.strip() for line in text.splitlines() if ": " in line]
    return lines[-1][:200] if lines else "no reason given"
