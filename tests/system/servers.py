"""Servers that are not ours: simple ones that uppercase too, and broken ones.

`python -m tests.system.servers NAME` listens on 127.0.0.1 and prints the port.
"""

import subprocess
import sys
import time
from socket import SHUT_WR, SO_LINGER, SOL_SOCKET, socket
from struct import pack


def tutorial(listening: socket) -> None:
    """The sequential server of a socket tutorial: one client at a time, 1024 bytes at a time."""
    while True:
        connection, _ = listening.accept()
        with connection:
            while message := connection.recv(1024):
                connection.sendall(message.upper())


def netcat(listening: socket) -> None:
    """What `nc -l -e 'tr a-z A-Z'` does: a program whose input and output are the connection."""
    while True:
        connection, _ = listening.accept()
        with connection:
            descriptor = connection.fileno()
            subprocess.run(["tr", "a-z", "A-Z"], stdin=descriptor, stdout=descriptor, check=False)


def unchanged(listening: socket) -> None:
    """A plain echo."""
    while True:
        connection, _ = listening.accept()
        with connection:
            while message := connection.recv(65536):
                connection.sendall(message)


def corrupting(listening: socket) -> None:
    """Gets byte 1000 wrong."""
    while True:
        connection, _ = listening.accept()
        with connection, connection.makefile("rwb") as stream:
            message = bytearray(stream.read().upper())
            message[1000] ^= 1
            stream.write(message)


def flipping(listening: socket) -> None:
    """Gets byte 1000 of each connection wrong, and waits for no end to do so."""
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
    """Uppercases for its first client; all others get the same again, as from a cache."""
    answer = b""
    while True:
        connection, _ = listening.accept()
        with connection:
            while message := connection.recv(65536):
                answer = answer or message.upper()
                connection.sendall(answer)


def chatty(listening: socket) -> None:
    """Greets, with a control sequence, before it uppercases."""
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"\x1b[31mWELCOME\r\n")
            while message := connection.recv(65536):
                connection.sendall(message.upper())


def short(listening: socket) -> None:
    """Answers three bytes, then ends."""
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(connection.recv(65536).upper()[:3])
            connection.shutdown(SHUT_WR)
            while connection.recv(65536):
                pass


def resetting(listening: socket) -> None:
    """Answers three bytes, then resets the connection."""
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(connection.recv(65536).upper()[:3])
            time.sleep(0.2)  # a reset overtakes what was sent just before it
            connection.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))


def silent(listening: socket) -> None:
    """Never accepts; the kernel does, so that the connection is made."""
    while True:
        time.sleep(60)


def endless(listening: socket) -> None:
    """Uppercases, but never ends its side."""
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
        silent,
        endless,
    )
}

if __name__ == "__main__":
    listening = socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    SERVERS[sys.argv[1]](listening)
