"""Listening sockets that this process inherited, from systemd for example."""

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from errno import EINVAL
from pathlib import Path
from typing import cast

from twisted.python.systemd import ListenFDs

from echoup.endpointstrings import wholeNumber
from echoup.plurals import counted
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.sockets import ListeningAddress
from echoup.server.platform.socketoptions import prepare


@dataclass(frozen=True)
class InheritedListener:
    """Listens on an inherited socket, which outlives the process, together with the clients in its queue."""

    description: str
    domain: str
    """The socket's address family, as systemd's and Twisted's users write it: INET, INET6 or UNIX."""
    descriptor: int
    certificate: ServerCertificate | None = None
    backlog: int = socket.SOMAXCONN
    """The length of a Unix socket's queue."""

    def open(self, count: int = 1) -> list[ListeningAddress]:
        """Return the socket, one for any `count`; raise OSError where it isn't a listening socket of the domain."""
        with ExitStack() as opened:
            inherited = opened.enter_context(socket.socket(fileno=os.dup(self.descriptor)))
            if inherited.family != getattr(socket, f"AF_{self.domain}"):
                raise OSError(EINVAL, f"the socket's domain is {inherited.family.name.removeprefix('AF_')}")
            if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError(EINVAL, "not a listening socket")
            prepare(inherited)
            os.close(self.descriptor)
            return [ListeningAddress([inherited], opened.pop_all().close, isInherited=True, backlog=self.backlog)]


def parseInherited(
    description: str, domain: str, index: str | None = None, name: str | None = None
) -> InheritedListener:
    """Return the listener of the socket that systemd passed at `index` or under `name`; raise ValueError for none."""
    if domain not in ("INET", "INET6", "UNIX"):
        raise ValueError(f"domain={domain} is not INET, INET6 or UNIX")
    if (index is None) == (name is None):
        raise ValueError("give index= or name=, not both")
    inherited = _inheritedDescriptors()
    if name is not None:
        descriptor = inherited.inheritedNamedDescriptors().get(name)
    else:
        descriptor = dict(enumerate(inherited.inheritedDescriptors())).get(wholeNumber(cast("str", index)))
    if descriptor is None:
        passed = len(inherited.inheritedDescriptors())
        raise ValueError(
            f"systemd passed {counted(passed, 'socket')}, but not this one" if passed else "systemd passed no sockets"
        )
    return InheritedListener(description, domain, descriptor)


def _inheritedDescriptors() -> ListenFDs:
    """Return the descriptors that were passed to this process, and their names (sd_listen_fds(3)).

    Without LISTEN_FDNAMES Twisted finds no sockets; here all are named `unknown`, as systemd names them then. Twisted
    also removes the variables from the environment, so this reads the environment that the process started with. Raise
    ValueError where it can't be read.
    """
    try:
        entries = Path("/proc/self/environ").read_text(errors="surrogateescape").split("\0")
    except OSError as error:
        raise ValueError(f"cannot read {error.filename}, which names systemd's sockets: {error.strerror}") from None
    environment = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    count = environment.get("LISTEN_FDS", "")
    if count.isdecimal():
        environment.setdefault("LISTEN_FDNAMES", ":".join(["unknown"] * int(count)))
    return ListenFDs.fromEnvironment(environment)
