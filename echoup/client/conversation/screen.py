"""What prompt_toolkit draws, and where."""

import sys
from collections.abc import Callable

from prompt_toolkit.formatted_text import fragment_list_to_text, fragment_list_width, to_formatted_text
from prompt_toolkit.layout.controls import GetLinePrefixCallable, UIContent, UIControl
from prompt_toolkit.layout.screen import Char
from prompt_toolkit.utils import get_cwidth

from echoup.client.exitcodes import PathError


class Screen:
    """Standard output for prompt_toolkit, without its descriptor, which prompt_toolkit would make blocking."""

    def __init__(self, leave: Callable[[], None]) -> None:
        """`leave` ends the prompt, if there is one."""
        self.encoding = sys.stdout.encoding
        self.error: PathError | None = None
        """Why the output can't be written; the prompt has ended then."""
        self._leave = leave

    def write(self, text: str) -> None:
        """Write `text`; end the prompt if that fails, because prompt_toolkit would print a traceback."""
        try:
            sys.stdout.write(text)
        except PathError as error:
            self.error = error
            self._leave()

    def flush(self) -> None:
        """Do nothing: text is written at once."""

    def isatty(self) -> bool:
        """Return whether it is a terminal, which can report the position of its cursor."""
        return sys.stdout.isatty()


class Content(UIContent):
    """The content of the prompt, with the rows of each line counted as they are drawn.

    prompt_toolkit divides the width of a line by that of the screen. It takes control characters, which it draws as
    `^I` for example, as no columns, and leaves out those that stay empty because a wide character doesn't fit. The end
    of a tall line, with the cursor, would be below the screen.
    """

    def __init__(self, content: UIContent) -> None:
        super().__init__(
            content.get_line, content.line_count, content.cursor_position, content.menu_position, content.show_cursor
        )

    def get_height_for_line(
        self, lineno: int, width: int, get_line_prefix: GetLinePrefixCallable | None, slice_stop: int | None = None
    ) -> int:
        """See `UIContent`."""
        text = fragment_list_to_text(self.get_line(lineno))[:slice_stop]
        prefix = get_line_prefix(lineno, 0) if get_line_prefix else ""
        column = fragment_list_width(to_formatted_text(prefix))
        rows = 1
        for c in text:
            size = get_cwidth(Char.display_mappings.get(c, c))
            if column + size > width:
                rows += 1
                column = 0
            column += size
        return rows


def countRows(control: UIControl) -> None:
    """Have `control` count the rows of its lines as they are drawn."""
    create = control.create_content
    control.create_content = lambda width, height: Content(create(width, height))  # type: ignore[method-assign]
