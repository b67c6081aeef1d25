"""The interactive prompt."""

import asyncio
import sys
import termios

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_or_none, get_app_session
from prompt_toolkit.output.vt100 import Vt100_Output
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred

from echoup.client.exchange import Exchange, ExchangeClient
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.parse import Target
from echoup.escaping import printable
from echoup.verdict import Reply, Verdict

PROMPT = ">>: "


async def converse(reactor: ReactorBase, target: Target, timeout: float) -> None:
    """Prompt for lines, send each to `target` and print what comes back, until Ctrl-D.

    Return if every reply was right; raise PathError if one was not, when the server ends the connection, and at
    Ctrl-C. It needs the asyncio reactor, which is the one that prompt_toolkit runs on.
    """
    console = Console()
    client = console.client = await target.connect(reactor, timeout, console.take)
    client.closed.addCallback(console.leave)
    exchanges = wrong = 0
    while (line := await console.ask()) is not None:
        if line.strip():
            await console.exchange(line.encode(errors="surrogateescape") + b"\n")
            exchanges += 1
            wrong += console.reply.verdict is not Verdict.UPPERCASED
    console.showUnasked()
    if client.closed.called:
        client.check(console.reply)
    client.close()
    if wrong:
        raise PathError(ExitCode.WRONG, f"{client.server}: {wrong} of {exchanges} replies were wrong")
    if unasked := client.unasked.received:
        raise PathError(ExitCode.WRONG, f"{client.server}: {unasked} bytes came unasked")


class Console:
    """A prompt on the terminal, and the client whose replies it prints."""

    client: ExchangeClient

    def __init__(self) -> None:
        self.reply = Reply()
        """The latest reply, and what came unasked after it."""
        self._screen = Screen()
        output = get_app_session().output
        if isinstance(output, Vt100_Output):
            output.stdout = self._screen  # type: ignore[assignment]  # it needs no more of a TextIO
        self._session: PromptSession[str] = PromptSession(PROMPT, output=output)
        self._came = b""

    async def ask(self) -> str | None:
        """Return the next line; None at Ctrl-D or when the connection has ended. Raise PathError at Ctrl-C."""
        if self.client.closed.called:
            return None
        line = await Deferred.fromFuture(asyncio.ensure_future(self._ask()))
        return None if self.client.closed.called else line

    async def _ask(self) -> str | None:
        try:
            # prompt_toolkit's own handler of SIGINT loses one that comes while it is being removed.
            line = await self._session.prompt_async(handle_sigint=False)
        except EOFError:
            line = None
        except KeyboardInterrupt:
            # A task that ends in KeyboardInterrupt takes the event loop with it.
            raise PathError(ExitCode.INTERRUPTED, "interrupted") from None
        except termios.error as error:
            # Of a process in the background whose shell has ended, for example.
            raise PathError(ExitCode.USAGE, f"the terminal can't be used: {error.args[1]}") from None
        if self._screen.error:
            raise self._screen.error
        return line

    async def exchange(self, data: bytes) -> None:
        """Send `data`, and print what comes back until the reply is complete or the connection ends."""
        self.showUnasked()
        exchange = Exchange(self.client)
        exchange.send(data)
        self.reply = await exchange.done
        self._show()
        if self.reply.verdict is not Verdict.UPPERCASED:
            print(f"({self.reply})")

    def showUnasked(self) -> None:
        """Print what came while nothing was due, and add it to the latest reply."""
        if self._came:
            self.reply.receive(self._came)
            self._show()
            print("(came unasked)")

    def leave(self, _: None) -> None:
        """End the prompt, if there is one: the connection has ended."""
        if self._session.app.is_running and not self._session.app.is_done:
            self._session.app.exit(exception=EOFError)

    def take(self, data: bytes) -> None:
        """Keep what came until it is printed."""
        self._came += data

    def _show(self) -> None:
        """Print what came, without the end of its last line."""
        for line in self._came.removesuffix(b"\n").split(b"\n"):
            print(printable(line))
        self._came = b""


class Screen:
    """Standard output for prompt_toolkit, without the descriptor, which that would make blocking for each write."""

    def __init__(self) -> None:
        self.encoding = sys.stdout.encoding
        self.error: PathError | None = None
        """Why the output can't be written; the prompt has ended then."""

    def write(self, text: str) -> None:
        """Write `text`; where that fails end the prompt, because of errors prompt_toolkit prints tracebacks."""
        try:
            sys.stdout.write(text)
        except PathError as error:
            self.error = error
            app = get_app_or_none()
            if app and app.is_running and not app.is_done:
                app.exit(exception=EOFError)

    def flush(self) -> None:
        """Do nothing: what is written is written at once."""

    def isatty(self) -> bool:
        """Return whether it is a terminal, which can tell where its cursor is."""
        return sys.stdout.isatty()
