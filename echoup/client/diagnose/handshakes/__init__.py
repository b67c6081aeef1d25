"""TLS handshakes with a server, and what its certificates say."""
