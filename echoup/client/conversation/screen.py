"""What prompt_toolkit draws, and where."""

import sys
from bisect import bisect_right
from itertools import accumulate

from prompt_toolkit.application import get_app_or_none
from prompt_toolkit.formatted_text import StyleAndTextTuples, fragment_list_to_text
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.screen import Char
from prompt_toolkit.layout.utils import explode_text_fragments

from echoup.client.exitcodes import PathError


class Screen:
    """Standard output for prompt_toolkit, without its descriptor, which prompt_toolkit would make blocking."""

    def __init__(self) -> None:
        self.encoding = sys.stdout.encoding
        self.error: PathError | None = None
        """Why the output can't be written; the prompt has ended then."""

    def write(self, text: str) -> None:
        """Write `text`; end the prompt if that fails, because prompt_toolkit would print a traceback."""
        try:
            sys.stdout.write(text)
        except PathError as error:
            self.error = error
            app = get_app_or_none()
            if app and app.is_running and not app.is_done:
                app.exit(exception=EOFError)

    def flush(self) -> None:
        """Do nothing: text is written at once."""

    def isatty(self) -> bool:
        """Return whether it is a terminal, which can report the position of its cursor."""
        return sys.stdout.isatty()


class ControlCharacters(Processor):
    """Replaces control characters by what is drawn for them, `^I` for example.

    prompt_toolkit does that when it draws a line, but counts no columns for them when it looks how tall the line is:
    the end of a tall one, with the cursor, would be below the screen.
    """

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """See `Processor`."""
        fragments = transformation_input.fragments
        text = fragment_list_to_text(fragments)
        if Char.display_mappings.keys().isdisjoint(text):
            return Transformation(fragments)
        drawn: StyleAndTextTuples = [
            (f"{style} class:control-character", Char.display_mappings[c]) if c in Char.display_mappings else (style, c)
            for style, c, *_ in explode_text_fragments(fragments)
        ]
        starts = list(accumulate((len(text) for _, text, *_ in drawn), initial=0))
        return Transformation(
            drawn,
            source_to_display=lambda i: starts[i] if i < len(starts) else starts[-1] + i - len(starts) + 1,
            display_to_source=lambda i: bisect_right(starts, i) - 1,
        )
