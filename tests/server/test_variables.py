"""The environment variables of the daemon."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.server.variables import findUnknown, variableOf
from tests.support.doubles import raised
from tests.support.properties import given, st


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
            "ECHOUP_COLOUR": "",
            "_ECHOUP_COMPLETE": "x",
            "PATH": "",
        }
        assert findUnknown(environment, self.options) == ["ECHOUP_ADDRESS", "ECHOUP_VERSION"]

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
