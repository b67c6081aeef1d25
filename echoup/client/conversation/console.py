"""The interactive prompt."""

from twisted.internet.base import ReactorBase

from echoup.client.conversation.history import openHistory
from echoup.client.conversation.prompt import Prompt
from echoup.client.datagram import DatagramClient
from echoup.client.exchange import Exchange
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient, Ending
from echoup.client.target.parse import Target
from echoup.escaping import printable, shown
from echoup.plurals import counted
from echoup.tls.transport import TLSTransport
from echoup.verdict import Reply, Verdict

GONE = {Ending.CLOSED, Ending.RESET}

UNSEEN = 2**20
"""Unsolicited bytes at which reading pauses until they are shown, with the next line."""


async def converse(reactor: ReactorBase, target: Target, timeout: float, keepsHistory: bool) -> None:
    """Prompt for lines, send each to `target` and print the reply, until Ctrl-D.

    Return if every reply was right; raise PathError if one was not, when the server ends the connection, and at
    Ctrl-C. It needs the asyncio reactor, on which prompt_toolkit runs. With `keepsHistory`, the lines can be recalled
    in the next conversation.
    """
    prompt = Prompt(openHistory(keepsHistory))
    console = Console(prompt)
    prompt.open()
    try:
        client = console.client = await target.connect(reactor, timeout, console.take)
        client.closed.addCallback(lambda _: prompt.leave())
        print(greeting(client))
        wrong, exchanges = await console.converse()
    finally:
        prompt.close()
    if client.closed.called:
        if console.reply.verdict is Verdict.UPPERCASED and isinstance(client, EchoUpClient) and client.ending in GONE:
            raise PathError(ExitCode.SHORT, f"{client.server}: the server {client.ending.value} the connection")
        client.check(console.reply)
    client.close()
    if wrong:
        raise PathError(ExitCode.WRONG, f"{client.server}: {wrong} of {exchanges} replies were wrong")
    if unasked := client.unasked.received:
        raise PathError(ExitCode.WRONG, f"{client.server}: {counted(unasked, 'unsolicited byte')} arrived")


def greeting(client: EchoUpClient | DatagramClient) -> str:
    """Return what the user is told before the first prompt."""
    if isinstance(client, DatagramClient):
        return shown(f"sending to {client.server}; Ctrl-D ends")
    version = f", {client.transport.tls.version()}" if isinstance(client.transport, TLSTransport) else ""
    return shown(f"connected to {client.server}{version}; Ctrl-D ends")


class Console:
    """A prompt on the terminal, and the client whose replies it prints."""

    client: EchoUpClient | DatagramClient

    def __init__(self, prompt: Prompt) -> None:
        self.reply = Reply()
        """The latest reply, and what came unsolicited after it."""
        self._prompt = prompt
        self._came = b""

    async def converse(self) -> tuple[int, int]:
        """Exchange lines until Ctrl-D or the end of the connection; return how many replies were wrong, of how many."""
        exchanges = wrong = 0
        while not self.client.closed.called and (line := await self._prompt.ask()) is not None:
            if self.client.closed.called:
                break
            self.showUnasked()
            if not line.strip():
                print("(blank line skipped)")
                continue
            await self.exchange(line.encode(errors="surrogateescape") + b"\n")
            exchanges += 1
            wrong += self.reply.verdict is not Verdict.UPPERCASED
        self.showUnasked()
        return wrong, exchanges

    async def exchange(self, data: bytes) -> None:
        """Send `data`, and print what comes back until the reply is complete or the connection ends.

        The verdict on a wrong reply follows it; after the end of the connection that is the error of the conversation.
        """
        exchange = Exchange(self.client)
        exchange.send(data)
        self.reply = await exchange.done
        if self._came:
            self._show()
        if self.reply.verdict is not Verdict.UPPERCASED and not self.client.closed.called:
            print(f"({self.reply})")

    def showUnasked(self) -> None:
        """Print what came while no reply was due, and add it to the latest reply."""
        if self._came:
            self.reply.receive(self._came)
            self._show()
            print("(unsolicited)")
            self.client.resumeProducing()

    def take(self, data: bytes) -> None:
        """Keep what came until it is printed; read no more for now if much of it is unsolicited."""
        self._came += data
        if len(self._came) >= UNSEEN and not self.client.underway:
            self.client.pauseProducing()

    def _show(self) -> None:
        """Print what came, without the newline at its end."""
        for line in self._came.removesuffix(b"\n").split(b"\n"):
            print(printable(line))
        self._came = b""
