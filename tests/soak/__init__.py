"""Hours of mixed load while processes pause and die, logs block and peers break off."""
