"""TLS over a byte stream: the transport, and the contexts."""
