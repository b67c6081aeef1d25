"""The status site: whether the daemon is ready, what it counts and who is connected, over HTTP."""
