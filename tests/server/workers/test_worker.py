"""A worker process by itself."""

import json
import os
import pickle
import subprocess
import sys
from unittest import TestCase

from echoup.server.workers.commands import SAID

START = f"""
import os, sys
os.dup2(int(sys.argv[1]), {SAID})
os.execv(sys.executable, [sys.executable, "-m", "echoup.server.workers.worker"])
"""
"""A program that does the supervisor's part between fork and exec: the pipe becomes the one of the messages."""


class Unusable:
    """Stands for a configuration that fails as it is unpickled, as one with a certificate does without /proc."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Return what raises ValueError with the reason."""
        return int, ("no number",)


class MainTests(TestCase):
    """The process is started with its configuration."""

    def test_unusableConfigurationIsSaid(self) -> None:
        """A worker that can't use its configuration tells the supervisor why, and prints nothing."""
        reading, writing = os.pipe()
        ended = subprocess.run(
            [sys.executable, "-c", START, str(writing)],
            input=pickle.dumps(Unusable()),
            capture_output=True,
            pass_fds=[writing],
            timeout=60,
            check=False,
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as said:
            message = json.loads(said.read())
        assert message[0] == "failed"
        assert "no number" in message[1]
        assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b"")
