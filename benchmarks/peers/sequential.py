"""An echo server in upper case as in most tutorials: it serves one client at a time."""

from socket import IPPROTO_TCP, TCP_NODELAY, create_server

with create_server(("127.0.0.1", 0), backlog=4096) as listener:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            while message := connection.recv(1024):
                connection.sendall(message.upper())
