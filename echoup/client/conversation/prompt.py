"""The prompt: lines that the user types or pastes."""

import asyncio
import re
import termios
from collections import deque
from io import StringIO

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_session
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.vt100 import Vt100_Output
from twisted.internet.defer import Deferred

from echoup.client.conversation.keyboard import Keyboard
from echoup.client.conversation.screen import Screen, countRows
from echoup.client.exitcodes import ExitCode, PathError
from echoup.escaping import printable

PROMPT = ">>: "


class Prompt:
    """Asks for one line after the other.

    Of several pasted lines, all but the last are entered one by one. The last one waits for Enter, as a single pasted
    line does, with or without a newline at its end. So no line contains a newline: prompt_toolkit shows part of a line
    that is taller than the screen only while the cursor is in it, and with the cursor below it the screen is blank.
    """

    def __init__(self, history: History) -> None:
        self._screen = Screen(self.leave)
        self._running = get_app_session()  # its `app` is the prompt's while there is a prompt
        output = self._running.output
        if isinstance(output, Vt100_Output):
            output.stdout = StringIO()  # the constructor shows the cursor, by a sequence that a dumb terminal prints
        self._session: PromptSession[str] = PromptSession(PROMPT, history=history, key_bindings=self._bindings())
        countRows(self._session.layout.current_control)
        if isinstance(output, Vt100_Output):
            output.stdout = self._screen  # type: ignore[assignment]  # it needs no more of a TextIO
        self._keyboard = Keyboard(self._running)
        self._pasted: deque[str] = deque()

    def open(self) -> None:
        """Set the terminal, which keeps what is typed from now on for the prompts."""
        self._keyboard.open()

    def close(self) -> None:
        """Restore the terminal."""
        self._keyboard.close()

    async def ask(self) -> str | None:
        """Return the next line; None at Ctrl-D or after `leave`. Raise PathError at Ctrl-C."""
        line = self._pasted.popleft() if self._pasted else ""
        if not self._pasted:
            return await Deferred.fromFuture(asyncio.ensure_future(self._ask(line)))
        print(PROMPT + printable(line.encode(errors="surrogateescape")))
        if line.strip():
            self._session.history.append_string(line)
        return line

    async def _ask(self, default: str) -> str | None:
        try:
            # prompt_toolkit's own handler of SIGINT loses one that comes while it is being removed.
            line = await self._session.prompt_async(default=default, handle_sigint=False)
        except EOFError:
            line = None
        except KeyboardInterrupt:
            # A task that ends in KeyboardInterrupt takes the event loop with it.
            raise PathError(ExitCode.INTERRUPTED, "interrupted") from None
        except termios.error as error:
            # In the background, after its shell has ended, for example.
            raise PathError(ExitCode.USAGE, f"the terminal can't be used: {error.args[1]}") from None
        if self._screen.error:
            raise self._screen.error
        return line

    def leave(self) -> None:
        """End the prompt, if there is one."""
        app = self._running.app
        if app and app.is_running and not app.is_done:
            app.exit(exception=EOFError)

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("c-z")
        def suspend(event: KeyPressEvent) -> None:
            self._keyboard.suspend()

        @bindings.add(Keys.BracketedPaste)
        def paste(event: KeyPressEvent) -> None:
            first, *others = re.split("\r\n?|\n", re.sub("(\r\n?|\n)\\Z", "", event.data))
            if event.current_buffer is not self._session.default_buffer:  # but that of Ctrl-R
                event.current_buffer.insert_text(" ".join((first, *others)))
                return
            event.current_buffer.insert_text(first)
            if others:
                self._pasted.extendleft(reversed(others))
                event.current_buffer.validate_and_handle()

        return bindings
