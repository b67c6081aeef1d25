"""Servers other than echoup: simple ones that also uppercase, and broken ones.

`python -m tests.support.servers NAME` runs one of SERVERS on TCP at 127.0.0.1 and prints its port.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from socket import AF_INET, SHUT_WR, SOCK_DGRAM, socket

from tests.support.addresses import Address, unused
from tests.support.sockets import reset


def tutorial(listening: socket) -> None:
    """Uppercase as the server of a socket tutorial does: one client at a time, 1024 bytes at a time."""
    while True:
        connection, _ = listening.accept()
        with connection:
            while message := connection.recv(1024):
                connection.sendall(message.upper())


def netcat(listening: socket) -> None:
    """Uppercase as `nc -l -e 'tr a-z A-Z'` does: with a program whose input and output are the connection."""
    while True:
        connection, _ = listening.accept()
        with connection:
            descriptor = connection.fileno()
            subprocess.run(["tr", "a-z", "A-Z"], stdin=descriptor, stdout=descriptor, check=False)


def unchanged(listening: socket) -> None:
    """Send everything back unchanged."""
    while True:
        connection, _ = listening.accept()
        with connection:
            while message := connection.recv(65536):
                connection.sendall(message)


def corrupting(listening: socket) -> None:
    """Uppercase all up to the end, with a wrong byte 1000."""
    while True:
        connection, _ = listening.accept()
        with connection, connection.makefile("rwb") as stream:
            message = bytearray(stream.read().upper())
            message[1000] ^= 1
            stream.write(message)


def flipping(listening: socket) -> None:
    """Uppercase at once, with a wrong byte 1000 on each connection."""
    while True:
        connection, _ = listening.accept()
        with connection:
            before = 0
            while message := bytearray(connection.recv(65536).upper()):
                if before <= 1000 < before + len(message):
                    message[1000 - before] ^= 1
                before += len(message)
                connection.sendall(message)


def replaying(listening: socket) -> None:
    """Uppercase for the first client, and send the same answer to the others, as a cache does."""
    answer = b""
    while True:
        connection, _ = listening.accept()
        with connection:
            while message := connection.recv(65536):
                answer = answer or message.upper()
                connection.sendall(answer)


def chatty(listening: socket) -> None:
    """Send a greeting with a control sequence, then uppercase."""
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"\x1b[31mWELCOME\r\n")
            while message := connection.recv(65536):
                connection.sendall(message.upper())


def short(listening: socket) -> None:
    """Answer three bytes, then end the stream."""
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(connection.recv(65536).upper()[:3])
            connection.shutdown(SHUT_WR)
            while connection.recv(65536):
                pass


def resetting(listening: socket) -> None:
    """Answer three bytes, then reset the connection."""
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(connection.recv(65536).upper()[:3])
            reset(connection)


def dropping(listening: socket) -> None:
    """Reset each connection at once, as a proxy without a server behind it does."""
    while True:
        reset(listening.accept()[0])


def silent(listening: socket) -> None:
    """Never accept: the kernel completes the connections."""
    while True:
        time.sleep(60)


def endless(listening: socket) -> None:
    """Uppercase, but never end the stream."""
    connections = []
    while True:
        connection, _ = listening.accept()
        connections.append(connection)
        while message := connection.recv(65536):
            connection.sendall(message.upper())


SERVERS = {
    serve.__name__: serve
    for serve in (
        tutorial,
        netcat,
        unchanged,
        corrupting,
        flipping,
        replaying,
        chatty,
        short,
        resetting,
        dropping,
        silent,
        endless,
    )
}


@contextmanager
def serving(name: str) -> Iterator[Address]:
    """Run one of SERVERS in a process of its own."""
    command = [sys.executable, "-m", __name__, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield Address(AF_INET, ("127.0.0.1", int(process.stdout.readline())))
        finally:
            process.kill()


@contextmanager
def blackHole() -> Iterator[Address]:
    """Yield an address whose accept queue is full and stays full, so that the kernel answers no SYN."""
    address = unused()
    with ExitStack() as stack:
        listening = stack.enter_context(socket())
        listening.bind(address.address)
        listening.listen(1)
        for _ in range(10):
            waiting = stack.enter_context(socket())
            waiting.setblocking(False)
            waiting.connect_ex(address.address)
        yield address


@contextmanager
def answering(answer: Callable[[bytes], bytes] | None) -> Iterator[str]:
    """Answer each datagram with what `answer` returns for it, unless that is None; yield the target."""
    with socket(AF_INET, SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))

        def serve() -> None:
            while datagram := listening.recvfrom(65536):
                data, client = datagram
                if data == b"stop":
                    break
                if answer:
                    listening.sendto(answer(data), client)

        host, port = listening.getsockname()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"udp:{host}:{port}"
        finally:
            listening.sendto(b"stop", (host, port))
            thread.join()


if __name__ == "__main__":
    listening = socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    SERVERS[sys.argv[1]](listening)
