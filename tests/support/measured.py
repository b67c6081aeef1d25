"""`twistd` for a measurement of coverage: it exits instead of killing itself with the signal that it received.

coverage saves its data when the interpreter exits, which a signal prevents.
"""

import sys

from twisted.application import app
from twisted.scripts import twistd

if __name__ == "__main__":
    app._exitWithSignal = lambda number: sys.exit(128 + number)
    twistd.run()
