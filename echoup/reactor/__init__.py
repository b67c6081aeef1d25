"""A Twisted reactor on uvloop, whose streams are uvloop's own transports; nothing in it is about echoing."""
