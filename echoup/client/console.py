"""The interactive prompt."""

import asyncio

from prompt_toolkit import PromptSession
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred

from echoup.client.connect.trace import Trace, describeServer
from echoup.client.datagram import DatagramClient
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target.parse import Target
from echoup.escaping import printable
from echoup.verdict import Reply, Verdict

PROMPT = ">>: "


async def converse(reactor: ReactorBase, target: Target, timeout: float) -> None:
    """Prompt for lines, send each to `target` and print what comes back, until Ctrl-D.

    Return if every reply was right; raise PathError if one was not, when the server goes away, and at Ctrl-C. It
    needs the asyncio reactor, which is the one that prompt_toolkit runs on.
    """
    console, trace = Console(), Trace(reactor.seconds)
    console.client = await target.connect(reactor, timeout, console.take, trace)
    server = describeServer(target, trace.remote)
    console.client.closed.addCallback(console.leave)
    exchanges = wrong = 0
    while (line := await console.ask()) is not None:
        if line.strip():
            exchanges += 1
            wrong += not await console.exchange(line.encode(errors="surrogateescape") + b"\n")
    console.showUnasked()
    if console.client.closed.called:
        console.client.check(server)
    console.client.close()
    if wrong:
        raise PathError(ExitCode.WRONG, f"{server}: {wrong} of {exchanges} replies were wrong")
    if console.unasked:
        raise PathError(ExitCode.WRONG, f"{server}: {console.unasked} bytes came unasked")


class Console:
    """A prompt on the terminal, and the client whose replies it prints."""

    client: EchoUpClient | DatagramClient

    unasked = 0
    """How many bytes came although nothing was due."""

    def __init__(self) -> None:
        self._session: PromptSession[str] = PromptSession(PROMPT)
        self._came = b""
        self._answered: Deferred[None] | None = None

    async def ask(self) -> str | None:
        """Return the next line; None at Ctrl-D or when the server has gone away. Raise PathError at Ctrl-C."""
        if self.client.closed.called:
            return None
        line = await Deferred.fromFuture(asyncio.ensure_future(self._ask()))
        return None if self.client.closed.called else line

    async def _ask(self) -> str | None:
        try:
            # Without a handler of its own, which would swallow a SIGINT that comes while it is being taken away.
            return await self._session.prompt_async(handle_sigint=False)
        except EOFError:
            return None
        except KeyboardInterrupt:
            # A task that ends in KeyboardInterrupt takes the event loop with it.
            raise PathError(ExitCode.INTERRUPTED, "interrupted") from None

    async def exchange(self, data: bytes) -> bool:
        """Send `data`, print what comes back for it, or what did until the connection ended; was it right?"""
        self.showUnasked()
        self.client.reply = reply = Reply()
        self._answered = Deferred()
        self.client.send(data)
        await self._answered
        self._answered = None
        self._show()
        if reply.verdict is not Verdict.UPPERCASED:
            print(f"({reply})")
        return reply.verdict is Verdict.UPPERCASED

    def showUnasked(self) -> None:
        """Print what came although nothing was due."""
        if self._came:
            self.unasked += len(self._came)
            self._show()
            print("(came unasked)")

    def leave(self, _: None) -> None:
        """Stop waiting for the user or for the reply: the server has gone away."""
        if self._answered:
            self._answered.callback(None)
        elif self._session.app.is_running and not self._session.app.is_done:
            self._session.app.exit(exception=EOFError)

    def take(self, data: bytes) -> None:
        """Keep what comes back, until all of a reply is there."""
        self._came += data
        if self._answered and not self.client.reply.outstanding:
            self._answered.callback(None)

    def _show(self) -> None:
        """Print what came, without the end of its last line."""
        for line in self._came.removesuffix(b"\n").split(b"\n"):
            print(printable(line))
        self._came = b""
