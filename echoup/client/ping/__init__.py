"""`echoup ping`: probes of a path, and what they found."""
