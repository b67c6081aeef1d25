"""A resolver with a test's own host names."""

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect import resolve
from echoup.client.connect.resolve import Family


class Names:
    """A resolver that knows the addresses of some names, and answers synchronously."""

    def __init__(self, known: dict[str, list[str]]) -> None:
        self.known = known

    def install(self, case: SynchronousTestCase) -> None:
        """Make the client ask it instead of the system's resolver in the test `case`."""
        case.patch(resolve, "lookUp", self.lookUp)

    def lookUp(self, reactor: object, name: str, family: Family) -> "Deferred[list[str]]":
        """Return the addresses of `name`, of any family."""
        return succeed(self.known.get(name, []))
