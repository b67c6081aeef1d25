"""The pictures in the documents show what the commands print today."""

import re
from pathlib import Path

import pytest

from docs.terminal import PICTURES, WIDTH, Picture, Run, draw, linesIn
from tests.support.routednetwork import whyNoRoutedNetwork
from tests.support.waiting import eventually

CONVERSATION, DIAGNOSIS = PICTURES
WHY_NOT = whyNoRoutedNetwork()


def masked(lines: list[str]) -> list[str]:
    """Return lines without the figures of their times, which differ from run to run."""
    return [re.sub(r"[\d.]+ (m?s)\b", r"… \1", line) for line in lines]


def withoutFigures(lines: list[str]) -> list[str]:
    """Return the words of lines, without their numbers, and without the ends of lines, which depend on these."""
    return re.sub(r"[\d.]+", "…", " ".join(lines)).split()


def test_pictureShowsWhatTheCommandsPrint(tmp_path: Path) -> None:
    """The committed picture has the text of a session that is run now; only times differ.

    A busy machine may pause a probe, which has no time then.
    """
    drawn = eventually(lambda: "time unknown" not in (picture := CONVERSATION.draw(tmp_path)) and picture)
    assert masked(linesIn(CONVERSATION.path.read_text())) == masked(linesIn(drawn)), "run python -m docs.terminal"


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_pictureShowsWhatADiagnosisPrints(tmp_path: Path) -> None:
    """The committed picture of a diagnosis has the words of one that is made now; only figures differ."""
    drawn = linesIn(DIAGNOSIS.draw(tmp_path))
    assert withoutFigures(linesIn(DIAGNOSIS.path.read_text())) == withoutFigures(drawn), "run python -m docs.terminal"


@pytest.mark.parametrize("picture", PICTURES, ids=[picture.name for picture in PICTURES])
def test_pictureNeedsNothingElse(picture: Picture) -> None:
    """A committed picture refers to no other file, and shows no path of the machine that it was made on."""
    text = picture.path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"http|href|url\(|import|script|foreignObject", text)
    assert not [line for line in linesIn(text) if re.search(r"(^|\s)/\w", line)]


def test_longLineIsWrapped() -> None:
    """A line that is too long for the picture goes on in the next row, in its colours, and is still one line."""
    line = [Run("a" * WIDTH, "red"), Run("<&>")]
    picture = draw("Lines", [line, [], [Run("end")]])
    assert linesIn(picture) == ["a" * WIDTH + "<&>", "", "end"]
    assert re.findall(r' y="(\d+)" .*? fill="(\S+)" .*?>([^<]*)</text>', picture) == [
        ("58", "#ff7b72", "a" * WIDTH),
        ("78", "#d4dae3", "&lt;&amp;&gt;"),
        ("118", "#d4dae3", "end"),
    ]
