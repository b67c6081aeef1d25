"""`twistd`, for a measurement of coverage: it exits where twistd would kill itself with the signal that it got.

coverage saves what it saw when the interpreter exits, so of a daemon that a signal ends it would see nothing.
"""

import sys

from twisted.application import app
from twisted.scripts import twistd

if __name__ == "__main__":
    app._exitWithSignal = lambda number: sys.exit(128 + number)
    twistd.run()
