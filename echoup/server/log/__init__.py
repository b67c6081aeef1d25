"""How the daemon logs: from a thread of its own, and nothing too often."""
