"""Equal probes from many source ports, and which of them differ."""
