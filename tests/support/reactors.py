"""The reactors on which the daemons under test run; TEST_REACTORS, in the environment, names others."""

import os

REACTORS = tuple(os.environ.get("TEST_REACTORS", "epoll uvloop").split())
"""Those of most tests; a test that needs one takes the first."""
MULTIPLEXERS = REACTORS if "TEST_REACTORS" in os.environ else (*REACTORS, "asyncio", "poll", "select")
"""Those of the tests that depend on how a reactor waits for its sockets."""
