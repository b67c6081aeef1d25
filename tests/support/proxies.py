"""Proxies of streams in front of a service: haproxy, nginx, socat and stunnel."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

from tests.support.addresses import Address, unused
from tests.support.daemon import childrenOf
from tests.support.peers import need, running

CLIENT = "127.0.0.9"
"""The address of haproxy's clients, other than haproxy's."""

NGINX_STREAMS = "/usr/lib/nginx/modules/ngx_stream_module.so"
"""The part of nginx that carries streams, as Debian installs it."""

_HAPROXY = """
global
    maxconn 100
    nbthread 1
defaults
    mode tcp
    timeout connect 60s
    timeout client 60s
    timeout server 60s
    timeout check 60s
    {settings}
frontend in
    bind {bind}
    unique-id-format %ci:%cp
    default_backend out
backend out
    server echoup {server}
"""

_NGINX = """
load_module {module};
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
stream {{
    server {{
        listen {listen};
        proxy_pass {server};
        {settings}
    }}
}}
"""


@contextmanager
def haproxy(
    folder: Path, server: str, bind: str = "", settings: tuple[str, ...] = (), address: Address | None = None
) -> Iterator[Address]:
    """Run haproxy in front of `server`, the rest of its line included; yield its address.

    `bind` are options of its `bind` line, and `settings` lines of its defaults; without an address it gets one.
    """
    address = address or unused()
    host, port = address.address
    configuration = folder / "haproxy.cfg"
    lines = "\n    ".join(settings)
    configuration.write_text(_HAPROXY.format(settings=lines, bind=f"{host}:{port} {bind}", server=server))
    with running([need("haproxy"), "-db", "-f", str(configuration)], address, folder / "haproxy.log"):
        yield replace(address, source=CLIENT, isTLS="ssl" in bind)


@contextmanager
def nginx(folder: Path, server: str, settings: tuple[str, ...] = ()) -> Iterator[Address]:
    """Run nginx as a proxy of streams in front of `server`, with directives for it; yield its address."""
    address = unused()
    configuration = folder / "nginx.conf"
    lines = "\n        ".join(settings)
    configuration.write_text(
        _NGINX.format(module=NGINX_STREAMS, folder=folder, listen=address.target, server=server, settings=lines)
    )
    program = need("nginx", "libnginx-mod-stream")
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(configuration)]
    with running(command, address, folder / "nginx.log"):
        yield address


@contextmanager
def socat(folder: Path, to: str, *options: str, listen: str = "") -> Iterator[Address]:
    """Run socat in front of its address `to`; `listen` are options of its listening address. Yield that address."""
    address = unused()
    host, port = address.address
    listening = f"TCP-LISTEN:{port},bind={host},reuseaddr,fork,backlog=64{listen}"
    with running([need("socat"), *options, listening, to], address, folder / "socat.log") as process:
        yield address
        for child in childrenOf(process.pid):  # one for each connection
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(child, SIGKILL)


@contextmanager
def stunnel(folder: Path, server: str, *options: str) -> Iterator[Address]:
    """Run stunnel, which ends TLS, in front of `server`, with lines for its service; yield its address."""
    address = unused()
    configuration = folder / "stunnel.conf"
    lines = ["foreground = yes", "pid =", "[echoup]", f"accept = {address.target}", f"connect = {server}", *options]
    configuration.write_text("\n".join(lines) + "\n")
    with running([need("stunnel", "stunnel4"), str(configuration)], address, folder / "stunnel.log"):
        yield replace(address, isTLS=True)
