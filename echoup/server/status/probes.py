"""The pages for people and for health checks."""

from collections.abc import Iterable

from twisted.web.resource import Resource
from twisted.web.server import Request

from echoup.server.status.health import Health


class PlainPage(Resource):
    """A page that never changes."""

    isLeaf = True

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def render_GET(self, request: Request) -> bytes:
        """Return the text."""
        return self._text.encode()


class ReadyPage(Resource):
    """Whether the daemon is ready for new connections: 200, or 503 with a line for each condition that isn't met.

    `?verbose` lists all conditions.
    """

    isLeaf = True

    def __init__(self, health: Health) -> None:
        super().__init__()
        self._health = health

    def render_GET(self, request: Request) -> bytes:
        """Return what the checks have found."""
        problems = self._health.problems
        request.setResponseCode(503 if problems else 200)
        lines: Iterable[str] = problems or ["ok"]
        if b"verbose" in (request.args or {}):
            checks = self._health.checks()
            lines = [f"[-] {c.name}: {c.problem}" if c.problem else f"[+] {c.name} ok" for c in checks]
        return "".join(f"{line}\n" for line in lines).encode()
