"""The pictures of terminals: `python -m docs.terminal` runs the commands on a terminal and draws what it shows.

The picture of a diagnosis needs root, because its path has network namespaces.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape, unescape
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.commands import COMMANDS
from tests.support.daemon import Daemon
from tests.support.diagnoses import servedNetwork
from tests.support.routednetwork import SERVER
from tests.support.servers import serving
from tests.support.terminal import CTRL_D, Terminal

FOLDER = Path(__file__).parent
WIDTH = 100
"""Where the picture wraps lines, in characters."""

CHARACTER, LINE, MARGIN, BAR = 8.4, 20, 16, 32
"""The width of a character, the height of a line, the margin, and the height of the title bar, in pixels."""

COLOURS = {"default": "#d4dae3", "red": "#ff7b72", "green": "#7ee787", "brown": "#e3b341", "cyan": "#76e3ea"}
BUTTONS = ("#ff5f57", "#febc2e", "#28c840")
FONTS = """font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\""""


@dataclass(frozen=True)
class Run:
    """Adjacent characters of one colour; a line of the terminal is a sequence of them."""

    text: str
    colour: str = "default"


class Shell(Terminal):
    """A shell on a terminal so wide that no line wraps, with the commands of this environment on its PATH."""

    columns, rows = 200, 60

    def __init__(self, home: Path) -> None:
        environment = (
            f"PATH={COMMANDS}:/usr/bin:/bin",
            f"HOME={home}",
            "TERM=xterm-256color",
            "LANG=C.UTF-8",
            "PS1=$ ",
        )
        super().__init__("env", "-i", *environment, "sh")
        self._process.setwinsize(self.rows, self.columns)
        self._screen.resize(self.rows, self.columns)

    @property
    def lines(self) -> list[list[Run]]:
        """The lines of the screen, up to the last with text."""
        return [self._runs(row, len(text)) for row, text in enumerate(self.text.splitlines())]

    def _runs(self, row: int, length: int) -> list[Run]:
        cells = [self._screen.buffer[row][column] for column in range(length)]
        return [
            Run("".join(cell.data for cell in alike), colour) for colour, alike in groupby(cells, lambda cell: cell.fg)
        ]


def named(run: Run, names: dict[str, str]) -> Run:
    """Return `run` with other names for the addresses: free ports differ each time."""
    for address, name in names.items():
        run = replace(run, text=run.text.replace(address, name))
    return run


def wrapped(line: Sequence[Run]) -> Iterator[list[Run]]:
    """Yield the rows that a line takes in the picture."""
    cells = [Run(character, run.colour) for run in line for character in run.text]
    for start in range(0, max(len(cells), 1), WIDTH):
        row = groupby(cells[start : start + WIDTH], lambda cell: cell.colour)
        yield [Run("".join(cell.text for cell in alike), colour) for colour, alike in row]


def draw(title: str, lines: Sequence[Sequence[Run]]) -> str:
    """Return the picture of a terminal with `lines`, as an SVG that needs nothing else."""
    groups, row = [], 0
    for line in lines:
        texts = []
        for runs in wrapped(line):
            column = 0
            for run in runs:
                texts.append(drawRun(run, row, column))
                column += len(run.text)
            row += 1
        groups.append(f"<g>{''.join(texts)}</g>")
    width, height = WIDTH * CHARACTER + 2 * MARGIN, row * LINE + BAR + 2 * MARGIN
    window = f'width="{width - 1:g}" height="{height - 1:g}" rx="9" fill="#12161e" stroke="#4a5260"'
    buttons = (f'<circle cx="{20 + 20 * i}" cy="18" r="6" fill="{colour}"/>' for i, colour in enumerate(BUTTONS))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-size="14" {FONTS}>',
            f"<title>{title}</title>",
            f'<rect x=".5" y=".5" {window}/>',
            *buttons,
            *groups,
            "</svg>\n",
        ]
    )


def drawRun(run: Run, row: int, column: int) -> str:
    """Return a run as an element that is as wide as its characters, whatever font the reader has."""
    place = f'x="{MARGIN + column * CHARACTER:g}" y="{BAR + MARGIN + row * LINE + 10:g}"'
    size = f'textLength="{len(run.text) * CHARACTER:g}" lengthAdjust="spacingAndGlyphs"'
    colour = COLOURS.get(run.colour, f"#{run.colour}")
    return f'<text {place} {size} fill="{colour}" xml:space="preserve">{escape(run.text)}</text>'


def linesIn(picture: str) -> list[str]:
    """Return the text of each line in a picture."""
    groups = re.findall(r"<g>(.*?)</g>", picture)
    return [unescape("".join(re.findall(r">([^<]*)</text>", group))) for group in groups]


def recordConversation(folder: Path) -> list[list[Run]]:
    """Return the lines of a terminal on which `echoup` talks to the daemon and probes a server that only echoes."""
    with Daemon.start(folder) as daemon, serving("unchanged") as plain, Shell(folder) as shell:
        shell.shows("$")
        shell.type(f"echoup connect {daemon.address.target}\r")
        shell.shows(">>:")
        shell.type("hello, world\r")
        shell.shows("HELLO, WORLD\n>>:")
        shell.type(CTRL_D)
        shell.shows(">>:\n$")
        shell.type(f"echoup ping -c 3 {plain.target}; echo exit code $?\r")
        shell.shows("\nexit code 1\n$")
        ports = {daemon.address.target: "127.0.0.1:8081", plain.target: "127.0.0.1:9000"}
        return [[named(run, ports) for run in line] for line in shell.lines[:-1]]


def recordDiagnosis(folder: Path) -> list[list[Run]]:
    """Return the lines of a terminal on which `echoup` diagnoses a path that loses large packets on the way there."""
    with servedNetwork(folder) as (network, _), Shell(folder) as shell:
        network.router.filter("iifname c1 meta length > 1300 drop")
        shell.shows("$")
        shell.type(f"echoup diagnose {SERVER}; echo exit code $?\r")
        shell.shows("\n$")
        return shell.lines[:-1]


@dataclass(frozen=True)
class Picture:
    """A picture of a terminal."""

    name: str
    """Its file, in the folder of this one."""
    title: str
    record: Callable[[Path], list[list[Run]]]
    """Returns the lines of the terminal; a folder for the daemon's log is its argument."""

    @property
    def path(self) -> Path:
        """Its file."""
        return FOLDER / self.name

    def draw(self, folder: Path) -> str:
        """Return it as SVG, as the commands print it now."""
        return draw(self.title, self.record(folder))


PICTURES = (
    Picture("terminal.svg", "echoup connect and echoup ping in a terminal", recordConversation),
    Picture("diagnosis.svg", "echoup diagnose in a terminal", recordDiagnosis),
)


def main() -> None:
    """Draw the pictures again."""
    for picture in PICTURES:
        with TemporaryDirectory() as folder:
            picture.path.write_text(picture.draw(Path(folder)))


if __name__ == "__main__":
    main()
