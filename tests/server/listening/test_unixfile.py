"""A Unix socket takes the place of one that a killed process left, and of no other."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from errno import EADDRINUSE, ELOOP
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier

from twisted.trial.unittest import SynchronousTestCase

from echoup.server.listening import unixfile
from echoup.server.listening.listeners import parseListener
from echoup.server.listening.sockets import ListeningAddress
from tests.support.doubles import raised


class UNIXFileTestCase(SynchronousTestCase):
    """A test with a folder for a Unix socket."""

    def setUp(self) -> None:
        """Make the folder."""
        self.path = Path(self.enterContext(TemporaryDirectory()), "socket")
        self.lock = Path(f"{self.path}.lock")

    @property
    def files(self) -> list[str]:
        """The names of the files in the folder."""
        return sorted(file.name for file in self.path.parent.iterdir())

    def open(self, options: str = "") -> ListeningAddress:
        """Listen until the end of the test."""
        (listening,) = parseListener(f"unix:{self.path}{options}").open()
        self.addCleanup(listening.close)
        return listening

    def failure(self, options: str = "") -> int | None:
        """Return the number of the error with which listening fails."""
        error = raised(OSError, self.open, options)
        assert error is not None
        return error.errno

    def bind(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Return another program's socket, bound to the path until the end of the test."""
        other = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(other.close)
        other.bind(str(self.path))
        return other

    def leave(self) -> None:
        """Leave a socket behind, as a process that is killed does."""
        self.bind().close()

    def connect(self) -> socket.socket:
        """Return a socket that has connected to the path, or waits to."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.setblocking(False)
        client.connect_ex(str(self.path))
        return client


class ReplaceTests(UNIXFileTestCase):
    """A socket that no process has open is replaced."""

    def test_leftoverIsReplaced(self) -> None:
        """The socket of a process that is gone is replaced, and nothing else is left next to the new one."""
        self.leave()
        self.open()
        self.connect().send(b"hello")
        assert self.files == ["socket"]

    def test_lockSaysNothing(self) -> None:
        """Whatever process a lock of an older version or of Twisted's names, even this one, the leftover is replaced.

        The lock goes with it: when its process is gone, Twisted's next port would remove the new socket.
        """
        for owner in (str(os.getpid()), "1", str(2**22 + 1), "nonsense"):
            self.leave()
            self.lock.symlink_to(owner)
            self.open().close()
            assert self.files == []

    def test_lockWithoutSocket(self) -> None:
        """A lock without a socket next to it does no harm, and may be another program's."""
        self.lock.symlink_to(str(os.getpid()))
        self.open().close()
        assert self.files == ["socket.lock"]

    def test_leftoverStaysWithoutLockfile(self) -> None:
        """With `lockfile=0` a leftover is not replaced."""
        self.leave()
        assert self.failure(":lockfile=0") == EADDRINUSE
        assert self.path.is_socket()

    def test_deadStartLeavesNoObstacle(self) -> None:
        """The lock of a start that was killed is no obstacle: the kernel has released it."""
        self.leave()
        Path(f"{self.path}.starting").touch()
        self.open().close()
        assert self.files == []


class InUseTests(UNIXFileTestCase):
    """What is not a leftover stays as it is."""

    def refuses(self) -> None:
        """Check that listening fails, with the lock of a process that is gone next to the file, and without."""
        before = self.path.lstat().st_ino
        assert self.failure() == EADDRINUSE
        assert self.files == ["socket"]
        self.lock.symlink_to(str(2**22 + 1))
        assert self.failure() == EADDRINUSE
        assert self.path.lstat().st_ino == before
        assert self.files == ["socket", "socket.lock"]

    def test_listeningSocket(self) -> None:
        """A socket at which a process listens stays; it isn't connected to."""
        other = self.bind()
        other.listen()
        other.setblocking(False)
        self.refuses()
        assert raised(BlockingIOError, other.accept)

    def test_fullQueue(self) -> None:
        """A socket whose queue is full, because its process is stopped for example, stays."""
        self.bind().listen(0)
        for _ in range(3):
            self.connect()
        self.refuses()

    def test_socketThatDoesNotListenYet(self) -> None:
        """A socket that is bound, and at which its process is about to listen, stays."""
        self.bind()
        self.refuses()

    def test_socketOfAnotherType(self) -> None:
        """A socket for datagrams stays, and one for packets."""
        for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            other = self.bind(kind)
            self.refuses()
            other.close()
            self.path.unlink()
            self.lock.unlink()

    def test_fileThatIsNoSocket(self) -> None:
        """A file that is no socket stays."""
        self.path.write_text("precious")
        self.refuses()
        assert self.path.read_text() == "precious"

    def test_kernelWithoutDatagramAnswers(self) -> None:
        """Where sockets refuse those of another type, as in gVisor, one at which a process listens stays, too."""
        self.patch(socket, "SOCK_DGRAM", socket.SOCK_STREAM)
        other = self.bind()
        other.listen()
        self.refuses()

    def test_foreignFileInPlaceOfTheLock(self) -> None:
        """A link in the place of the lock isn't followed to a file that it names; the error says which it is."""
        Path(f"{self.path}.starting").symlink_to(self.path.with_name("made"))
        error = raised(OSError, self.open)
        assert error is not None
        assert (error.errno, error.strerror) == (ELOOP, f"{self.path}.starting: {os.strerror(ELOOP)}")
        assert not self.path.with_name("made").exists()


class RemoveTests(UNIXFileTestCase):
    """The end of a socket removes its file."""

    def test_fileIsGone(self) -> None:
        """A socket whose file is gone is still closed."""
        listening = self.open()
        self.path.unlink()
        listening.close()
        assert listening.sockets[0].fileno() == -1

    def test_fileOfAnotherSocketStays(self) -> None:
        """The file of another socket, which listens there since this one's was removed by hand, stays."""
        first = self.open()
        self.path.unlink()
        self.open()
        first.close()
        self.connect().send(b"hello")


class RaceTests(UNIXFileTestCase):
    """Of several starts at the same moment exactly one listens."""

    def compete(self, barrier: Barrier) -> ListeningAddress | OSError:
        """Listen at the same moment as others do; return what came of it."""
        barrier.wait(60)
        try:
            (listening,) = parseListener(f"unix:{self.path}").open()
        except OSError as error:
            return error
        return listening

    def test_oneOfSeveralStarts(self) -> None:
        """Exactly one start takes the place of a leftover, or a free place, and its socket is never removed."""
        starts = 4
        with ThreadPoolExecutor(starts) as threads:
            for attempt in range(150):
                if attempt % 2:
                    self.leave()
                outcomes = [*threads.map(self.compete, [Barrier(starts)] * starts)]
                opened = [each for each in outcomes if isinstance(each, ListeningAddress)]
                errors = {each.errno for each in outcomes if isinstance(each, OSError)}
                assert (len(opened), errors) == (1, {EADDRINUSE}), outcomes
                self.connect().send(b"hello")
                opened[0].close()
                assert self.files == []

    def test_startDuringAStart(self) -> None:
        """A start gives way to another one that has found a leftover and is about to remove it."""
        self.leave()
        original = unixfile._isOpen
        rivals: list[int | None] = []

        def isOpen(path: str) -> bool:
            isUsed = original(path)
            self.patch(unixfile, "_isOpen", original)
            rivals.append(self.failure())
            return isUsed

        self.patch(unixfile, "_isOpen", isOpen)
        self.open()
        assert rivals == [EADDRINUSE]
        self.connect().send(b"hello")

    def test_lockThatWasRemovedIsNone(self) -> None:
        """A start that locks a file which another start has removed meanwhile gives way."""
        original = os.open

        def slow(path: Path, *arguments: int) -> int:
            descriptor = original(path, *arguments)
            path.unlink()
            return descriptor

        self.patch(os, "open", slow)
        assert self.failure() == EADDRINUSE
