"""The reactors on which the daemons under test run; the environment variable TEST_REACTORS names others."""

import os

REACTORS = tuple(os.environ.get("TEST_REACTORS", "epoll uvloop").split())
"""The reactors of most tests; a test that needs only one takes the first."""
MULTIPLEXERS = REACTORS if "TEST_REACTORS" in os.environ else (*REACTORS, "asyncio", "poll", "select")
"""The reactors of the tests that depend on how a reactor waits for its sockets."""
