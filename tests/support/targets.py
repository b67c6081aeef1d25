"""Texts that may be targets, and a reactor for trying them."""

from errno import EADDRNOTAVAIL
from types import SimpleNamespace
from typing import Any, NoReturn, cast

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock

from echoup.client.datagram import DatagramClient
from echoup.client.protocol import EchoUpClient
from echoup.client.target.parse import Target, parseTarget
from tests.support.properties import st

TEXTS = st.text(st.characters()) | st.text("[]:.%=\\0189afx_-é/ \n", max_size=20)
KINDS = st.sampled_from(["", "tcp:", "unix:", "tcp:host:", "tls:", "tls:host:", "udp:", "[fe80::1%", "[::1]:"])


class OfflineReactor(MemoryReactorClock):
    """A reactor without a network: no connection is ever made."""

    def advance(self, amount: float) -> None:
        """Let `amount` seconds pass, in steps: a jump would be a pause of the process."""
        end = self.seconds() + amount
        while (left := end - self.seconds()) > 1e-9:
            super().advance(min(left, 0.05))
        super().advance(1e-9)  # what the sum of the steps lacks

    def connectTCP(self, *arguments: Any, **named: Any) -> Any:
        """Attempt a connection, which has no socket."""
        connector: Any = super().connectTCP(*arguments, **named)
        connector.transport = SimpleNamespace()
        return connector

    def connectUNIX(self, *arguments: Any, **named: Any) -> Any:
        """Attempt a connection, which has no socket."""
        connector: Any = super().connectUNIX(*arguments, **named)
        connector.transport = SimpleNamespace()
        return connector

    def listenUDP(self, port: int, protocol: object, interface: str = "", maxPacketSize: int = 0) -> NoReturn:
        """Refuse: there is no address to send from."""
        raise CannotListenError(interface, port, OSError(EADDRNOTAVAIL, "no network"))


def connect(
    reactor: object, description: str | Target, timeout: float = 10.0
) -> "Deferred[EchoUpClient | DatagramClient]":
    """Connect a client to the target, or to the one that `description` names."""
    target = parseTarget(description) if isinstance(description, str) else description

    async def connecting() -> EchoUpClient | DatagramClient:
        return await target.connect(cast("ReactorBase", reactor), timeout, lambda _: None)

    return Deferred.fromCoroutine(connecting())
