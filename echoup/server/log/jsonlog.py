"""Events of the log as JSON, one flat object a line.

An object begins with `time`, `level`, `logger` and `message`, and ends with `traceback` where there is one. In between
are the fields of the event: numbers, words for yes and no, and null are themselves, and everything else is a text.
"""

import json
from datetime import UTC, datetime
from math import isfinite

from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

OWN = ("time", "level", "logger", "message", "traceback")

_LEGACY = {"message", "time", "system", "isError", "format", "failure", "why"}
"""The fields of old events, which `twisted.python.log` adds to all that pass an old observer."""


def formatJSON(event: LogEvent) -> str | None:
    """Return the line of an event; None, as in a log of texts, for one that says nothing."""
    failure: Failure | None = event.get("log_failure")
    message = formatEvent(event)
    if not message and not failure:
        return None
    time = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds")
    level = event.get("log_level")
    members: dict[str, object] = {
        "time": time.replace("+00:00", "Z"),
        "level": level.name if level else "info",
        "logger": str(event.get("log_system") or event.get("log_namespace", "-")),
        "message": message,
    }
    legacy = _LEGACY if isinstance(event.get("message"), tuple) else ()
    for name, value in event.items():
        if not name.startswith("log_") and name not in legacy:
            members[f"{name}_" if name in OWN else name] = _member(value)
    if failure:
        members["traceback"] = failure.getTraceback()
    return json.dumps(members) + "\n"  # in ASCII, because the encoding of stdout may be any


def _member(value: object) -> object:
    if value is None or isinstance(value, bool | str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    return safe_str(value)
