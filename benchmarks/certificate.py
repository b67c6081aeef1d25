"""The certificate of the servers that speak TLS."""

import subprocess
import sys
from pathlib import Path

MAKE = Path(__file__).parents[1] / "docker" / "certificate.py"


def makeCertificate(path: Path) -> None:
    """Make a certificate for an EC P-256 key, and write both into one PEM file."""
    subprocess.run([sys.executable, MAKE, path], check=True)
