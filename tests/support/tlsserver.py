"""A TLS server in this process that uppercases, or only shakes hands."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import MSG_PEEK, create_server, socket
from threading import Thread


def echo(connection: socket, context: ssl.SSLContext) -> None:
    """Shake hands, and uppercase what comes."""
    connection.recv(1, MSG_PEEK)  # `wrap_socket` would leak a connection that is reset already
    with context.wrap_socket(connection, server_side=True) as tls:
        while data := tls.recv(65536):
            tls.sendall(data.upper())


@contextmanager
def servingTLS(context: ssl.SSLContext, serve: object = echo) -> Iterator[int]:
    """Serve each connection with `serve` in a thread of its own, at 127.0.0.1; yield the port."""
    with create_server(("127.0.0.1", 0)) as listening:
        threads: list[Thread] = []

        def one(connection: socket) -> None:
            with connection, suppress(OSError):  # a failed handshake, which the client sees, too
                serve(connection, context)  # type: ignore[operator]

        def accept() -> None:
            while True:
                connection, _ = listening.accept()
                if stopping:
                    connection.close()
                    return
                threads.append(Thread(target=one, args=(connection,)))
                threads[-1].start()

        stopping: list[bool] = []
        accepting = Thread(target=accept)
        accepting.start()
        host, port = listening.getsockname()
        try:
            yield port
        finally:
            stopping.append(True)
            with socket() as last:
                last.connect_ex((host, port))
            accepting.join()
            for thread in threads:
                thread.join()
