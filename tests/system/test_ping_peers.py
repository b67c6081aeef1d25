"""`echoup ping` of other servers that uppercase."""

from pathlib import Path

import pytest

from tests.support.addresses import unused
from tests.support.peers import need, running
from tests.support.pings import probe
from tests.support.servers import serving


def test_tutorialServerAnswers() -> None:
    """A sequential server that reads 1024 bytes at a time answers probes of any length, and several at once."""
    with serving("tutorial") as address:
        for options in ((), ("--half-close",), ("--keep",)):
            pinged = probe(address.target, "-s5000", "-i0.001", *options, count=5)
            assert (pinged.code, pinged.summary["answered"]) == (0, 5)


def filtering(program: str) -> list[str]:
    """Return the words of a command with which `sed` or `tr` writes in upper case what it reads."""
    lower, upper = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return {"sed": ["sed", "-u", f"y/{lower}/{upper}/"], "tr": ["tr", "a-z", "A-Z"]}[program]


def test_ncatAnswersLines(tmp_path: Path) -> None:
    """A program behind ncat that answers line by line answers our probes, which are lines."""
    address = unused()
    host, port = address.address
    listen = [need("ncat"), "-lk", "-c", " ".join(filtering("sed")), host, str(port)]
    with running(listen, address, tmp_path / "log"):
        for options in (("-i0",), ("-i0", "--keep"), ("-i0", "-s1000")):
            pinged = probe(address.target, *options, count=3)
            assert (pinged.code, pinged.summary["answered"]) == (0, 3)


def test_ncatWithTrFails(tmp_path: Path) -> None:
    """`tr` writes nothing before its input ends, and then ncat reads no more of it: each way, the step is known."""
    address = unused()
    host, port = address.address
    listen = [need("ncat"), "-lk", "-c", " ".join(filtering("tr")), host, str(port)]
    with running(listen, address, tmp_path / "log"):
        pinged = probe(address.target, "-W2")
        assert pinged.found == (None, "first byte", 5)
        pinged = probe(address.target, "--half-close")
        assert pinged.found == ("short", "first byte", 7)
        assert pinged.error.startswith(f"{address.target}: the server closed the connection, 0 of 56 bytes came back")


@pytest.mark.parametrize("size", [56, 100_000])
def test_netcatNeedsHalfClose(tmp_path: Path, size: int) -> None:
    """The original netcat hands the connection to the program, so that --half-close gets all of it from `tr`."""
    address = unused()
    host, port = address.address
    netcat = need("nc.traditional", "netcat-traditional")
    listen = [netcat, "-l", "-s", host, "-p", str(port), "-c", " ".join(filtering("tr"))]
    with running(listen, address, tmp_path / "log"):
        pinged = probe(address.target, "--half-close", f"-s{size}")
        assert (pinged.found, pinged.probe["received"]) == (("uppercased", None, 0), size)


@pytest.mark.parametrize(("program", "options"), [("sed", ()), ("sed", ("--keep",)), ("tr", ("--half-close",))])
def test_socatAnswers(tmp_path: Path, program: str, options: tuple[str, ...]) -> None:
    """A program behind socat may answer line by line, or at the end."""
    address = unused()
    host, port = address.address
    listen = [need("socat"), "-t30", f"TCP-LISTEN:{port},bind={host},reuseaddr,fork"]
    with running([*listen, f"SYSTEM:{' '.join(filtering(program))}"], address, tmp_path / "log"):
        pinged = probe(address.target, "-i0", *options, count=3)
        assert (pinged.code, pinged.summary["answered"]) == (0, 3)
