"""Ask one nameserver for the addresses of a name, over UDP, with nothing in between.

Twisted's resolver tells neither silence from a port on which nothing listens, nor an answer that is cut.
"""

import os
from collections.abc import Iterable
from errno import ECONNREFUSED
from ipaddress import ip_address
from typing import Any

from twisted.names import dns

from echoup.client.diagnose.datagramsocket import DatagramSocket
from echoup.client.diagnose.nameservers.answers import Answer, DNSResult
from echoup.client.diagnose.together import together
from echoup.clock import RunningTime

PORT = 53

TRIES = 3
"""How many times a question is sent before its nameserver counts as silent, at equal distances within the timeout."""

KINDS = {"A": dns.A, "AAAA": dns.AAAA}

_CODES = {
    dns.OK: DNSResult.NO_ADDRESS,
    dns.ENAME: DNSResult.NO_NAME,
    dns.ESERVER: DNSResult.FAILED,
    dns.EREFUSED: DNSResult.REFUSED,
}


def parseAnswer(data: bytes, number: int, kind: str) -> tuple[DNSResult, frozenset[str]] | None:
    """Return what the datagram `data` says, and the addresses of `kind` in it.

    None if it isn't the answer to question `number` (RFC 1035, 4.1).
    """
    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:  # Twisted's parser raises many kinds for what isn't DNS
        return None
    if not message.answer or message.id != number:
        return None
    payloads: list[Any] = [record.payload for record in message.answers if record.type == KINDS[kind]]
    found = frozenset(str(ip_address(payload.address)) for payload in payloads)
    if message.trunc:
        return DNSResult.CUT, frozenset()
    if len(message.answers) < int.from_bytes(data[6:8]):  # it is cut, and doesn't say so
        return DNSResult.OTHER, frozenset()
    return DNSResult.FOUND if found else _CODES.get(message.rCode, DNSResult.OTHER), found


async def ask(
    reactor: Any, clock: RunningTime, nameserver: str, name: str, kinds: Iterable[str], timeout: float, port: int = PORT
) -> list[Answer]:
    """Return what `nameserver`, an IP address, says of `name`, for each of `kinds`, within `timeout` seconds.

    `name` is one that there can be, in ASCII.
    """
    return await together(_ask(reactor, clock, nameserver, name, kind, timeout, port) for kind in kinds)


async def _ask(
    reactor: Any, clock: RunningTime, nameserver: str, name: str, kind: str, timeout: float, port: int
) -> Answer:
    question = dns.Message(int.from_bytes(os.urandom(2)), recDes=1)
    question.addQuery(name.encode("ascii"), KINDS[kind])
    data = question.toStr()
    try:
        socket = DatagramSocket(reactor, clock, nameserver, port)
    except (OSError, UnicodeError):  # the latter if it isn't an address at all
        return Answer(kind, DNSResult.UNREACHABLE)
    began = clock.seconds()
    found: list[Answer] = []

    def isOver() -> bool:
        for arrival in socket.arrivals:
            if parsed := parseAnswer(arrival.data, question.id, kind):
                result, addresses = parsed
                found.append(Answer(kind, result, arrival.at - began, addresses))
        socket.arrivals.clear()
        return bool(found or socket.errors)

    try:
        for _ in range(TRIES):
            try:
                socket.send(data)
            except OSError as error:
                socket.errors.append(error)
            if await socket.wait(isOver, timeout / TRIES):
                break
    finally:
        socket.close()
    if found:
        return found[0]
    if not socket.errors:
        return Answer(kind, DNSResult.SILENT)
    isClosed = socket.errors[0].errno == ECONNREFUSED
    return Answer(kind, DNSResult.CLOSED if isClosed else DNSResult.UNREACHABLE)
