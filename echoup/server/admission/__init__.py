"""Which connections may be served: places, limits for each peer, and the ports that are paused."""
