"""Whose trouble an error of the system is, and the words for it."""

import os
import resource
import socket
from errno import (
    EACCES,
    EADDRNOTAVAIL,
    EAGAIN,
    ECONNREFUSED,
    EHOSTUNREACH,
    EINVAL,
    EMFILE,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOENT,
    ENOPROTOOPT,
    EPERM,
    ETIMEDOUT,
)

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.systemerror import explainError, explainResolver
from echoup.client.exitcodes import ExitCode

ROUTED, UNROUTED = "127.0.0.1", "255.255.255.255"
"""An address to which this machine has a route, and one to which a socket isn't connected, with or without one."""


class ExplainTests(SynchronousTestCase):
    """`explainError` tells this machine's trouble from the path's."""

    def test_ownTroubleIsLocal(self) -> None:
        """What only this machine can cause is local, and the words say what it is."""
        for number, words in (
            (EMFILE, "Too many open files (this process has no file descriptors left, see ulimit -n)"),
            (ENFILE, "Too many open files in system (this machine has no file descriptors left, see fs.file-max)"),
            (ENOBUFS, "No buffer space available (this machine is out of memory)"),
            (EPERM, "Operation not permitted (this machine forbids it, usually a firewall)"),
            (
                EADDRNOTAVAIL,
                "Cannot assign requested address (this machine has no such address to send from, or no free port)",
            ),
        ):
            for host in ("", ROUTED):
                assert explainError(OSError(number, "")) == (ExitCode.LOCAL, words), host

    def test_routeDecides(self) -> None:
        """That an address is unreachable is local where this machine has no route, and else the path's."""
        for number in (ENETUNREACH, EHOSTUNREACH, EACCES):
            assert explainError(OSError(number, ""), ROUTED) == (ExitCode.UNREACHABLE, os.strerror(number))
            assert explainError(OSError(number, ""), UNROUTED)[0] is ExitCode.LOCAL, number
        words = "Network is unreachable (this machine has no route there)"
        assert explainError(OSError(ENETUNREACH, ""), "fe80::1%nosuch") == (ExitCode.LOCAL, words)

    def test_linkLocalAddressNeedsInterface(self) -> None:
        """A link-local address without its interface is local trouble, and the words show how to write it."""
        invalid = OSError(EINVAL, "")
        words = "Invalid argument (a link-local address needs its interface: [fe80::1%eth0]:PORT)"
        assert explainError(invalid, "fe80::1") == (ExitCode.LOCAL, words)
        for host in ("fe80::1%nosuch", UNROUTED):
            assert explainError(invalid, host) == (ExitCode.LOCAL, "Invalid argument (this machine has no route there)")

    def test_pathsTroubleIsUnreachable(self) -> None:
        """A refusal, by whichever ICMP message or file, is the path's; the kernel's own timeout is one."""
        for number in (ECONNREFUSED, ENOPROTOOPT, ENOENT):
            assert explainError(OSError(number, ""), UNROUTED) == (ExitCode.UNREACHABLE, os.strerror(number))
        assert explainError(OSError(EACCES, "")) == (ExitCode.UNREACHABLE, "Permission denied")  # of a Unix socket
        assert explainError(OSError(ETIMEDOUT, ""), ROUTED) == (ExitCode.TIMED_OUT, "Connection timed out")

    def test_fullQueueHasOwner(self) -> None:
        """A full queue is that of a Unix server, or that of this machine's network."""
        again = OSError(EAGAIN, "")
        words = "Resource temporarily unavailable"
        assert explainError(again) == (ExitCode.UNREACHABLE, f"{words} (the server's queue is full)")
        mine = f"{words} (the send buffer of this machine is full)"
        assert explainError(again, ROUTED) == (ExitCode.LOCAL, mine)

    def test_missingInterfaceIsLocal(self) -> None:
        """An address with an interface that doesn't exist is local trouble, in words."""
        error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        assert explainError(error, "fe80::1%nosuch") == (ExitCode.LOCAL, "this machine has no such interface")


class ResolverTests(SynchronousTestCase):
    """`explainResolver` finds this machine's trouble behind what the resolver says."""

    def test_missingDescriptorsAreTold(self) -> None:
        """That there are no descriptors is told where the resolver says so, and where it doesn't."""
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        for error in (None, unknown, UnicodeError("label too long"), OSError(ENOENT, "")):
            assert explainResolver(error) is None
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            found = explainResolver(unknown)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert found == explainResolver(OSError(EMFILE, "")) == explainError(OSError(EMFILE, ""))
