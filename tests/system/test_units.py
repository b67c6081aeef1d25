"""The systemd units in docs/systemd."""

import re
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
    text, count = re.subn("^ExecStart=.*\n", "", text, flags=re.MULTILINE)
    assert count == 1
    text, count = re.subn("^#(?=[A-Z][A-Za-z]+=)", "", text, flags=re.MULTILINE)
    assert count == 2
    return text


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
    """The service's command serves the socket of the socket unit, IPv4 and IPv6, on uvloop, and TLS beside it."""
    (line,) = re.findall("^ExecStart=(.*)$", service(isTLS), re.MULTILINE)
    line = line.replace("ssl:8443:", "ssl:0:interface=127.0.0.1:").replace("/etc/echoup", str(tmp_path))
    command = line.split()
    runner, options = command[1 : command.index("echoup")], command[command.index("echoup") + 1 :]
    (name,) = re.findall("^FileDescriptorName=(.*)$", (UNITS / "echoup.socket").read_text(), re.MULTILINE)
    for path in "key.pem", "cert.pem":  # one file has both
        shutil.copy(certificates.server, tmp_path / path)
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as held:
        port = held.getsockname()[1]
        activated = [sys.executable, "-c", ACTIVATE, str(held.fileno()), *twistd(*runner)]
        with Daemon.start(
            tmp_path,
            *options,
            listen=(),
            command=activated,
            environment={"LISTEN_FDNAMES": name},
            inherited=[held.fileno()],
        ) as daemon:
            assert "reactor class: echoup.reactor.uvloopreactor." in daemon.text
            assert Address(socket.AF_INET, ("127.0.0.1", port)).echo(b"hello") == b"HELLO"
            assert Address(socket.AF_INET6, ("::1", port)).echo(b"hello") == b"HELLO"
            assert [each.isTLS for each in daemon.addresses] == [False, True][: 1 + isTLS]
            if isTLS:
                with TLSConnection.to(daemon.addresses[1], certificates.context()) as connection:
                    assert connection.ask(b"hello") == b"HELLO"
