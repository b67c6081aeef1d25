"""The systemd units in docs/systemd."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.system.peers import need
from tests.system.processes import COMMANDS

UNITS = Path(__file__).parents[2] / "docs" / "systemd"


def test_units(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Systemd understands both units, with twistd where it is here, and finds the service well locked in."""
    need("systemd-analyze", "systemd")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/echoup/bin/twistd", str(COMMANDS / "twistd"))
        (tmp_path / unit.name).write_text(text)
    service, socket = tmp_path / "echoup.service", tmp_path / "echoup.socket"
    subprocess.run(["systemd-analyze", "verify", service, socket], check=True, timeout=60)
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", service],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    figure(re.findall("Overall exposure level.*?: ([0-9.]+)", rated.stdout)[0] + " of 10 is the service's exposure")
