"""Payloads that show whether a path is exact, and what the replies to them tell."""
