"""The UDP service."""
