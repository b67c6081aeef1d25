"""An echo service that proves a network path, and its client."""
