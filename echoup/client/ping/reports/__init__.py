"""What `echoup ping` writes."""
