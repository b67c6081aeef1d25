"""The prompt: what the user sees of each reply, and how a conversation ends."""

import asyncio
import os
import signal
import ssl
import sys
from io import StringIO
from types import SimpleNamespace
from typing import Any, cast

from prompt_toolkit.application import AppSession, create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.conversation.console import UNSEEN, Console, converse, greeting
from echoup.client.datagram import DatagramClient
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target.parse import parseTarget
from echoup.clock import BEAT
from echoup.tls.context import makeContext
from echoup.tls.transport import TLSTransport
from tests.support.doubles import raised
from tests.support.serverprotocols import Deserter, Goodbye, Greeter, Mirror, Server, Silence, Stutterer
from tests.support.terminal import CTRL_C, CTRL_D, CTRL_Z, paste

ENTER, CTRL_R = "\r", "\x12"

PATIENCE = 120
"""How many seconds a conversation may take, and the client waits for a reply."""


class ConverseTests(SynchronousTestCase):
    """`converse` prompts, sends, and prints what comes back."""

    def setUp(self) -> None:
        """Make an event loop, with a reactor on it."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        self.loop = loop
        self.reactor = AsyncioSelectorReactor(loop)
        self.addCleanup(self.closeReactor)
        self.passed = 0.0
        seconds = self.reactor.seconds
        self.patch(self.reactor, "seconds", lambda: seconds() + self.passed)

    def closeReactor(self) -> None:
        """Close all that is open."""
        for reader in [*self.reactor.removeAll(), *self.reactor._internalReaders]:
            self.reactor.removeReader(reader)
            reader.connectionLost(Failure(CONNECTION_DONE))

    def converse(self, server: type[Server], *typed: str) -> str:
        """Return what a user who types one text at each prompt sees below the greeting of a conversation."""
        port = self.reactor.listenTCP(0, Factory.forProtocol(server), interface="127.0.0.1")
        target = parseTarget(f"tcp:127.0.0.1:{port.getHost().port}")
        self.target = str(target)
        self.patch(sys, "stdout", stdout := StringIO())

        async def conversation(keyboard: PipeInput, session: AppSession) -> None:
            coroutine = converse(self.reactor, target, PATIENCE, keepsHistory=False)
            conversing = Deferred.fromCoroutine(coroutine).asFuture(self.loop)
            for text in typed:
                while not session.app:
                    await asyncio.sleep(0)
                keyboard.send_text(text)
                while session.app:
                    await asyncio.sleep(0)
            await conversing

        with create_pipe_input() as keyboard, create_app_session(keyboard, DummyOutput()) as session:
            try:
                self.loop.run_until_complete(asyncio.wait_for(conversation(keyboard, session), PATIENCE))
            finally:
                greeting = f"connected to {self.target}; Ctrl-D ends\n"
                assert stdout.getvalue().startswith(greeting)
                self.seen = stdout.getvalue().removeprefix(greeting)
        return self.seen

    def assertFails(self, server: type[Server], typed: list[str], seen: str, code: ExitCode, why: str) -> None:
        """Check that a conversation shows what is `seen`, and then fails."""
        try:
            self.converse(server, *typed)
        except PathError as failure:
            error = failure
        assert self.seen == seen
        assert (error.code, str(error).replace(self.target, "TARGET")) == (code, why)

    def test_replyIsPrintedUnderLine(self) -> None:
        """The reply is printed under each line."""
        assert self.converse(Server, f"hello{ENTER}", f"again{ENTER}", CTRL_D) == "HELLO\nAGAIN\n"

    def test_otherScriptsComeBack(self) -> None:
        """Text outside ASCII comes back unchanged."""
        assert self.converse(Server, f"你好 é a{ENTER}", CTRL_D) == "你好 é A\n"

    def test_blankLinesAreNotSent(self) -> None:
        """Blank lines are skipped, and said to be; blanks in a line are sent."""
        seen = self.converse(Server, ENTER, f"  {ENTER}", f" a  b {ENTER}", CTRL_D)
        assert seen == 2 * "(blank line skipped)\n" + " A  B \n"

    def test_endAtFirstPrompt(self) -> None:
        """Ctrl-D at the first prompt is no failure."""
        assert self.converse(Server, CTRL_D) == ""

    def test_interruptEndsConversation(self) -> None:
        """Ctrl-C at the prompt ends the conversation."""
        self.assertFails(Server, [f"hello{ENTER}", CTRL_C], "HELLO\n", ExitCode.INTERRUPTED, "interrupted")

    def test_wrongRepliesAreCounted(self) -> None:
        """An unchanged reply is shown with its verdict, and counted at the end."""
        why = "unchanged: the bytes came back as they were sent, so something in between answered"
        seen = f"hello\n({why})\nHELLO\nagain\n({why})\n"
        typed = [f"hello{ENTER}", f"HELLO{ENTER}", f"again{ENTER}", CTRL_D]
        self.assertFails(Mirror, typed, seen, ExitCode.WRONG, "TARGET: 2 of 3 replies were wrong")

    def test_longerReplyIsWrong(self) -> None:
        """A reply with more bytes than were sent is wrong."""
        seen = "A\n!\n(corrupted: more came back than was sent: 3 bytes for 2)\n"
        why = "TARGET: 1 of 1 replies were wrong"
        self.assertFails(Stutterer, [f"a{ENTER}", CTRL_D], seen, ExitCode.WRONG, why)

    def test_unaskedIsShownAndWrong(self) -> None:
        """What comes before anything is sent is shown as unasked, and is wrong, also if nothing is ever sent."""
        for typed, reply in ((f"hello{ENTER}", "HELLO\n"), (ENTER, "")):
            error = raised(PathError, self.converse, Greeter, *[ENTER] * 5, typed, CTRL_D)
            assert error
            assert (error.code, str(error)) == (ExitCode.WRONG, f"{self.target}: 7 unsolicited bytes arrived")
            assert self.seen.replace("(blank line skipped)\n", "") == f"220 hi\n(unsolicited)\n{reply}"

    def test_unaskedBeforeCloseIsWrong(self) -> None:
        """Bytes that come unasked before the server closes count more than that it closes."""

        class Usher(Greeter):
            """A server that greets and closes."""

            def connectionMade(self) -> None:
                """Do so."""
                super().connectionMade()
                self.transport.loseConnection()

        why = 'TARGET: corrupted: more came back than was sent: 7 bytes for 0; it begins with "220 hi\\n"'
        self.assertFails(Usher, [], "220 hi\n(unsolicited)\n", ExitCode.WRONG, why)

    def test_unaskedAfterReplyIsWrong(self) -> None:
        """Bytes that come unasked after a right reply, before the server closes, make that reply too long."""

        class Lingerer(Server):
            """A server that says something and closes when the user has seen the reply."""

            def dataReceived(self, data: bytes) -> None:
                """Answer, and wait."""
                super().dataReceived(data)
                self.sayGoodbye()

            def sayGoodbye(self) -> None:
                """Say it, once the reply was seen."""
                if stdout().endswith("HELLO\n"):
                    self.transport.write(b"hi")
                    self.transport.loseConnection()
                else:
                    case.reactor.callLater(0.01, self.sayGoodbye)

        def stdout() -> str:
            return cast("StringIO", sys.stdout).getvalue()

        case = self

        why = "TARGET: corrupted: more came back than was sent: 8 bytes for 6"
        self.assertFails(Lingerer, [f"hello{ENTER}"], "HELLO\nhi\n(unsolicited)\n", ExitCode.WRONG, why)

    def test_floodIsNotRead(self) -> None:
        """When much came unasked nothing more is read until it is shown; a reply of any size is read."""
        done: list[str] = []
        client = SimpleNamespace(
            underway=True,
            pauseProducing=lambda: done.append("paused"),
            resumeProducing=lambda: done.append("resumed"),
        )
        console = Console(cast("Any", None))
        console.client = cast("Any", client)
        console.take(b"A" * 2 * UNSEEN)
        assert done == []
        client.underway = False
        console.take(b"B")
        assert done == ["paused"]
        self.patch(sys, "stdout", StringIO())
        console.showUnasked()
        assert done == ["paused", "resumed"]
        console.take(b"C")
        assert done == ["paused", "resumed"]

    def test_closedDuringReply(self) -> None:
        """When the server closes during a reply, the part that came is shown, and the error tells how much that is."""
        why = "TARGET: the server closed the connection, 3 of 6 bytes came back"
        self.assertFails(Deserter, [f"hello{ENTER}"], "HEL\n", ExitCode.SHORT, why)

    def test_closedAtPrompt(self) -> None:
        """When the server closes at the prompt, the prompt ends without the user."""
        why = "TARGET: the server closed the connection"
        self.assertFails(Goodbye, [f"hello{ENTER}"], "HELLO\n", ExitCode.SHORT, why)

    def test_silenceTimesOut(self) -> None:
        """When no reply comes in time, the conversation ends, and only the error is shown."""
        case = self

        class Late(Silence):
            """A server that is given up as soon as it has taken the line: the reactor's clock runs fast."""

            def dataReceived(self, data: bytes) -> None:
                """Let the time pass."""
                super().dataReceived(data)
                self.hurry()

            def hurry(self) -> None:
                """Let a little time pass in each turn, until the connection is gone: a jump would be a pause."""
                case.passed += BEAT
                if self.connected:
                    case.reactor.callLater(0, self.hurry)

        why = "TARGET: timed out: nothing came back in 120 s"
        self.assertFails(Late, [f"hello{ENTER}"], "", ExitCode.TIMED_OUT, why)

    def test_pastedLinesAreExchanged(self) -> None:
        """Of a paste of several lines all but the last are exchanged at once; blank ones are skipped."""
        seen = self.converse(Server, "a" + paste("b\rtwo\n\nthree\n"), ENTER, CTRL_D)
        assert seen == "AB\n>>: two\nTWO\n>>: \n(blank line skipped)\nTHREE\n"

    def test_pastedLineWaits(self) -> None:
        """A pasted line waits for Enter, with or without a newline at its end."""
        for end in ("", "\r", "\n", "\r\n"):
            assert self.converse(Server, paste(f"hello{end}") + "!" + ENTER, CTRL_D) == "HELLO!\n"

    def test_pasteCanBeSearchedFor(self) -> None:
        """What is pasted after Ctrl-R is searched for, and enters nothing."""
        assert self.converse(Server, f"a b{ENTER}", CTRL_R + paste("a\nb\n") + 2 * ENTER, CTRL_D) == 2 * "A B\n"

    def test_pastedControlsAreShownEscaped(self) -> None:
        """Of a pasted line that is entered at once nothing commands the terminal."""
        seen = self.converse(Server, paste("a\n\x1b[31m\nb"), ENTER, CTRL_D)
        assert seen == "A\n>>: \\x1b[31m\n\\x1b[31M\nB\n"

    def test_suspendIsSignalToJob(self) -> None:
        """Ctrl-Z at the prompt is what it is elsewhere: a SIGTSTP for each process of the job; the line stays."""
        killed: list[tuple[int, int]] = []
        self.patch(os, "kill", lambda *arguments: killed.append(arguments))
        assert self.converse(Server, f"hel{CTRL_Z}lo{ENTER}", CTRL_D) == "HELLO\n"
        assert killed == [(0, signal.SIGTSTP)]

    def test_greetingTellsVersion(self) -> None:
        """The greeting tells which version of TLS is spoken; over UDP there is no connection to tell of."""
        self.patch(EchoUpClient, "server", "localhost:1 (\x1b)")
        client = EchoUpClient(self.reactor)
        assert greeting(client) == "connected to localhost:1 (\\x1b); Ctrl-D ends"
        tls = TLSTransport(makeContext(ssl.PROTOCOL_TLS_CLIENT), Server)
        self.patch(tls, "tls", SimpleNamespace(version=lambda: "TLSv1.3"))
        client.transport = cast("Any", tls)
        assert greeting(client) == "connected to localhost:1 (\\x1b), TLSv1.3; Ctrl-D ends"
        self.patch(DatagramClient, "server", "udp:localhost:1")
        datagrams = DatagramClient(self.reactor, PATIENCE, None)
        assert greeting(datagrams) == "sending to udp:localhost:1; Ctrl-D ends"
