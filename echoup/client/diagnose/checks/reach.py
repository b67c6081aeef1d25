"""To be written."""

from echoup.client.diagnose.finding import Finding, skipped
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """To be written."""
    return skipped("to be written")
