"""Listening sockets that somebody else opened for us, and keeps: systemd, or the parent of a worker."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from errno import EINVAL
from pathlib import Path
from typing import cast

from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.posixbase import PosixReactorBase
from twisted.python.systemd import ListenFDs

from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.sockets import Opening, adoptEach, describeSocket, prepare


@dataclass(frozen=True)
class InheritedListener:
    """Listens on a socket that the process was started with.

    Its address, the length of its queue and the permissions of its file are up to whoever opened it. It outlives
    the process: whoever is in its queue when that stops is served by another one.
    """

    description: str
    domain: str
    """The socket's address family, as systemd's and Twisted's users write it: INET, INET6 or UNIX."""
    descriptor: int
    certificate: ServerCertificate | None = None

    def listen(self, reactor: PosixReactorBase, factory: IProtocolFactory) -> Iterator[IListeningPort]:
        """Listen, and yield the port when it does; raise OSError where that is impossible."""
        return adoptEach(reactor, factory, self.open(reactor, 1))

    def open(self, reactor: PosixReactorBase, count: int) -> Iterator[Opening]:
        """Yield the socket, one for however many; raise OSError where it isn't what it should be."""
        inherited = socket.socket(fileno=os.dup(self.descriptor))
        try:
            if inherited.family != getattr(socket, f"AF_{self.domain}"):
                raise OSError(EINVAL, f"the socket's domain is {inherited.family.name.removeprefix('AF_')}")
            if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError(EINVAL, "it is not a listening socket")
            prepare(inherited)
            os.close(self.descriptor)
        except BaseException:
            inherited.close()
            raise
        yield Opening(describeSocket(inherited), [inherited], inherited.close)


def parseInherited(
    description: str, domain: str, index: str | None = None, name: str | None = None
) -> InheritedListener:
    """Return the listener of the socket that systemd gave us at `index` or under `name`.

    `domain` is INET, INET6 or UNIX. Raise ValueError, with one line that says what is wrong.
    """
    if domain not in ("INET", "INET6", "UNIX"):
        raise ValueError(f"domain={domain} is none of INET, INET6 and UNIX")
    if (index is None) == (name is None):
        raise ValueError("it needs either index= or name=")
    inherited = _inheritedDescriptors()
    if name is not None:
        descriptor = inherited.inheritedNamedDescriptors().get(name)
    else:
        descriptor = dict(enumerate(inherited.inheritedDescriptors())).get(int(cast("str", index)))
    if descriptor is None:
        raise ValueError(f"systemd passed no such socket, but {len(inherited.inheritedDescriptors())} others")
    return InheritedListener(description, domain, descriptor)


def _inheritedDescriptors() -> ListenFDs:
    """Return what sd_listen_fds(3) says.

    Where nobody names the sockets Twisted sees none, and takes the variables out of the environment; so this looks at
    the environment that the process began with, and calls them as systemd would: unknown.
    """
    entries = Path("/proc/self/environ").read_text(errors="surrogateescape").split("\0")
    environment = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    count = environment.get("LISTEN_FDS", "")
    if count.isdecimal():
        environment.setdefault("LISTEN_FDNAMES", ":".join(["unknown"] * int(count)))
    return ListenFDs.fromEnvironment(environment)
