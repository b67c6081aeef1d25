"""A nameserver with a test's own records, good and bad ones."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from threading import Thread

from twisted.names import dns

KINDS = {"A": dns.A, "AAAA": dns.AAAA}

SILENCE = None
"""In place of a return code or of addresses: no answer."""

Records = dict[tuple[str, str], list[str] | int | None]
"""Of a name and `A` or `AAAA`: its addresses, a return code (RFC 1035, 4.1.1), or SILENCE."""


def answerTo(data: bytes, records: Records) -> bytes | None:
    """Return the answer to the question `data`; of a name without records, that there is no such name."""
    message = dns.Message()
    message.fromStr(data)
    (query,) = message.queries
    name, kind = str(query.name).lower(), dns.QUERY_TYPES[query.type]
    known = any(each == name for each, _ in records)
    found = records.get((name, kind), [] if known else dns.ENAME)
    if found is SILENCE:
        return None
    answer = dns.Message(message.id, answer=1, recDes=1, recAv=1)
    answer.queries = message.queries
    if isinstance(found, int):
        answer.rCode = found
        return answer.toStr()
    for address in found:
        record = dns.Record_A(address) if ip_address(address).version == 4 else dns.Record_AAAA(address)
        answer.answers.append(dns.RRHeader(name, query.type, payload=record))
    return answer.toStr()


@contextmanager
def nameserver(address: str, records: Records, port: int = 53) -> Iterator[int]:
    """Answer questions at `address`, and yield the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as listening:
        listening.bind((address, port))

        def serve() -> None:
            while True:
                data, client = listening.recvfrom(4096)
                if not data:
                    return
                if (answer := answerTo(data, records)) is not None:
                    listening.sendto(answer, client)

        thread = Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.sendto(b"", listening.getsockname())
            thread.join()
