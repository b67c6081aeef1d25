"""The reactor on uvloop."""
