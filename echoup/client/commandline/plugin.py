"""How a plugin for Nagios fails: with one line on stdout, and the exit code for UNKNOWN.

This imports nothing of the reports, because an import is one of the things that fail.
"""

import sys
import traceback
from collections.abc import Sequence

from echoup.client.exitcodes import PathError
from echoup.client.run import complain, conclude, explainFailure
from echoup.escaping import shown

UNKNOWN = 3
"""The exit code (Monitoring Plugins Development Guidelines, "Plugin Return Codes")."""


def isPlugin(arguments: Sequence[str]) -> bool:
    """Return whether `arguments`, which may be wrong, ask for the format of Nagios."""
    words = iter(arguments)
    form = ""
    for word in words:
        if word == "--":
            break
        if word == "--format":
            form = next(words, "")
        elif word.startswith("--format="):
            form = word.removeprefix("--format=")
    return form.lower() == "nagios"


def reportUnknown(error: Exception) -> int:
    """Write the status and `error` to standard output, and return the exit code.

    The traceback of an unexpected error goes to standard error.
    """
    if explained := explainFailure(error):
        _, why = explained
    else:
        complain(*"".join(traceback.format_exception(error)).splitlines())
        why = f"{type(error).__name__}: {error}"
    if not sys.stdout:
        complain(f"echoup: {why}")
        return UNKNOWN
    try:
        # A `|` would begin the performance data.
        sys.stdout.write(f"ECHOUP UNKNOWN - {shown(why).replace('|', '/')}\n")
    except PathError as broken:
        conclude(broken)
    return UNKNOWN
