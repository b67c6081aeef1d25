"""What `--listen` means: addresses, listening sockets and certificates."""
