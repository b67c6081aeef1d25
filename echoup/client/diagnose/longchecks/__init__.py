"""The checks that are made on demand, because they take time, or load the path."""
