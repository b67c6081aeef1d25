"""Whether the daemon is ready for new connections."""

from echoup.server.overview import Check, IMainService


class Health:
    """What the checks of a daemon find at the moment."""

    def __init__(self, service: IMainService) -> None:
        """`service` has checks of its own."""
        self._service = service
        self.isStarted = False
        """Whether the service has started."""
        self.isDraining = False
        """Whether the daemon has been told to stop."""

    def checks(self) -> list[Check]:
        """Return all conditions for being ready."""
        return [
            Check("started", "" if self.isStarted else "the daemon is starting"),
            Check("draining", "the daemon is stopping" if self.isDraining else ""),
            *self._service.checks(),
        ]

    @property
    def problems(self) -> list[str]:
        """The conditions that aren't met, a line for each: its name, and why."""
        return [f"{check.name}: {check.problem}" for check in self.checks() if check.problem]
