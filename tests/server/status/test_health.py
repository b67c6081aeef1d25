"""Whether the daemon is ready."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from echoup.server.overview import Check, IMainService
from echoup.server.status.health import Health
from tests.support.mainservice import IdleService


class HealthTests(SynchronousTestCase):
    """A daemon is ready if it has started, isn't stopping, and its service has no problem."""

    def setUp(self) -> None:
        """Make the health of a service that does nothing."""
        self.service = IdleService()
        self.health = Health(self.service)

    def test_doubleIsAMainService(self) -> None:
        """The service of these tests has the interface of the real ones."""
        verifyObject(IMainService, self.service)

    def test_startingDaemonIsNotReady(self) -> None:
        """Before it has started it isn't ready, and says so."""
        assert self.health.problems == ["started: the daemon is starting"]
        self.health.isStarted = True
        assert self.health.problems == []

    def test_stoppingDaemonIsNotReady(self) -> None:
        """As soon as it is to stop it isn't ready, and says so."""
        self.health.isStarted = self.health.isDraining = True
        assert self.health.problems == ["draining: the daemon is stopping"]

    def test_problemsOfTheServiceCount(self) -> None:
        """Each condition of the service that isn't met is a line; all are checks, in their order."""
        self.health.isStarted = True
        self.service.conditions = [Check("full", "9 connections for 3 s"), Check("workers"), Check("certificates", "x")]
        assert self.health.problems == ["full: 9 connections for 3 s", "certificates: x"]
        assert [check.name for check in self.health.checks()] == [
            *("started", "draining", "full", "workers", "certificates")
        ]
