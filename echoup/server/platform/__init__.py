"""What the service depends on: private names of Twisted, twistd's options, socket options, processors."""
