"""How large a packet may be."""
