"""The lines that were typed before: kept in a bounded file, private, and never in the way."""

import os
import stat
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from prompt_toolkit.history import InMemoryHistory
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.conversation import history as module
from echoup.client.conversation.history import LIMIT, KeptHistory, historyFile, openHistory
from tests.support.doubles import raised


def refuse(*_: object) -> None:
    """Do nothing, for lack of a right."""
    raise PermissionError


class HistoryTestCase(SynchronousTestCase):
    """A test with a folder of its own."""

    def setUp(self) -> None:
        """Make the folder."""
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.path = self.folder / "state/echoup/history"

    def lines(self) -> list[str]:
        """Return the lines that a new prompt can recall, the newest first."""
        return list(KeptHistory(self.path).load_history_strings())


class PlaceTests(HistoryTestCase):
    """The file is where the XDG Base Directory Specification says."""

    def assertPlace(self, state: str | None, home: str, expected: Path | None) -> None:
        """Check where the file is with these variables."""
        environment = {"HOME": home} if state is None else {"HOME": home, "XDG_STATE_HOME": state}
        self.patch(os, "environ", environment)
        assert historyFile() == expected

    def test_stateFolderIsUsed(self) -> None:
        """The file is in the state folder, which has a default; a relative or empty path is ignored."""
        self.assertPlace("/state", "/home/me", Path("/state/echoup/history"))
        for state in (None, "", "state", "./state", "~/state"):
            self.assertPlace(state, "/home/me", Path("/home/me/.local/state/echoup/history"))

    def test_noHomeIsNoPlace(self) -> None:
        """Without a home there is no file, and the history lasts as long as the process."""
        for home in ("", "home"):
            self.assertPlace(None, home, None)
            assert isinstance(openHistory(isKept=True), InMemoryHistory)

    def test_historyCanBeRefused(self) -> None:
        """A history that isn't kept has no file."""
        self.patch(os, "environ", {"XDG_STATE_HOME": str(self.folder / "state")})
        kept, other = openHistory(isKept=True), openHistory(isKept=False)
        assert isinstance(kept, KeptHistory)
        assert isinstance(other, InMemoryHistory)
        other.append_string("secret")
        assert not self.path.exists()
        kept.append_string("hello")
        assert self.path.exists()


class KeptHistoryTests(HistoryTestCase):
    """`KeptHistory` keeps lines in a file."""

    def test_linesAreKept(self) -> None:
        """A new prompt can recall each line, whatever is in it; blank ones aren't kept."""
        history = KeptHistory(self.path)
        kept = ["hello", " é 你好", "+#\\", "\x1b[31m\t"]
        for line in (*kept, "", "  "):
            history.store_string(line)
        history.store_string("\udcff")
        assert self.lines() == ["?", *reversed(kept)]

    def test_fileIsPrivate(self) -> None:
        """Only the user can read the file, whatever its mode was, and enter the folders made for it."""
        self.addCleanup(os.umask, os.umask(0))
        KeptHistory(self.path).store_string("hello")
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (self.path, *self.path.parents[:2])]
        assert modes == [0o600, 0o700, 0o700]
        self.path.chmod(0o644)
        assert self.lines() == ["hello"]
        assert stat.S_IMODE(self.path.stat().st_mode) == 0o600

    def test_fileIsBounded(self) -> None:
        """When the file grows too large the older half of the lines is dropped, and whole lines stay."""
        history = KeptHistory(self.path)
        text = "x" * 1000
        for number in range(2 * LIMIT // 1000):
            history.store_string(f"{number} {text}")
            assert self.path.stat().st_size <= LIMIT
        lines = self.lines()
        assert len(lines) * 1000 > LIMIT // 2 - 2000
        assert lines == [f"{number} {text}" for number in range(2 * LIMIT // 1000 - 1, 0, -1)][: len(lines)]

    def test_hugeLineIsNotKept(self) -> None:
        """A line that would displace half of the others isn't kept."""
        history = KeptHistory(self.path)
        history.store_string("hello")
        history.store_string("é" * LIMIT)
        assert self.lines() == ["hello"]

    def test_hugeFileIsShortened(self) -> None:
        """A file that is too large, whatever wrote it, is shortened before it is read."""
        self.path.parent.mkdir(parents=True)
        for data, expected in ((b"x" * 3 * LIMIT, []), (b"\n# then\n+" + b"x" * LIMIT + b"\n# now\n+last\n", ["last"])):
            self.path.write_bytes(data)
            assert self.lines() == expected
            assert self.path.stat().st_size <= LIMIT

    def test_hugeFileIsNotRead(self) -> None:
        """A file that is too large and can't be shortened isn't read; one that only can't be written is."""
        self.path.parent.mkdir(parents=True)
        self.patch(module, "flock", refuse)
        for lines, expected in ((1, ["last"]), (LIMIT, [])):
            self.path.write_bytes(b"\n# now\n+last\n" * lines)
            assert self.lines() == expected

    def test_unusablePlaceIsSilent(self) -> None:
        """Where the file can't be made, or isn't a file, lines can be recalled until the end, and nothing is raised."""
        (self.folder / "file").write_text("")
        os.mkfifo(self.folder / "fifo")
        (self.folder / "null").symlink_to("/dev/null")
        (self.folder / "loop").symlink_to("loop")
        for name in ("file/history", "fifo", "null", "loop", ".", "x" * 300):
            history = KeptHistory(self.folder / name)
            assert list(history.load_history_strings()) == []
            history.append_string("hello")
            assert history.get_strings() == ["hello"], name
        assert sorted(path.name for path in self.folder.iterdir()) == ["fifo", "file", "loop", "null"]
        assert (self.folder / "file").read_text() == ""

    def test_promptsShareFile(self) -> None:
        """Several prompts may add lines and shorten the file at the same time: every line in it is whole."""
        numbers = count()
        errors: list[Exception | None] = []

        def store() -> None:
            history = KeptHistory(self.path)
            for _ in range(200):
                history.store_string(f"{next(numbers)} " + "y" * 1000)

        threads = [Thread(target=lambda: errors.append(raised(Exception, store))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == [None] * 3
        lines = self.lines()
        assert all(line.partition(" ")[2] == "y" * 1000 for line in lines)
        assert len(set(lines)) == len(lines) > LIMIT // 2 // 1200
        assert next(numbers) == 600
