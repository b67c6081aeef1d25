"""The picture in README.md shows what the commands print today."""

import re
from pathlib import Path

from docs.terminal import PICTURE, WIDTH, Run, draw, linesIn, record
from tests.support.waiting import eventually


def masked(lines: list[str]) -> list[str]:
    """Return lines without the figures of their times, which differ from run to run."""
    return [re.sub(r"[\d.]+ (m?s)\b", r"… \1", line) for line in lines]


def test_pictureShowsWhatTheCommandsPrint(tmp_path: Path) -> None:
    """The committed picture has the text of a session that is run now; only times differ.

    A busy machine may pause a probe, which has no time then.
    """
    drawn = eventually(lambda: "time unknown" not in (picture := draw(record(tmp_path))) and picture)
    assert masked(linesIn(PICTURE.read_text())) == masked(linesIn(drawn)), "run python -m docs.terminal"


def test_pictureNeedsNothingElse() -> None:
    """The committed picture refers to no other file, and shows no path of the machine that it was made on."""
    picture = PICTURE.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"http|href|url\(|import|script|foreignObject", picture)
    assert not [line for line in linesIn(picture) if re.search(r"(^|\s)/\w", line)]


def test_longLineIsWrapped() -> None:
    """A line that is too long for the picture goes on in the next row, in its colours, and is still one line."""
    line = [Run("a" * WIDTH, "red"), Run("<&>")]
    picture = draw([line, [], [Run("end")]])
    assert linesIn(picture) == ["a" * WIDTH + "<&>", "", "end"]
    assert re.findall(r' y="(\d+)" .*? fill="(\S+)" .*?>([^<]*)</text>', picture) == [
        ("58", "#ff7b72", "a" * WIDTH),
        ("78", "#d4dae3", "&lt;&amp;&gt;"),
        ("118", "#d4dae3", "end"),
    ]
