"""Whether a connection of a diagnosis is answered at all."""

import contextlib
from collections.abc import Callable, Iterator
from socket import SHUT_RDWR, create_server, socket
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.firstreply import Silence, findSilence
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from tests.support.addresses import unused
from tests.support.checks import find


def answer(connection: socket) -> None:
    """Answer as echoup does."""
    connection.sendall(connection.recv(100).upper())


def swallow(connection: socket) -> None:
    """Read until the client ends, and answer nothing."""
    while connection.recv(100):
        pass


def corrupt(connection: socket) -> None:
    """Answer with something else."""
    connection.recv(100)
    connection.sendall(b"no")


@contextlib.contextmanager
def serving(*serve: Callable[[socket], object]) -> Iterator[str]:
    """Do with each connection the next of `serve`, and close it; yield the address."""
    with create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with contextlib.suppress(OSError):
                for each in serve:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        each(connection)

        thread = Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(SHUT_RDWR)
            thread.join()


def silenceOf(target: str) -> Silence | None:
    """Return what is found for `target`."""
    found: list[Silence | None] = []

    async def check(path: PathUnderTest, tell: Tell) -> Finding:
        found.append(await findSilence(path))
        return Finding("")

    find(check, target, timeout=0.3)
    return found[0]


class SilenceTests(SynchronousTestCase):
    """`findSilence` against servers that answer, or don't."""

    def test_answerIsNoSilence(self) -> None:
        """A connection with any reply is answered, also if it is wrong and then ends."""
        for serve in (answer, corrupt):
            with serving(serve) as target:
                assert silenceOf(target) is None

    def test_endWithoutReply(self) -> None:
        """Connections that end without a byte are a silence if that happens twice."""
        with serving(bool, bool) as target:
            assert silenceOf(target) is Silence.CLOSED
        with serving(bool, answer) as target:
            assert silenceOf(target) is None

    def test_openConnectionWithoutReply(self) -> None:
        """A connection that stays open may be answered later: by a server that waits for our end."""
        with serving(swallow) as target:
            assert silenceOf(target) is Silence.LATE

    def test_handshakeFailsOrHangs(self) -> None:
        """With TLS, a handshake that fails is told from one that hangs."""
        with serving(bool, bool) as target:
            assert silenceOf(f"tls:{target}") is Silence.REFUSED
        with serving(swallow) as target:
            assert silenceOf(f"tls:{target}") is Silence.HANGING

    def test_noConnectionIsNoSilence(self) -> None:
        """What isn't connected is for `reach` to explain, but for a Unix socket."""
        assert silenceOf(unused().target) is None
        assert silenceOf("unix:/nowhere/at/all") is Silence.UNCONNECTED

    def test_eachIsExplained(self) -> None:
        """The reason for which a check is skipped names the check that explains it."""
        for silence in Silence:
            assert f"see {silence.explainedBy}" in silence.value
