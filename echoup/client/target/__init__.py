"""What TARGET means."""
