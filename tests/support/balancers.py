"""Proxies for TCP between echoup and its daemon, and relays that hold bytes back."""

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from socket import SHUT_WR, socket
from time import monotonic

from tests.support.addresses import Address, unused
from tests.support.peers import need, running
from tests.support.relay import Passage, StreamRelay

HAPROXY = """defaults
    mode tcp
    timeout connect 30s
    timeout client 1h
    timeout server 1h
listen echoup
    bind {bind}
    server echoup {server}
"""

NGINX = """load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error;
events {{}}
stream {{
    server {{
        listen {bind};
        proxy_pass {server};
    }}
}}
"""


@contextmanager
def haproxy(folder: Path, server: str, address: Address | None = None, options: str = "") -> Iterator[Address]:
    """Run haproxy in front of `server`; yield its address, which `options` of its `bind` line may follow."""
    address = address or unused()
    host, port = address.address
    configuration = folder / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(bind=f"{host}:{port} {options}", server=server))
    with running([need("haproxy"), "-db", "-f", str(configuration)], address, folder / "haproxy.log"):
        yield address


@contextmanager
def nginx(folder: Path, server: str, address: Address | None = None) -> Iterator[Address]:
    """Run nginx, with its stream module, in front of `server`; yield its address."""
    address = address or unused()
    host, port = address.address
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, bind=f"{host}:{port}", server=server))
    need("nginx", "nginx-light")
    with running([need("nginx", "nginx-light"), "-c", str(configuration)], address, folder / "nginx.log"):
        yield address


class HoldingRelay(StreamRelay):
    """Holds replies back, until there is enough of them or a time has passed; and all of them until their end."""

    def __init__(self, server: Address, ready: Callable[[bytes], int], seconds: float = inf) -> None:
        """`ready` returns how many of the bytes that are held may go; after `seconds` with the oldest, all go."""
        super().__init__(server)
        self._ready = ready
        self._seconds = seconds

    def _reply(self, server: socket, client: socket, passage: Passage) -> None:
        held, since = b"", monotonic()
        with suppress(OSError):
            while True:
                wait = max(since + self._seconds - monotonic(), 0) if held and self._seconds < inf else 30.0
                if not select.select([server], [], [], wait)[0]:
                    client.sendall(held)
                    held = b""
                    continue
                if not (data := server.recv(65536)):
                    break
                since = since if held else monotonic()
                held += data
                count = self._ready(held)
                client.sendall(held[:count])
                held = held[count:]
            client.sendall(held)
        with suppress(OSError):
            client.shutdown(SHUT_WR)


def wholeLines(held: bytes) -> int:
    """Let whole lines go."""
    return held.rfind(b"\n") + 1


def fullBuffers(held: bytes) -> int:
    """Let 4 KiB go, and each multiple of that."""
    return len(held) // 4096 * 4096


def nothing(_: bytes) -> int:
    """Let nothing go before the end."""
    return 0
