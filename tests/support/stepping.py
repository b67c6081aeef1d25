"""`twistd` with a wall clock that is stepped by the number of seconds in the file $WALL_CLOCK_STEP.

Twisted takes `time.time` when it is imported, so it is replaced before that.
"""

import os
import time
from pathlib import Path

if __name__ == "__main__":
    step = Path(os.environ["WALL_CLOCK_STEP"])
    wallClock = time.time
    time.time = lambda: wallClock() + (float(step.read_text()) if step.exists() else 0.0)

    from twisted.scripts import twistd

    twistd.run()
