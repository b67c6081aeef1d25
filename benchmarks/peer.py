"""The servers under test: echoup and its alternatives."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from benchmarks.scenario import SCENARIOS, Scenario

CERTIFICATE = "certificate.pem"
"""The name of the file with the certificate and its key, in the folder of the programs."""

FEW = ("64b-1", "64k-8", "stream", "connect")
"""The scenarios for a server that starts two programs for each connection."""

MANY = ("64b-100", "64b-10000", "64k-8", "connect")
"""The scenarios with enough connections for two workers."""

FULL = tuple(scenario.name for scenario in SCENARIOS if scenario.mode != "resume")
"""The scenarios for a server that doesn't resume TLS sessions."""


class LeftOutError(Exception):
    """A peer can't be measured on this machine; the message is one line that says why."""


@dataclass(frozen=True)
class Peer:
    """A server, with its name, its title in the tables, and its command line for each transport that it speaks.

    `program` must be on PATH. `build` is a command that runs once, before the first start. `scenarios` names the
    scenarios for this server; none means all. `everywhere` lets the server and the load use all cores.
    """

    name: str
    title: str
    commands: Mapping[str, tuple[str, ...]]
    program: str = ""
    build: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    everywhere: bool = False

    def isFor(self, scenario: Scenario) -> bool:
        """Return whether this server is measured in a scenario."""
        return scenario.transport in self.commands and scenario.name in (self.scenarios or (scenario.name,))

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
    pem, c, go = (str(folder / name) for name in (CERTIFICATE, "echo-c", "echo-go"))

    def python(source: str, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, str(sources / source), *arguments)

    def tcp(*command: str) -> dict[str, tuple[str, ...]]:
        return {"tcp": command}

    def echoup(*options: str, reactor: str = "") -> dict[str, tuple[str, ...]]:
        twistd = str(Path(sys.executable).parent / "twistd")
        chosen = (f"--reactor={reactor}",) if reactor else ()
        plain = (twistd, *chosen, "-n", "--pidfile=", "echoup", "--max-connections", "0", *options, "--listen")
        return {
            "tcp": (*plain, "127.0.0.1:0"),
            "tls": (*plain, "tls:127.0.0.1:0", "--tls-cert", pem),
            "udp": (*plain, "127.0.0.1:0", "--udp", "127.0.0.1:0", "--udp-rate", "0"),
        }

    one, two = (echoup("--workers", count, reactor="uvloop") for count in "12")
    twisted = {
        "tcp": python("twisted_echo.py", "tcp:0:interface=127.0.0.1:backlog=4096"),
        "tls": python("twisted_echo.py", f"ssl:0:interface=127.0.0.1:backlog=4096:privateKey={pem}"),
    }
    uvloop = {
        "tcp": python("asyncio_protocol.py", "uvloop"),
        "tls": python("asyncio_protocol.py", "uvloop", pem),
    }
    goroutines = {"tcp": (go, "tcp"), "tls": (go, "tls", pem), "udp": (go, "udp")}
    tr = "stdbuf -o0 tr a-z A-Z"
    socat = tcp("socat", "TCP-LISTEN:0,bind=127.0.0.1,backlog=4096,nodelay,fork", f"EXEC:{tr}")
    ncat = tcp("ncat", "-k", "-l", "127.0.0.1", "0", "-e", f"/usr/bin/env {tr}")
    compileC = ("cc", "-O3", "-o", c, str(sources / "echo.c"))  # -O3 uses SIMD, which -O2 doesn't
    compileGo = ("go", "build", "-o", go, str(sources / "echo.go"))
    return [
        Peer("echoup", "echoup", echoup()),
        Peer("echoup-uvloop", "echoup on uvloop", echoup(reactor="uvloop")),
        Peer("echoup-1", "echoup on uvloop, 1 worker, all cores", one, scenarios=MANY, everywhere=True),
        Peer("echoup-2", "echoup on uvloop, 2 workers, all cores", two, scenarios=MANY, everywhere=True),
        Peer("twisted", "Twisted, wire.Echo", twisted, scenarios=FULL),
        Peer("twisted-datagram", "Twisted DatagramProtocol", {"udp": python("twisted_datagram.py")}),
        Peer("asyncio-protocol", "asyncio Protocol", tcp(*python("asyncio_protocol.py", "asyncio"))),
        Peer("asyncio-protocol-uvloop", "asyncio Protocol on uvloop", uvloop),
        Peer("asyncio-datagram", "asyncio DatagramProtocol on uvloop", {"udp": python("asyncio_datagram.py")}),
        Peer("asyncio-streams", "asyncio streams", tcp(*python("asyncio_streams.py"))),
        Peer("asyncio-streams-uvloop", "asyncio streams on uvloop", tcp(*python("asyncio_streams.py", "uvloop"))),
        Peer("threads", "Python threads", tcp(*python("threads.py"))),
        Peer("sequential", "Python, one client at a time", tcp(*python("sequential.py")), scenarios=("64b-1",)),
        Peer("go", "Go, one core", goroutines, "go", compileGo),
        Peer("c", "C, epoll", tcp(c), "cc", compileC),
        Peer("socat", "socat and tr", socat, "socat", scenarios=FEW),
        Peer("ncat", "ncat and tr", ncat, "ncat", scenarios=FEW),
    ]


def reasonIn(text: str) -> str:
    """Return the line in which a program says why it failed: the last one with a colon, cut at 200 characters."""
    lines = [line.strip() for line in text.splitlines() if ": " in line]
    return lines[-1][:200] if lines else "no reason given"
