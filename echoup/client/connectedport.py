"""UDP ports that are connected to a server.

Theory of operation. Only a reply tells that a datagram has arrived. So a `ConnectedPort` tries the addresses of a
server as RFC 8305 does, with datagrams in place of connections. Each address has an attempt, a UDP port of its own. It
begins when the one before has failed (the machine refuses, or the system doesn't send), or next to it when that has
been silent for a while. It first sends everything that was sent before. The first reply, right or wrong, decides: the
attempt that it came to is the only one from then on, and silence doesn't end it.
"""

import socket
from collections import deque
from collections.abc import Iterable, Sequence
from errno import ECONNREFUSED, EMSGSIZE
from typing import Any

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol

from echoup.addresses import describeName, joinAddress
from echoup.client.connect.race import ATTEMPT_DELAY
from echoup.client.connect.systemerror import explainError, worst
from echoup.client.connect.tos import setTOS
from echoup.client.exitcodes import PathError

Address = tuple[str, int]
"""The IP address, with the interface of a link-local one, and the port."""


class Attempt(DatagramProtocol):
    """A UDP port for one address of the server; it tells its owner what comes, and of refusals."""

    noisy = False
    isClosed = False

    def __init__(self, owner: "ConnectedPort", reactor: Any, address: Address) -> None:
        """Open the port; raise OSError if that fails."""
        self.owner = owner
        self.address = address
        self.remote = joinAddress(*address)
        try:
            self.port = reactor.listenUDP(0, self, owner.source or ("::" if ":" in address[0] else ""), 2**16)
        except CannotListenError as error:
            raise error.socketError from None
        handle = self.port.getHandle()
        try:
            if owner.tos is not None:
                setTOS(handle, owner.tos)
            # Twisted leaves the interface out, as in twisted#6826; a socket that has one keeps it in the next connect.
            handle.connect(socket.getaddrinfo(*address, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4])
            self.port.connect(*address)
        except OSError:
            self.close()
            raise
        self._watch()
        self.local = describeName(handle.getsockname())

    def send(self, data: bytes) -> None:
        """Send a datagram; raise OSError if the system doesn't."""
        try:
            self.port.write(data)
        except MessageLengthError:  # it has no text
            raise OSError(EMSGSIZE, "") from None

    def close(self) -> None:
        """Close the port."""
        if not self.isClosed:
            self.port.stopListening()
        self.isClosed = True

    def datagramReceived(self, data: bytes, addr: object) -> None:
        """Pass on what came."""
        self.owner.attemptAnswered(self, data)

    def connectionRefused(self) -> None:
        """Report a refusal, which came as an ICMP message."""
        self.owner.attemptFailed(self, OSError(ECONNREFUSED, ""))

    def stopProtocol(self) -> None:
        """Report that the reactor has closed the port, because poll(2) saw an error on it: usually a refusal."""
        if not self.isClosed:
            number = self.port.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or ECONNREFUSED
            self.isClosed = True
            self.owner.attemptFailed(self, OSError(number, ""))

    def _watch(self) -> None:
        """Report what `recvfrom` raises for other ICMP messages, which Twisted logs as a traceback (`udp.Port.doRead`).

        The poll and epoll reactors close the port before they read: see `stopProtocol`.
        """
        read = self.port.doRead

        def doRead() -> None:
            try:
                read()
            except OSError as error:
                self.owner.attemptFailed(self, error)

        self.port.doRead = doRead


class ConnectedPort:
    """Talks with the first address of a server that answers, and learns when its machine refuses datagrams."""

    attempt: Attempt | None = None
    """The one that was answered; before that, the latest."""
    isClosed = False
    """Whether we have closed the port."""
    name: object = ""
    """What the user calls the server."""
    source: str | None = None
    """The IP address to send from; None for the kernel's choice."""
    tos: int | None = None
    """The TOS byte of what is sent; None for the kernel's."""
    address: str | None = None
    """The address that has answered, or those that were tried; None before the first."""
    _attempts: Sequence[Attempt] = ()
    _delay: IDelayedCall | None = None

    def open(
        self, reactor: Any, name: object, addresses: Iterable[Address], patience: float | None = ATTEMPT_DELAY
    ) -> None:
        """Open a port for the first of the `addresses` of the server `name`, and close those before.

        If the first is silent for `patience` seconds, the next is tried as well; with None it never is. Raise
        PathError, without the server's name, if no address can be used.
        """
        self._abandon()
        self._reactor, self.name = reactor, name
        self._addresses = deque(addresses)
        self._tried: list[str] = []
        self._errors: dict[str, PathError] = {}
        self._sent: list[bytes] = []  # what the next address gets, too
        self._isDecided = False
        self._tryNext(patience)
        if not self._attempts:
            raise self._failure()

    @property
    def local(self) -> str | None:
        """Our own address, in words; None if there was none."""
        return self.attempt.local if self.attempt else None

    @property
    def remote(self) -> str | None:
        """The server's address, likewise."""
        return self.attempt.remote if self.attempt else None

    def sendDatagram(self, data: bytes) -> None:
        """Send `data`; raise PathError if the system doesn't send it to the address that has answered.

        While none has, `refused` is called instead, when no address is left.
        """
        if self.attempt and self._isDecided:
            try:
                self.attempt.send(data)
            except OSError as error:
                raise _explain(error, self.attempt.address) from None
            return
        if self._addresses:
            self._sent.append(data)
        for attempt in self._attempts:
            self._send(attempt, data)

    def close(self) -> None:
        """Close the port."""
        self.isClosed = True
        self._abandon()

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """Called with what comes from the address that has answered."""

    def refused(self, error: PathError) -> None:
        """Called when every address has failed, and `error` says how, without the name; it has to close the port."""

    def connectTo(self, reactor: Any, address: Address) -> Attempt:
        """Return a new attempt at `address`; raise OSError if that fails."""
        return Attempt(self, reactor, address)

    def attemptAnswered(self, attempt: Attempt, data: bytes) -> None:
        """Pass on what came, and give up the other addresses."""
        if attempt not in self._attempts:
            return
        if not self._isDecided:
            self._isDecided = True
            self._cancelDelay()
            for each in self._attempts:
                if each is not attempt:
                    each.close()
            self.attempt, self._attempts = attempt, [attempt]
            for record in (self._addresses, self._tried, self._errors, self._sent):
                record.clear()
            self._call(attempt.remote)
        self.datagramReceived(data, attempt.address)

    def attemptFailed(self, attempt: Attempt, error: OSError) -> None:
        """Try the next address; after the last, report how all have failed."""
        if attempt not in self._attempts:
            return
        attempt.close()
        self._attempts = [each for each in self._attempts if each is not attempt]
        self._errors[attempt.remote] = _explain(error, attempt.address)
        self._tryNext()
        if not (self._attempts or self.isClosed):
            self.refused(self._failure())

    def _tryNext(self, patience: float | None = ATTEMPT_DELAY) -> None:
        """Begin an attempt at the next address that can be used, if there is one."""
        self._cancelDelay()
        while self._addresses:
            address = self._addresses.popleft()
            remote = joinAddress(*address)
            self._call(remote)
            try:
                attempt = self.attempt = self.connectTo(self._reactor, address)
            except OSError as error:
                self._errors[remote] = _explain(error, address)
                continue
            self._attempts = [*self._attempts, attempt]
            if self._addresses and patience is not None:
                self._delay = self._reactor.callLater(patience, self._tryNext)
            for data in self._sent:
                self._send(attempt, data)
            return

    def _send(self, attempt: Attempt, data: bytes) -> None:
        try:
            attempt.send(data)
        except OSError as error:
            self.attemptFailed(attempt, error)

    def _call(self, remote: str) -> None:
        """Add an address to those that messages name."""
        self._tried.append(remote)
        self.address = ", ".join(self._tried)

    def _failure(self) -> PathError:
        """Return the error of a server all of whose addresses failed."""
        reasons = {remote: str(error) for remote, error in self._errors.items()}
        listed = "; ".join(f"{remote}: {reason}" for remote, reason in reasons.items())
        code = worst({error.code for error in self._errors.values()})
        return PathError(code, listed if len({*reasons.values()}) > 1 else reasons.popitem()[1])

    def _abandon(self) -> None:
        self._cancelDelay()
        for attempt in self._attempts:
            attempt.close()
        self._attempts = ()

    def _cancelDelay(self) -> None:
        if self._delay and self._delay.active():
            self._delay.cancel()


def _explain(error: OSError, address: Address) -> PathError:
    return PathError(*explainError(error, address[0]))
