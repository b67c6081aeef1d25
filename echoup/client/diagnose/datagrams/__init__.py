"""What the check `udp` measures: answers, bursts, sizes, and the TOS of datagrams."""
