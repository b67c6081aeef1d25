"""The real commands, as processes, over real sockets."""
