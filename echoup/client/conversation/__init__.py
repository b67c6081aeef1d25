"""Talking to a server: the interactive prompt, and the pipe."""
