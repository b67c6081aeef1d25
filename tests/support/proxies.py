"""Load balancers in front of a service."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.support.addresses import Address, unused
from tests.support.peers import need, running

CLIENT = "127.0.0.9"
"""The address of a balancer's clients, other than the balancer's."""

HAPROXY = """
global
    maxconn 100
    nbthread 1
defaults
    mode tcp
    timeout connect 60s
    timeout client 60s
    timeout server 60s
    timeout check 60s
frontend in
    bind {bind}
    unique-id-format %ci:%cp
    default_backend out
backend out
    server echoup {server}
"""


@contextmanager
def haproxy(folder: Path, server: str, bind: str = "") -> Iterator[Address]:
    """Run haproxy in front of `server`, the rest of its line included, and yield its address."""
    address = unused()
    host, port = address.address
    configuration = folder / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(bind=f"{host}:{port} {bind}", server=server))
    checked = subprocess.run(
        [need("haproxy"), "-c", "-f", str(configuration)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
    with running([need("haproxy"), "-db", "-f", str(configuration)], address, folder / "haproxy.log"):
        yield replace(address, source=CLIENT, isTLS="ssl" in bind)
