"""Places for connections."""

import sys
from collections.abc import Callable

from zope.interface import Attribute, Interface, implementer


class ISlots(Interface):
    """A number of places, each for one connection."""

    free: int = Attribute("How many are left; an estimate, if other processes take them and give them back as well.")

    def take() -> bool:
        """Take one; return False if none is left, or if another process takes one at this moment."""

    def give() -> None:
        """Give one back."""

    def watch(room: Callable[[], None] | None) -> None:
        """Call `room` whenever a place may be free, until this is called with None."""


@implementer(ISlots)
class LocalSlots:
    """Places that only this process takes."""

    def __init__(self, maximum: int) -> None:
        """There are `maximum` of them; 0 is "no limit"."""
        self.free = maximum or sys.maxsize
        self._room: Callable[[], None] | None = None

    def take(self) -> bool:
        """Take one; return False if none is left."""
        if not self.free:
            return False
        self.free -= 1
        return True

    def give(self) -> None:
        """Give one back."""
        self.free += 1
        if self._room:
            self._room()

    def watch(self, room: Callable[[], None] | None) -> None:
        """Call `room` when a place is given back, until this is called with None."""
        self._room = room
