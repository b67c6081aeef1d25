"""The systemd units in docs/systemd."""

import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.addresses import Address
from tests.support.authorities import Certificates
from tests.support.commands import ACTIVATE, COMMANDS, twistd
from tests.support.daemon import Daemon
from tests.support.peers import need
from tests.support.tls import TLSConnection

UNITS = Path(__file__).parents[2] / "docs" / "systemd"

VARIANTS = pytest.mark.parametrize("isTLS", [False, True], ids=["plain", "TLS"])


def service(isTLS: bool) -> str:
    """Return the service unit, as it is or as its comments say for TLS."""
    text = (UNITS / "echoup.service").read_text()
    if not isTLS:
        return text
    text, count = re.subn("^#(?=[A-Z][A-Za-z]+=)", "", text, flags=re.MULTILINE)
    assert count == 3
    return text


def environment(unit: str) -> dict[str, str]:
    """Return the variables of a service unit; the last assignment of each counts, as with systemd."""
    lines = re.findall("^Environment=(.*)$", unit, re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


@VARIANTS
def test_unitsAreValid(tmp_path: Path, figure: Callable[[str], None], isTLS: bool) -> None:
    """Systemd accepts both units, and rates the exposure of the service as low."""
    need("systemd-analyze", "systemd")
    unit, listening = tmp_path / "echoup.service", tmp_path / "echoup.socket"
    unit.write_text(service(isTLS).replace("/opt/echoup/bin/twistd", str(COMMANDS / "twistd")))
    listening.write_text((UNITS / "echoup.socket").read_text())
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit, listening], check=True, timeout=60, capture_output=True, text=True
    )
    assert not verified.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    figure(re.findall("Overall exposure level.*?: ([0-9.]+)", rated.stdout)[0] + " of 10 is the service's exposure")


@VARIANTS
def test_commandServesTheSocket(tmp_path: Path, certificates: Certificates, isTLS: bool) -> None:
    """The service's command serves the socket of the socket unit, IPv4 and IPv6, on uvloop, and TLS as well."""
    unit = service(isTLS).replace("tls:8443", "tls:127.0.0.1:0").replace("/etc/echoup", str(tmp_path))
    (command,) = re.findall("^ExecStart=(.*) echoup$", unit, re.MULTILINE)
    runner = command.split()[1:]
    (name,) = re.findall("^FileDescriptorName=(.*)$", (UNITS / "echoup.socket").read_text(), re.MULTILINE)
    for path in "key.pem", "cert.pem":  # one file has both
        shutil.copy(certificates.server, tmp_path / path)
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as held:
        port = held.getsockname()[1]
        activated = [sys.executable, "-c", ACTIVATE, str(held.fileno()), *twistd(*runner)]
        with Daemon.start(
            tmp_path,
            listen=(),
            command=activated,
            environment={"LISTEN_FDNAMES": name, **environment(unit)},
            inherited=[held.fileno()],
        ) as daemon:
            assert "reactor class: echoup.reactor.uvloopreactor." in daemon.text
            assert Address(socket.AF_INET, ("127.0.0.1", port)).echo(b"hello") == b"HELLO"
            assert Address(socket.AF_INET6, ("::1", port)).echo(b"hello") == b"HELLO"
            assert [each.isTLS for each in daemon.addresses] == [False, True][: 1 + isTLS]
            if isTLS:
                with TLSConnection.to(daemon.addresses[1], certificates.context()) as connection:
                    assert connection.ask(b"hello") == b"HELLO"
