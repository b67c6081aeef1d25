"""Addresses that depend on the machine: those of one link, and names with several addresses."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from socket import SOCK_DGRAM

import pytest

from tests.support.addresses import unused
from tests.support.commands import connect
from tests.support.daemon import Daemon
from tests.support.datagrams import ports
from tests.support.namespaces import LINK_LOCAL, linkedNetwork, whyNoNetwork
from tests.support.pings import probe, resolving
from tests.support.sockets import unheard

HOST = f"{LINK_LOCAL}%v0"


@pytest.fixture
def link() -> Iterator[None]:
    """A network where this process has the address HOST."""
    if reason := whyNoNetwork():
        pytest.skip(reason)
    with linkedNetwork():
        yield


def test_linkLocalAddressKeepsInterface(link: None, tmp_path: Path, reactor: str) -> None:
    """An address of one link is reached, and named with its interface, as a literal and where a name stands for it."""
    options = f"--udp=[{HOST}]:0", "--log-connections"
    with Daemon.start(tmp_path, *options, listen=[f"[{HOST}]:0"]) as daemon:
        ((_, number),) = ports(daemon)
        for kind, port in (("", daemon.address.address[1]), ("udp:", number)):
            assert f"listening on {kind}[{HOST}]:{port}\n" in daemon.text
            pinged = probe(f"{kind}name.example:{port}", command=resolving(HOST))
            assert (pinged.code, pinged.error) == (0, "")
            assert pinged.probe["remote"] == f"[{HOST}]:{port}"
            assert pinged.probe["local"].startswith(f"[{HOST}]:")
            assert connect(f"{kind}[{HOST}]:{port}", b"hello").stdout == b"HELLO"
    assert [line["peer"].rpartition(":")[0] for line in daemon.connections] == [f"[{HOST}]"] * 2


def test_nameIsServedAtItsSecondAddress(tmp_path: Path) -> None:
    """Over UDP as over TCP the address of a name at which a service listens is found, and named."""
    host = unused().address[0]
    command = resolving("::1", host)
    with unheard("::1") as stream, unheard("::1", SOCK_DGRAM) as datagram:
        with Daemon.start(tmp_path, f"--udp={host}:{datagram}", listen=[f"{host}:{stream}"]):
            for kind, port in (("", stream), ("udp:", datagram)):
                target = f"{kind}name.example:{port}"
                pinged = probe(target, command=command)
                assert (pinged.code, pinged.probe["remote"]) == (0, f"{host}:{port}")
                talk = [*command[:-1], "connect", target]
                ended = subprocess.run(talk, input=b"hello", capture_output=True, timeout=60, check=True)
                assert ended.stdout == b"HELLO"
        refused = probe(target, command=command)
        addresses = f"[::1]:{datagram}, {host}:{datagram}"
        assert refused.error == f"cannot send to {target} ({addresses}): Connection refused"
        assert refused.code == 4
