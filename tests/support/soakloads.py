"""The loads of a soak: probes, transfers, raw sessions of all kinds, and peers that break off."""

import struct
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from math import exp, log
from random import Random
from socket import AF_INET6, SO_LINGER, SOCK_DGRAM, SOL_SOCKET, socket

from tests.support.addresses import Address
from tests.support.authorities import TLS_1_2, TLS_1_3, Certificates
from tests.support.commands import CONNECT
from tests.support.pings import PING, Pinged
from tests.support.sizes import MIB
from tests.support.soak import Soak
from tests.support.tls import ENDS
from tests.support.ways import HEADERS, Way

PATIENCE = 2.0
"""Seconds after which the client gives up; the longest pause is longer."""
PROBES = 50
WRONG = 1
"""The exit code of the client."""


@dataclass(frozen=True)
class Loads:
    """The load on a daemon that listens on TCP, on a Unix socket, with TLS, behind a proxy, and on UDP."""

    tcp: Address
    unix: Address
    tls: Address
    proxied: Address
    """It expects a PROXY header."""
    udp: tuple[str, int]
    certificates: Certificates

    def begin(self, soak: Soak) -> None:
        """Begin all loads."""
        for work in (self.ping, self.ping, self.ping, self.converse, self.converse, self.transfer, self.breakOff):
            soak.repeat(partial(work, soak), 1)

    def ping(self, soak: Soak) -> None:
        """Send some probes with `echoup ping`, and require an answer to each."""
        target = self._target(soak.random)
        isDatagram = target[-1].startswith("udp:")
        options = soak.random.choice([(), ("--keep",), () if isDatagram else ("--half-close",)])
        command = [*PING, "--json", f"-c{PROBES}", "-i0.1", f"-W{PATIENCE}", *options, *target]
        run = soak.run(command, subprocess.DEVNULL, subprocess.PIPE)
        assert 0 <= run.returncode < 128, run
        report = Pinged.of(run.returncode, run.stdout.decode(), run.stderr.decode())
        soak.counts["probes"] += len(report.probes)
        assert len(report.probes) == PROBES, run
        for probe in report.probes:
            if probe["code"]:
                began = datetime.fromisoformat(probe["at"]).timestamp()
                name = f"{' '.join((*options, *target))}: probe {probe['seq']}: {probe['error']}"
                ended = time.time() if probe["seconds"] is None else began + probe["seconds"]
                soak.fail(name, probe["code"], began, ended, PATIENCE)

    def transfer(self, soak: Soak) -> None:
        """Send a file through `echoup connect`, and compare what comes back."""
        target = self._target(soak.random)
        data = soak.random.randbytes(_size(soak.random, MIB // 16 if target[-1].startswith("udp:") else 16 * MIB))
        sent, received = soak.folder / "sent", soak.folder / "received"
        sent.write_bytes(data)
        began = time.time()
        command = [*CONNECT, f"--timeout={PATIENCE}", *target]
        with sent.open("rb") as source, received.open("wb") as sink:
            ended = soak.run(command, source, sink)
        echo = received.read_bytes()
        soak.counts["transfers"] += 1
        soak.counts["bytes"] += len(echo)
        assert echo == data.upper()[: len(echo)], target
        if ended.returncode:
            soak.fail(f"{target}: {ended.stderr.decode().strip()}", ended.returncode, began, time.time(), PATIENCE)
        else:
            assert len(echo) == len(data), target

    def converse(self, soak: Soak) -> None:
        """Send a random amount over a raw connection, read late or at once, and require its exact echo."""
        tls = soak.random.choice([TLS_1_2, TLS_1_3])
        way = soak.random.choice(
            [
                Way(self.tcp),
                Way(self.unix),
                Way(replace(self.proxied, header=soak.random.choice(list(HEADERS.values())))),
                Way(self.tls, self.certificates.context(tls), soak.random.choice(ENDS)),
            ]
        )
        data = soak.random.randbytes(_size(soak.random, 4 * MIB))
        began = time.time()
        try:
            echo = way.exchange(data, late=soak.random.random() < 0.5, together=soak.random.random() < 0.5)
        except (OSError, AssertionError) as error:
            soak.fail(f"{way}: {error!r}", -1, began, time.time())
            return
        soak.counts["sessions"] += 1
        if echo != data.upper():
            assert echo == data.upper()[: len(echo)], way
            soak.fail(f"{way}: {len(echo)} of {len(data)} bytes", -1, began, time.time())

    def breakOff(self, soak: Soak) -> None:
        """Reset a connection amid its data, header or handshake, or close a UDP port before its answer comes."""
        soak.counts["broken off"] += 1
        if soak.random.random() < 0.2:
            with socket(AF_INET6 if ":" in self.udp[0] else 2, SOCK_DGRAM) as port:
                for _ in range(20):
                    port.sendto(b"answered with an error", self.udp)
            return
        address = soak.random.choice([self.tcp, self.unix, self.tls, self.proxied])
        with suppress(OSError), address.connect() as connection:
            connection.setblocking(False)
            connection.send(soak.random.choice([b"x" * 200_000, b"PROXY TCP4 ", b"\x16\x03\x01\x02\x00\x01", b""]))
            time.sleep(soak.random.choice([0, 0.05]))
            connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    def _target(self, random: Random) -> list[str]:
        """Return a target of the client, with the options that it needs."""
        host, port = self.udp
        version = random.choice(["v1", "v2"])
        return random.choice(
            [
                [self.tcp.target],
                [self.unix.target],
                [f"--cafile={self.certificates.authority}", self.tls.target],
                [f"--proxy-protocol={version}", self.proxied.target],
                [f"udp:{host}:{port}"],
            ]
        )


def _size(random: Random, most: int) -> int:
    """Return a number of bytes up to `most`; each order of magnitude is as likely as another."""
    return int(exp(random.uniform(0, log(most)))) - 1
