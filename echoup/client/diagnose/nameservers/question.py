"""Ask one nameserver for the addresses of a name, over UDP, with nothing in between."""

import os
from collections.abc import Iterable
from errno import ECONNREFUSED
from ipaddress import ip_address
from typing import Any

from twisted.names import dns

from echoup.client.diagnose.datagramsocket import DatagramSocket
from echoup.client.diagnose.nameservers.answer import Answer, Outcome
from echoup.client.diagnose.together import together
from echoup.clock import RunningTime

PORT = 53

TRIES = 3
"""How many times a question is sent before its nameserver counts as silent, at equal distances within the timeout."""


_CODES = {
    dns.OK: Outcome.NO_ADDRESS,
    dns.ENAME: Outcome.NO_NAME,
    dns.ESERVER: Outcome.FAILED,
    dns.EREFUSED: Outcome.REFUSED,
}

KINDS = {"A": dns.A, "AAAA": dns.AAAA}


def parseAnswer(data: bytes, number: int, name: str, kind: str) -> tuple[Outcome, frozenset[str]] | None:
    """Return the outcome and the addresses of the datagram `data`.

    None if it isn't the answer to question `number` (RFC 1035, 4.1) for `name`.
    """
    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:  # Twisted's parser raises many kinds for what isn't DNS
        return None
    if not message.answer or message.id != number:
        return None
    asked = [(str(query.name).rstrip(".").lower(), query.type) for query in message.queries]
    if asked and asked != [(name.lower(), KINDS[kind])]:
        return None
    payloads: list[Any] = [record.payload for record in message.answers if record.type == KINDS[kind]]
    found = frozenset(str(ip_address(payload.address)) for payload in payloads)
    outcome = _CODES.get(message.rCode, Outcome.OTHER)
    if outcome is Outcome.NO_ADDRESS and (found or message.trunc):  # cut, because there are too many of them
        outcome = Outcome.FOUND
    return outcome, found


async def ask(
    reactor: Any, clock: RunningTime, nameserver: str, name: str, kinds: Iterable[str], timeout: float, port: int = PORT
) -> list[Answer]:
    """Return what `nameserver`, an IP address, says of `name`, for each of `kinds`, within `timeout` seconds."""
    return await together(_ask(reactor, clock, nameserver, name, kind, timeout, port) for kind in kinds)


async def _ask(
    reactor: Any, clock: RunningTime, nameserver: str, name: str, kind: str, timeout: float, port: int
) -> Answer:
    try:
        socket = DatagramSocket(reactor, clock, nameserver, port)
    except OSError:
        return Answer(kind, Outcome.UNREACHABLE)
    try:
        return await _converse(socket, clock, name, kind, timeout / TRIES)
    finally:
        socket.close()


async def _converse(socket: DatagramSocket, clock: RunningTime, name: str, kind: str, wait: float) -> Answer:
    """Send the question until it is answered, and wait for `wait` seconds after each sending."""
    sent: dict[int, float] = {}
    found: list[Answer] = []

    def isOver() -> bool:
        while socket.arrivals:
            arrival = socket.arrivals.pop(0)
            for number, at in sent.items():
                if parsed := parseAnswer(arrival.data, number, name, kind):
                    found.append(Answer(kind, parsed[0], arrival.at - at, *parsed[1:]))
        return bool(found or socket.errors)

    for _ in range(TRIES):
        number = int.from_bytes(os.urandom(2))  # another each time: an answer tells which sending it is for
        question = dns.Message(number, recDes=1)
        question.addQuery(name.encode("ascii"), KINDS[kind])
        sent[number] = clock.seconds()
        try:
            socket.send(question.toStr())
        except OSError as error:
            socket.errors.append(error)
        if await socket.wait(isOver, wait):
            return found[0] if found else Answer(kind, _explain(socket.errors[0]))
    return Answer(kind, Outcome.SILENT)


def _explain(error: OSError) -> Outcome:
    return Outcome.CLOSED if error.errno == ECONNREFUSED else Outcome.UNREACHABLE
