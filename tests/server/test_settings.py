"""The limits, and the values and the variables of the options."""

from ipaddress import ip_network

from twisted.internet.main import CONNECTION_DONE
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.datagram.port import parseDatagramListener
from echoup.server.listening.listeners import parseListener
from echoup.server.options import Options
from echoup.server.settings import (
    SELECT_MAXIMUM,
    Limits,
    Plan,
    findUnknown,
    parsePositiveSeconds,
    settingsOf,
    variableOf,
)
from echoup.server.status.channel import MOST
from echoup.server.status.site import ACCEPTS
from tests.support.doubles import ReactorTestCase, raised
from tests.support.properties import given, st

TIMEOUTS = st.floats(0.001, 1e6)


class LimitsTests(ReactorTestCase):
    """`Limits` are values, and fit the reactor."""

    @given(TIMEOUTS, st.just(0.0) | TIMEOUTS)
    def test_tickOfAnyTimeouts(self, stallTimeout: float, idleTimeout: float) -> None:
        """A tick is at most a twentieth of each timeout, but never below 0.05 seconds nor above 3."""
        tick = Limits(stallTimeout=stallTimeout, idleTimeout=idleTimeout).tick
        assert 0.05 <= tick <= 3, tick
        if tick > 0.05:
            assert tick <= min(stallTimeout, idleTimeout or stallTimeout) / 20

    def test_tickIsATwentieth(self) -> None:
        """A tick is a twentieth of the shortest timeout, within bounds."""
        assert Limits().tick == 3.0
        assert Limits(stallTimeout=20).tick == 1.0
        assert Limits(idleTimeout=10).tick == 0.5
        assert Limits(stallTimeout=0.1).tick == 0.05

    def test_selectReactorHasAMaximum(self) -> None:
        """On the select reactor there is always a maximum, which select can keep."""
        reactor = SelectReactor()
        for reader in reactor._internalReaders:
            self.addCleanup(reader.connectionLost, Failure(CONNECTION_DONE))
        for asked, kept in ((0, SELECT_MAXIMUM), (1024, SELECT_MAXIMUM), (SELECT_MAXIMUM, SELECT_MAXIMUM), (10, 10)):
            limits = Limits(maxConnections=asked, idleTimeout=7).within(reactor)
            assert limits == Limits(maxConnections=kept, idleTimeout=7)

    def test_selectReactorHasRoomForTheStatusSite(self) -> None:
        """With all connections, and all of the status site, 50 of the 1024 descriptors that select takes are left."""
        assert SELECT_MAXIMUM + MOST + ACCEPTS + 50 <= 1024

    def test_otherReactorsKeepAnyLimits(self) -> None:
        """Other reactors keep any limits."""
        for limits in (Limits(maxConnections=0), Limits(maxConnections=100_000)):
            assert limits.within(self.reactor) == limits


class PlanTests(SynchronousTestCase):
    """`Plan` and `Limits` are built by keyword."""

    def test_positionsAreRefused(self) -> None:
        """A value without its name is a mistake: most of them are numbers."""
        for kind in (Limits, Plan):
            assert raised(TypeError, kind, ())


class SecondsTests(SynchronousTestCase):
    """The options that take seconds other than 0 take durations."""

    def test_durationsAreSeconds(self) -> None:
        """A number is seconds, and a unit is allowed."""
        assert [parsePositiveSeconds(text) for text in ("600", "0.5", "10m", "250ms")] == [600, 0.5, 600, 0.25]

    def test_zeroIsRefused(self) -> None:
        """0 is refused, because it would let a peer hang."""
        for text in ("0", "0ms"):
            why = "0 would keep the connection of a dead peer forever"
            assert str(raised(ValueError, parsePositiveSeconds, text)) == why


class InForceTests(SynchronousTestCase):
    """`settingsOf` is the inverse of the options."""

    def test_everySettingIsThere(self) -> None:
        """The settings have the names of all options, and the values of the plan as they can be given."""
        plan = Plan(
            listeners=(parseListener("8081"), parseListener("unix:@echo")),
            limits=Limits(maxConnections=5, idleTimeout=1.5),
            proxies=(ip_network("10.0.0.0/8"),),
            datagramListeners=(parseDatagramListener("*:8081"),),
            status=parseListener("127.0.0.1:8082"),
            statusHosts=("echo.example",),
            workers=2,
        )
        settings = settingsOf(plan)
        assert settings.keys() == Options().keys()
        assert settings["listen"] == ["8081", "unix:@echo"]
        assert (settings["max-connections"], settings["idle-timeout"]) == (5, 1.5)
        assert (settings["proxy-from"], settings["udp"]) == (["10.0.0.0/8"], ["*:8081"])
        assert (settings["status"], settings["status-host"]) == ("127.0.0.1:8082", ["echo.example"])
        assert (settings["workers"], settings["log-connections"], settings["tls-cert"]) == (2, False, None)


class VariableTests(SynchronousTestCase):
    """`findUnknown` tells misspelt variables from those of others."""

    options = ("listen", "max-connections", "status", "status-host")

    def test_variableOfAnOption(self) -> None:
        """Each option has a variable."""
        assert variableOf("max-connections") == "ECHOUP_MAX_CONNECTIONS"
        assert findUnknown({variableOf(option): "1" for option in self.options}, self.options) == []

    def test_othersAreReturned(self) -> None:
        """One that is like no setting is returned; an empty one, and one of others, is not."""
        environment = {
            "ECHOUP_VERSION": "1",
            "ECHOUP_ADDRESS": "a",
            "ECHOUP_STATUS_ADDRESS": "a",
            "ECHOUP_COLOUR": "",
            "_ECHOUP_COMPLETE": "x",
            "PATH": "",
        }
        assert findUnknown(environment, self.options) == ["ECHOUP_ADDRESS", "ECHOUP_STATUS_ADDRESS", "ECHOUP_VERSION"]

    def test_nameIsShownInOneLine(self) -> None:
        """Control characters in a name are escaped."""
        error = raised(ValueError, findUnknown, {"ECHOUP_LIST\nEN": "1"}, self.options)
        assert str(error) == r"ECHOUP_LIST\nEN is not a setting; ECHOUP_LISTEN is"

    def test_portOfAServiceIsAURL(self) -> None:
        """A variable `…_PORT` is Kubernetes' if its value is a URL."""
        assert findUnknown({"ECHOUP_STATUS_PORT": "tcp://10.0.0.2:8082"}, self.options) == []
        assert findUnknown({"ECHOUP_PORT": "8081"}, self.options) == ["ECHOUP_PORT"]

    @given(st.text(st.characters(categories=["Lu", "Nd"], include_characters="_"), min_size=1))
    def test_variablesOfAnyServiceAreIgnored(self, name: str) -> None:
        """Whatever a Service whose name begins with `echoup-` is called, its variables are no mistake."""
        service = f"ECHOUP_{name}"
        environment = {
            f"{service}_SERVICE_HOST": "10.0.0.1",
            f"{service}_SERVICE_PORT": "80",
            f"{service}_SERVICE_PORT_HTTP": "80",
            f"{service}_PORT": "tcp://10.0.0.1:80",
            f"{service}_PORT_80_TCP": "tcp://10.0.0.1:80",
            f"{service}_PORT_80_TCP_PROTO": "tcp",
            f"{service}_PORT_80_UDP_PORT": "80",
            f"{service}_PORT_80_SCTP_ADDR": "10.0.0.1",
        }
        assert findUnknown(environment, self.options) == []
