"""Which connections may be served: places, limits per peer, and paused ports."""
