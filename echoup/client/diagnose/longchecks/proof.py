"""Whether a connection still works."""

from twisted.internet.defer import TimeoutError as DeferredTimeout

from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient

PROBE = b"do you still answer\n"


def newClient(path: PathUnderTest) -> EchoUpClient:
    """Return a client without a timeout of its own: the connection stays as it is while `prove` fails."""
    return EchoUpClient(path.reactor, 0, clock=path.clock)


async def prove(path: PathUnderTest, client: EchoUpClient) -> None:
    """Make an exchange over the connection of `client`; raise PathError if that fails, or isn't over in time."""
    limit = path.scope.timeout
    try:
        client.check(await client.exchange(PROBE).addTimeout(limit, path.clock))
    except DeferredTimeout:
        raise client.error(ExitCode.TIMED_OUT, f"timed out: no answer in {limit:g} s") from None


async def works(path: PathUnderTest, client: EchoUpClient) -> bool:
    """Return whether `prove` succeeds; raise PathError only where the reply is wrong."""
    try:
        await prove(path, client)
    except PathError as error:
        if error.code is ExitCode.WRONG:
            raise
        return False
    return True
