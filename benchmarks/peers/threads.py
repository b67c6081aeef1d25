"""An echo server in upper case on the standard library's threading server: one thread per connection."""

from socket import IPPROTO_TCP, TCP_NODELAY, socket
from socketserver import BaseRequestHandler, ThreadingTCPServer


class Echo(BaseRequestHandler):
    """One connection."""

    request: socket

    def handle(self) -> None:
        """Send back in upper case everything that arrives."""
        self.request.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        while data := self.request.recv(65536):
            self.request.sendall(data.upper())


class Server(ThreadingTCPServer):
    """A server that keeps no list of its threads: with `daemon_threads` it need not wait for them."""

    request_queue_size = 4096
    daemon_threads = True


Server(("127.0.0.1", 0), Echo).serve_forever()
