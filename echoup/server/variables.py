"""The environment variables of the daemon: one for each option, and those that look like one."""

import re
from collections.abc import Collection, Mapping

from echoup.escaping import shown

PREFIX = "ECHOUP_"

SIMILAR = 0.75
"""The similarity, by `difflib`, from which on a name is a misspelt one."""

_SERVICE = re.compile(r"ECHOUP_(.+_)?(SERVICE_(HOST|PORT(_.+)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_PORT = re.compile(r"ECHOUP_(.+_)?PORT=(tcp|udp|sctp)://.*")
"""The variables that Kubernetes makes for each Service, here for one named `echoup` or `echoup-…`."""


def variableOf(option: str) -> str:
    """Return the variable of an option."""
    return PREFIX + option.upper().replace("-", "_")


def findUnknown(environment: Mapping[str, str], options: Collection[str]) -> list[str]:
    """Return the variables that begin like ours, aren't empty, and are neither of `options` nor of Kubernetes.

    Raise ValueError, with one line that names the right variable, for a misspelt one.
    """
    known = {variableOf(option): option for option in options}
    unknown = [
        name
        for name, value in sorted(environment.items())
        if name.upper().startswith(PREFIX) and name not in known and value.strip()
        if not _SERVICE.fullmatch(name) and not _SERVICE_PORT.fullmatch(f"{name}={value}")
    ]
    for name in unknown:
        from difflib import get_close_matches  # 5 ms of each start

        words = {variable.removeprefix(PREFIX): variable for variable in known}
        for similar in get_close_matches(name.upper().removeprefix(PREFIX), words, 1, SIMILAR):
            raise ValueError(f"{shown(name)} is not a setting; {words[similar]} is")
    return unknown
