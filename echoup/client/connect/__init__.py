"""From a name to a connection."""
