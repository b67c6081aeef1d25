"""The options of twistd itself that can fail, checked before it uses them.

twistd would print a traceback, and in the background no reason at all.
"""

import os
from collections.abc import Mapping
from errno import EACCES
from pathlib import Path
from typing import Any

from twisted.python.usage import UsageError


def checkTwistdOptions(given: Mapping[str, Any]) -> None:
    """Raise UsageError for an option whose folder or file can't be used, or that only root may use."""
    root = Path(given.get("chroot") or "/")
    folders, files = {"chroot": root}, dict[str, Path]()
    try:
        if rundir := given.get("rundir"):
            # twistd changes its root first, but not its folder.
            folders["rundir"] = root / rundir[1:] if rundir.startswith("/") else Path(rundir)
        if pidfile := given.get("pidfile"):
            files["pidfile"] = root / str(Path(pidfile).absolute())[1:]
        inBackground = not given.get("nodaemon") and not given.get("syslog")
        logfile = given.get("logfile") or ("twistd.log" if inBackground else "-")
        if logfile != "-":
            files["logfile"] = Path(logfile).absolute()
    except FileNotFoundError:
        raise UsageError("the working directory has been removed; change to another one") from None
    for name, folder in [*folders.items(), *((name, file.parent) for name, file in files.items())]:
        _checkFolder(name, folder)
    for name, file in files.items():
        if file.exists() and not file.is_file() and str(file) != os.devnull:
            raise UsageError(f"--{name}: {file} is not a regular file")
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise UsageError(f"--{name}: cannot write {file}")
    _checkPrivileges(given)


def _checkFolder(name: str, folder: Path) -> None:
    try:
        if not folder.is_dir():
            raise UsageError(f"--{name}: no such directory: {folder}")
    except PermissionError as error:
        raise UsageError(f"--{name}: {folder}: {error.strerror}") from None
    if not os.access(folder, os.X_OK):
        raise UsageError(f"--{name}: {folder}: {os.strerror(EACCES)}")


def _checkPrivileges(given: Mapping[str, Any]) -> None:
    if given.get("chroot"):
        try:
            os.chroot("/")  # changes nothing, and needs the same privilege
        except PermissionError:
            raise UsageError("--chroot: only root can change the root directory") from None
    for name, kind, own in (("uid", "user", os.getuid()), ("gid", "group", os.getgid())):
        if os.geteuid() and given.get(name) not in (None, own):
            raise UsageError(f"--{name}: only root can change the {kind}")
