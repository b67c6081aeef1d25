"""The checks that take no time of their own: each measures one thing about the path."""
