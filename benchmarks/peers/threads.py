"""The standard library's threading server echoes in upper case: one thread a connection."""

from socket import IPPROTO_TCP, TCP_NODELAY, socket
from socketserver import BaseRequestHandler, ThreadingTCPServer


class Echo(BaseRequestHandler):
    """One connection."""

    request: socket

    def handle(self) -> None:
        """Send everything that comes back in upper case."""
        self.request.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        while data := self.request.recv(65536):
            self.request.sendall(data.upper())


class Server(ThreadingTCPServer):
    """A server that keeps no list of its threads: with `daemon_threads` it doesn't wait for them."""

    request_queue_size = 4096
    daemon_threads = True


Server(("127.0.0.1", 0), Echo).serve_forever()
