"""The nameservers of this machine: which there are, and what each says by itself."""
