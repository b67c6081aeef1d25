"""The options of `twistd echoup`: their values, and what is refused."""

import os
import re
import ssl
import sys
from importlib.metadata import version
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.python.usage import Options as ParentOptions
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from echoup.server import settings
from echoup.server.listening import inherited
from echoup.server.listening.listeners import parseListener
from echoup.server.options import Options
from tests.support.certificates import writeCertificates
from tests.support.doubles import raised
from tests.support.properties import given, st

DEFAULTS: dict[str, object] = {
    "max-connections": 1024,
    "max-connections-per-peer": 0,
    "idle-timeout": 600.0,
    "stall-timeout": 60.0,
    "handshake-timeout": 5.0,
    "udp-rate": 5000,
    "drain-timeout": 10.0,
    "workers": 1,
    "log-connections": False,
    "listen": [parseListener("127.0.0.1:8081")],
    "udp": [],
    "proxy-from": [],
    "tls-cert": None,
    "tls-key": None,
    "tls-client-ca": None,
    "status": None,
    "status-host": [],
    "ready-delay": 0.0,
    "log-format": "text",
}


class OptionsTestCase(SynchronousTestCase):
    """A test whose environment is empty."""

    def setUp(self) -> None:
        """Empty the environment."""
        self.patch(os, "environ", {})

    def parse(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """Return the values of all options."""
        os.environ.clear()
        os.environ.update(environment)
        options = Options()
        options.parseOptions(arguments)
        return dict(options)

    def refusal(self, *arguments: str, **environment: str) -> str:
        """Return the words with which the options are refused."""
        error = raised(UsageError, lambda: self.parse(*arguments, **environment))
        assert error is not None
        return str(error)


class OptionsTests(OptionsTestCase):
    """Each option has a default, a place on the command line and a variable."""

    def test_defaultValues(self) -> None:
        """Without options everything has its default."""
        assert self.parse() == DEFAULTS

    def test_commandLineWinsOverVariable(self) -> None:
        """Each option can be given on the command line and as a variable, and the command line wins."""
        for name, text, value in (
            ("max-connections", "10", 10),
            ("max-connections", "0", 0),
            ("max-connections-per-peer", "5", 5),
            ("idle-timeout", "0", 0.0),
            ("idle-timeout", "1.5", 1.5),
            ("stall-timeout", "0.1", 0.1),
            ("handshake-timeout", "0.5", 0.5),
            ("udp-rate", "0", 0),
            ("udp-rate", "999999999", 999_999_999),
            ("drain-timeout", "0", 0.0),
            ("workers", "7", 7),
            ("workers", "256", 256),
            ("proxy-from", "10.0.0.0/8", [ip_network("10.0.0.0/8")]),
            ("proxy-from", "192.0.2.1", [ip_network("192.0.2.1/32")]),
            ("proxy-from", "2001:db8::/32", [ip_network("2001:db8::/32")]),
            ("proxy-from", "::ffff:10.0.0.0/104", [ip_network("10.0.0.0/8")]),
            ("proxy-from", "::ffff:7f00:0/104", [ip_network("127.0.0.0/8")]),
            ("proxy-from", "::ffff:0:0/96", [ip_network("0.0.0.0/0")]),
            ("proxy-from", "::ffff:192.0.2.1", [ip_network("192.0.2.1/32")]),
            ("proxy-from", "::/0", [ip_network("::/0")]),
            ("proxy-from", "::fffe:0:0/95", [ip_network("::fffe:0:0/95")]),
            ("proxy-from", "::10.0.0.0/104", [ip_network("::10.0.0.0/104")]),
            ("listen", "*:7", [parseListener("*:7")]),
            ("status", "unix:/run/status", parseListener("unix:/run/status")),
            ("ready-delay", "500ms", 0.5),
            ("log-format", "json", "json"),
        ):
            variable = "ECHOUP_" + name.upper().replace("-", "_")
            expected = DEFAULTS | {name: value}
            assert self.parse(f"--{name}", text) == expected
            assert self.parse(f"--{name}={text}") == expected
            assert self.parse(**{variable: f" {text} "}) == expected
            assert self.parse(f"--{name}={text}", **{variable: "9"}) == expected
            assert self.parse(**{variable: ""}) == DEFAULTS

    def test_listenIsRepeatable(self) -> None:
        """`--listen` is repeatable, also as `-l`, and its variable takes values separated by blanks."""
        expected = [parseListener(text) for text in ("8081", "[::1]:8082", "unix:/run/echoup")]
        assert self.parse("-l", "8081", "--listen", "[::1]:8082", "-l", "unix:/run/echoup")["listen"] == expected
        assert self.parse(ECHOUP_LISTEN="8081  [::1]:8082\nunix:/run/echoup ")["listen"] == expected
        assert self.parse("-l", "8081", ECHOUP_LISTEN="8082")["listen"] == expected[:1]

    def test_proxyFromIsRepeatable(self) -> None:
        """`--proxy-from` is repeatable, and its variable takes networks separated by blanks."""
        expected = [ip_network(text) for text in ("10.0.0.0/8", "fd00::/8")]
        assert self.parse("--proxy-from", "10.0.0.0/8", "--proxy-from=fd00::/8")["proxy-from"] == expected
        assert self.parse(ECHOUP_PROXY_FROM="10.0.0.0/8\t fd00::/8")["proxy-from"] == expected
        assert self.parse("--proxy-from=10.0.0.0/8", ECHOUP_PROXY_FROM="fd00::/8")["proxy-from"] == expected[:1]

    def test_statusHostIsRepeatable(self) -> None:
        """`--status-host` is repeatable, and takes names and IP addresses, which are kept as resolvers know them."""
        names = {"Echo.Example.": "echo.example", "192.0.2.1": "192.0.2.1", "[2001:DB8::1]": "2001:db8::1"}
        expected = [*names.values()]
        given = [f"--status-host={name}" for name in names]
        assert self.parse("--status=8082", *given)["status-host"] == expected
        assert self.parse("--status=8082", ECHOUP_STATUS_HOST=" ".join(names))["status-host"] == expected

    def test_statusPortAloneIsOfLoopback(self) -> None:
        """For `--status`, unlike for `--listen`, a port alone is one of 127.0.0.1."""
        for text, host in (("8082", "127.0.0.1"), ("*:8082", None), ("192.0.2.1:8082", "192.0.2.1")):
            status = self.parse(f"--status={text}")["status"]
            assert (status.host, status.port) == (host, 8082)

    def test_autoIsOneWorkerForEachCore(self) -> None:
        """`--workers auto` is one for each core that this process can use, up to the maximum."""
        for cores, expected in ((1, 1), (4, 4), (1000, 256)):
            self.patch(settings, "countProcessors", lambda cores=cores: cores)
            assert self.parse("--workers=auto")["workers"] == expected
            assert self.parse(ECHOUP_WORKERS="auto")["workers"] == expected

    def test_tlsClientCAIsForEachTLSListener(self) -> None:
        """`--tls-client-ca` is for every listener with TLS, wherever it is on the command line, and for no other."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        path = f"{folder}/ca.pem"
        listen = [f"--listen=ssl:0:privateKey={folder}/server.pem", "--listen=8081", f"-lssl:1:{folder}/server.pem"]
        for values in (
            self.parse(f"--tls-client-ca={path}", *listen),
            self.parse(*listen, "--tls-client-ca", path),
            self.parse(*listen, ECHOUP_TLS_CLIENT_CA=f" {path} "),
            self.parse(*listen, f"--tls-client-ca={path}", ECHOUP_TLS_CLIENT_CA="/nowhere"),
        ):
            assert values["tls-client-ca"] == path
            first, plain, second = (listener.certificate for listener in values["listen"])
            assert plain is None
            assert {first.context.verify_mode, second.context.verify_mode} == {ssl.CERT_REQUIRED}
        for values in (self.parse(*listen), self.parse(*listen, ECHOUP_TLS_CLIENT_CA=" ")):
            assert values["tls-client-ca"] is None
            assert values["listen"][0].certificate.context.verify_mode == ssl.CERT_NONE

    def test_tlsFilesAreForTLSAddresses(self) -> None:
        """`--tls-cert` and `--tls-key` are for all `tls:` addresses, which share one certificate, and for no others."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        addresses = {"8443": None, "*:8443": None, "127.0.0.1:8443": "127.0.0.1", "[::1]:8443": "::1"}
        listen = [f"--listen=tls:{address}" for address in addresses]
        cert, key, both = (f"{folder}/server.{kind}" for kind in ("crt", "key", "pem"))
        for values in (
            self.parse(f"--tls-cert={cert}", f"--tls-key={key}", *listen, "--listen=8081"),
            self.parse(*listen, "--listen=8081", f"--tls-cert={both}"),
            self.parse(*listen, "--listen=8081", ECHOUP_TLS_CERT=cert, ECHOUP_TLS_KEY=f" {key} "),
            self.parse(*listen, "--listen=8081", f"--tls-client-ca={folder}/ca.pem", ECHOUP_TLS_CERT=both),
        ):
            *secure, plain = values["listen"]
            assert [(each.host, each.port) for each in secure] == [(host, 8443) for host in addresses.values()]
            assert [each.description for each in secure] == [f"tls:{address}" for address in addresses]
            assert plain.certificate is None
            (certificate,) = {each.certificate for each in secure}
            expected = ssl.CERT_REQUIRED if values["tls-client-ca"] else ssl.CERT_NONE
            assert certificate.context.verify_mode == expected

    def test_logConnectionsIsAFlag(self) -> None:
        """`--log-connections` is a flag, and its variable a word for yes or no."""
        assert self.parse("--log-connections")["log-connections"]
        assert self.parse("--log-connections", ECHOUP_LOG_CONNECTIONS="no")["log-connections"]
        for words, value in (("1 true Yes ON", True), ("0 FALSE no off", False)):
            for word in words.split():
                assert self.parse(ECHOUP_LOG_CONNECTIONS=word)["log-connections"] == value, word

    def test_variablesOfKubernetesAreIgnored(self) -> None:
        """The variables that Kubernetes makes for a service called echoup are ignored."""
        links = {
            "ECHOUP_PORT": "tcp://10.0.0.1:8081",
            "ECHOUP_PORT_8081_TCP": "tcp://10.0.0.1:8081",
            "ECHOUP_PORT_8081_TCP_ADDR": "10.0.0.1",
            "ECHOUP_PORT_8081_TCP_PORT": "8081",
            "ECHOUP_PORT_8081_TCP_PROTO": "tcp",
            "ECHOUP_SERVICE_HOST": "10.0.0.1",
            "ECHOUP_SERVICE_PORT": "8081",
            "ECHOUP_SERVICE_PORT_ECHO": "8081",
            "ECHOUP_STATUS_PORT": "tcp://10.0.0.2:8082",
            "ECHOUP_STATUS_PORT_8082_TCP_ADDR": "10.0.0.2",
            "ECHOUP_STATUS_SERVICE_HOST": "10.0.0.2",
            "ECHOUP_STATUS_SERVICE_PORT": "8082",
        }
        os.environ.update(links)
        options = Options()
        options.parseOptions([])
        assert dict(options) == DEFAULTS
        assert options.unknownVariables == []

    def test_versionIsPrinted(self) -> None:
        """`--version` prints the version of echoup."""
        self.patch(sys, "stdout", stdout := StringIO())
        error = raised(SystemExit, self.parse, "--version")
        assert error is not None
        assert (error.code, stdout.getvalue()) == (0, f"echoup {version('echoup')}\n")

    def test_helpHasDefaults(self) -> None:
        """`--help` tells of every option and its default."""
        _, *entries = re.split(r"\n +(?:-\w, )?--", str(Options()).partition("\n\n")[0])
        documented = {entry.partition(" ")[0].rstrip("="): " ".join(entry.split()) for entry in entries}
        assert documented.keys() == DEFAULTS.keys() | {"help", "version"}
        for name, value in DEFAULTS.items():
            shown = "off" if value is False else f"{value:g}" if isinstance(value, float | int) else value or "none"
            expected = "127.0.0.1:8081" if name == "listen" else shown
            assert documented[name].endswith(f"[default: {expected}]"), name

    def test_helpFitsTheTerminal(self) -> None:
        """No line of `--help` is wider than the terminal, by default of 80 columns, and none has a gap in it."""
        for columns in ("", "60", "80", "132"):
            os.environ.clear()
            if columns:
                os.environ["COLUMNS"] = columns
            lines = str(Options()).splitlines()
            assert max(map(len, lines)) <= int(columns or 80)
            assert not [line for line in lines if "  " in line[37:].strip()]

    def test_helpNamesEachKindOfAddress(self) -> None:
        """`--help` names the kinds of addresses, abstract Unix sockets and TLS included."""
        text = " ".join(str(Options()).split())
        for kind in ("tls:", "unix:PATH", "unix:@NAME", "tcp:", "tcp6:", "ssl:", "systemd:"):
            assert kind in text


class MistakeTests(OptionsTestCase):
    """A bad option is refused in one line that says which it is and what is wrong."""

    def test_mistakeIsNamed(self) -> None:
        """The message has the option or the variable, the value and the reason."""
        for name, text, words in (
            ("max-connections", "many", "'many' is not a whole number from 0 to 999999999"),
            ("max-connections", "-1", "'-1' is not a whole number from 0 to 999999999"),
            ("max-connections", "1.5", "'1.5' is not a whole number from 0 to 999999999"),
            ("udp-rate", "-1", "'-1' is not a whole number from 0 to 999999999"),
            ("udp-rate", "1000/s", "'1000/s' is not a whole number from 0 to 999999999"),
            ("max-connections-per-peer", "²", "'²' is not a whole number from 0 to 999999999"),
            ("idle-timeout", "nan", "'nan' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("idle-timeout", "1e3", "'1e3' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("idle-timeout", "inf", "'inf' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("drain-timeout", "-1", "'-1' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("drain-timeout", "10h", "'10h' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("stall-timeout", "0", "0 would keep the connection of a dead peer forever"),
            ("handshake-timeout", "0", "0 would keep the connection of a dead peer forever"),
            ("handshake-timeout", "0.0", "0 would keep the connection of a dead peer forever"),
            ("handshake-timeout", "-5", "'-5' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("proxy-from", "10.0.0.1/8", "'10.0.0.1/8' is an address in a network; write 10.0.0.0/8, or 10.0.0.1 for "),
            ("proxy-from", "2001:db8::1/32", "'2001:db8::1/32' is an address in a network; write 2001:db8::/32, or"),
            ("proxy-from", "10.0.0.0/33", "'10.0.0.0/33' is not a network in CIDR notation, such as 10.0.0.0/8"),
            ("proxy-from", "localhost", "'localhost' is not a network in CIDR notation, such as 10.0.0.0/8"),
            ("workers", "0", "'0' is neither auto nor a whole number from 1 to 256"),
            ("workers", "-1", "'-1' is neither auto nor a whole number from 1 to 256"),
            ("workers", "257", "'257' is neither auto nor a whole number from 1 to 256"),
            ("workers", "1000", "'1000' is neither auto nor a whole number from 1 to 256"),
            ("workers", "Auto", "'Auto' is neither auto nor a whole number from 1 to 256"),
            ("stall-timeout", "soon", "'soon' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("proxy-from", "fe80::%lo/64", "'fe80::%lo/64' names an interface; a network has none"),
            ("listen", "localhost", "'localhost' is not a port number from 0 to 65535; write localhost:PORT"),
            ("udp", "tcp:8081", "'tcp:8081' is not a UDP address; write --listen tcp:8081"),
            ("status", "localhost", "'localhost' is not a port number from 0 to 65535; write localhost:PORT"),
            ("status-host", "a.example:80", "'a.example:80' is not a host name or an IP address without a port"),
            ("status-host", "[::1]:80", "'[::1]:80' is not a host name or an IP address without a port"),
            ("status-host", "http://a.example", "'http://a.example' is not a host name or an IP address without a"),
            ("status-host", "*.a.example", "'*.a.example' is not a host name or an IP address without a port"),
            ("ready-delay", "-1", "'-1' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("log-format", "JSON", "'JSON' is neither text nor json"),
        ):
            variable = "ECHOUP_" + name.upper().replace("-", "_")
            assert self.refusal(f"--{name}={text}").startswith(f"--{name}: {words}")
            assert self.refusal(**{variable: text}).startswith(f"{variable}: {words}")

    def test_emptyValueIsAMistake(self) -> None:
        """On the command line an empty value is a mistake."""
        for name in DEFAULTS.keys() - {"log-connections"}:
            assert self.refusal(f"--{name}=").startswith(f"--{name}: ")

    def test_uselessTLSClientCA(self) -> None:
        """`--tls-client-ca` without a listener with TLS is a mistake, and so is an unusable file."""
        unused, file = "no --listen tls:... uses it", "/nowhere/ca.pem"
        assert self.refusal(f"--tls-client-ca={file}") == f"--tls-client-ca: {unused}"
        assert self.refusal("--listen=8081", ECHOUP_TLS_CLIENT_CA=file) == f"ECHOUP_TLS_CLIENT_CA: {unused}"
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        listen = f"--listen=ssl:0:privateKey={folder}/server.pem"
        reasons = {"missing.pem": "No such file or directory", "server.key": "no certificate in it"}
        for name, reason in reasons.items():
            message = f"{folder}/{name}: {reason}"
            assert self.refusal(listen, f"--tls-client-ca={folder}/{name}") == f"--tls-client-ca: {message}"
            assert self.refusal(listen, ECHOUP_TLS_CLIENT_CA=f"{folder}/{name}") == f"ECHOUP_TLS_CLIENT_CA: {message}"

    def test_uselessTLSFiles(self) -> None:
        """`--tls-cert` without `tls:`, `tls:` without `--tls-cert`, and `--tls-key` alone are mistakes."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        both = f"{folder}/server.pem"
        unused = "no --listen tls:... uses it"
        assert self.refusal(f"--tls-cert={both}") == f"--tls-cert: {unused}"
        listen = f"--listen=ssl:0:privateKey={both}"
        assert self.refusal(listen, ECHOUP_TLS_CERT=both) == f"ECHOUP_TLS_CERT: {unused}"
        needed = "'tls:8443': --tls-cert FILE is missing"
        assert self.refusal("--listen=tls:8443") == f"--listen: {needed}"
        assert self.refusal(ECHOUP_LISTEN="tls:8443") == f"ECHOUP_LISTEN: {needed}"
        alone = "--tls-cert FILE is missing"
        assert self.refusal("--listen=tls:0", f"--tls-key={both}") == f"--tls-key: {alone}"
        assert self.refusal("--listen=tls:0", ECHOUP_TLS_KEY=both) == f"ECHOUP_TLS_KEY: {alone}"

    def test_unusableTLSFilesAreNamed(self) -> None:
        """A file that can't be read or used, or a key that doesn't match, is told by its option or variable."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        (folder / "garbage").write_text("garbage")
        nothing, mismatch = "No such file or directory", "the key does not match the certificate"
        for files, option, file, reason in (
            ({"tls-cert": "none"}, "tls-cert", "none", nothing),
            ({"tls-cert": "garbage", "tls-key": "server.key"}, "tls-cert", "garbage", "no certificate in it"),
            ({"tls-cert": "server.key"}, "tls-cert", "server.key", "no certificate in it"),
            ({"tls-cert": "server.crt", "tls-key": "none"}, "tls-key", "none", nothing),
            ({"tls-cert": "server.crt", "tls-key": "other.key"}, "tls-key", "other.key", mismatch),
            ({"tls-cert": "server.crt", "tls-key": "garbage"}, "tls-key", "garbage", "no usable private key in it"),
            ({"tls-cert": "client.crt", "tls-key": "encrypted.key"}, "tls-key", "encrypted.key", "the private key is "),
            ({"tls-cert": "server.pem", "tls-client-ca": "none"}, "tls-client-ca", "none", nothing),
            ({"tls-cert": "server.pem", "tls-client-ca": "server.key"}, "tls-client-ca", "server.key", "no cert"),
        ):
            message = self.refusal("--listen=tls:0", *(f"--{name}={folder}/{path}" for name, path in files.items()))
            assert message.startswith(f"--{option}: {folder}/{file}: {reason}"), message
            variables = {f"ECHOUP_{name.upper().replace('-', '_')}": f"{folder}/{path}" for name, path in files.items()}
            message = self.refusal("--listen=tls:0", **variables)
            assert message.startswith(f"ECHOUP_{option.upper().replace('-', '_')}: {folder}/{file}: {reason}"), message
        hint = "no usable private key in it; --tls-key names its file"
        message = f"--tls-cert: {folder}/server.crt: {hint}"
        assert self.refusal("--listen=tls:0", f"--tls-cert={folder}/server.crt") == message

    def test_uselessStatusHost(self) -> None:
        """`--status-host` without `--status` is a mistake."""
        missing = "--status ADDRESS is missing"
        assert self.refusal("--status-host=example.org") == f"--status-host: {missing}"
        assert self.refusal(ECHOUP_STATUS_HOST="example.org") == f"ECHOUP_STATUS_HOST: {missing}"

    def test_misspeltVariable(self) -> None:
        """A variable with a name like that of a setting is a mistake, and the message has the right name."""
        for wrong, right in (
            ("ECHOUP_LISTN", "ECHOUP_LISTEN"),
            ("ECHOUP_MAX_CONNECTION", "ECHOUP_MAX_CONNECTIONS"),
            ("ECHOUP_MAXCONNECTIONS", "ECHOUP_MAX_CONNECTIONS"),
            ("ECHOUP_TLS_CERTS", "ECHOUP_TLS_CERT"),
            ("ECHOUP_STATUS_HOSTS", "ECHOUP_STATUS_HOST"),
            ("ECHOUP_STATUS_PORT", "ECHOUP_STATUS_HOST"),
            ("Echoup_listen", "ECHOUP_LISTEN"),
        ):
            assert self.refusal(**{wrong: "8082"}) == f"{wrong} is not a setting; {right} is"
            assert self.parse(**{wrong: " "}) == DEFAULTS

    def test_inheritedSocketTwice(self) -> None:
        """Each socket from systemd can be named once, by its name or its index."""
        path = Path(self.enterContext(TemporaryDirectory()), "environ")
        path.write_text(f"LISTEN_PID={os.getpid()}\0LISTEN_FDS=2\0LISTEN_FDNAMES=echo:other\0")
        self.patch(inherited, "Path", {"/proc/self/environ": path}.__getitem__)
        first, name, other = (f"systemd:domain=INET:{which}" for which in ("index=0", "name=echo", "name=other"))
        for again in first, name:
            message = f": '{again}' is the same socket as an earlier one"
            assert self.refusal(f"--listen={first}", f"--listen={other}", f"--listen={again}") == "--listen" + message
            assert self.refusal(ECHOUP_LISTEN=f"{first} {other} {again}") == "ECHOUP_LISTEN" + message
        twice = f"--status: '{name}' is the same socket as an earlier one"
        assert self.refusal(f"--listen={first}", f"--status={name}") == twice
        assert len(self.parse("-l", first, "-l", other, "-l", "8081", "-l", "8081")["listen"]) == 4

    def test_neitherYesNorNo(self) -> None:
        """A word that means neither yes nor no is a mistake."""
        assert self.refusal(ECHOUP_LOG_CONNECTIONS="maybe") == "ECHOUP_LOG_CONNECTIONS: 'maybe' is neither yes nor no"

    def test_unknownOptionOrArgument(self) -> None:
        """An unknown option is a mistake, and so is an argument."""
        assert "--colour" in self.refusal("--colour=red")
        assert self.refusal("8081") == "unexpected argument '8081'; write --listen 8081 for an address"

    @given(st.sampled_from(sorted(DEFAULTS.keys() - {"log-connections"})), st.text(st.characters()))
    def test_anyValue(self, name: str, text: str) -> None:
        """Any value of any option is taken or refused in one line."""
        if error := raised(UsageError, self.parse, f"--{name}={text}"):
            assert len(str(error).splitlines()) == 1

    def test_mistakeUnderTwistdIsOneLine(self) -> None:
        """As a subcommand of twistd a mistake ends the process with one line and prints nothing."""
        self.patch(sys, "stdout", stdout := StringIO())
        options = Options()
        options.parent = ParentOptions()
        error = raised(SystemExit, options.parseOptions, ["--max-connections=many"])
        assert error is not None
        assert error.code == "twistd echoup: --max-connections: 'many' is not a whole number from 0 to 999999999"
        assert stdout.getvalue() == ""

    def test_syslogIsText(self) -> None:
        """Syslog takes no JSON; the message begins with what asked for it."""
        for arguments, source in ((["--log-format=json"], "--log-format"), ([], "ECHOUP_LOG_FORMAT")):
            os.environ["ECHOUP_LOG_FORMAT"] = "json"
            options = Options()
            options.parent = ParentOptions()
            options.parent["syslog"] = True
            error = raised(SystemExit, options.parseOptions, arguments)
            assert str(error) == f"twistd echoup: {source}: with twistd --syslog the log is text"


class TwistdOptionsTests(OptionsTestCase):
    """The options of twistd that need a folder are refused where that is missing."""

    def setUp(self) -> None:
        """Change to a new folder."""
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.folder)

    def under(self, **given: str | int) -> str:
        """Return the words with which twistd's options `given` are refused, or nothing."""
        options = Options()
        options.parent = ParentOptions()
        options.parent.update(given)
        error = raised(SystemExit, options.parseOptions, [])
        return str(error).removeprefix("twistd echoup: ") if error else ""

    def test_missingFolders(self) -> None:
        """The folder may be missing for each of these options."""
        for name, value, folder in (
            ("chroot", "none", "none"),
            ("rundir", "none", "none"),
            ("rundir", "/no/such", "/no/such"),
            ("pidfile", "none/pid", f"{self.folder}/none"),
            ("logfile", "none/log", f"{self.folder}/none"),
        ):
            assert self.under(**{name: value}) == f"--{name}: no such directory: {folder}"

    def test_presentFolders(self) -> None:
        """The defaults of twistd, and folders that are there, are taken."""
        (self.folder / "here").mkdir()
        assert self.under(rundir=".", pidfile="twistd.pid") == ""
        assert self.under(chroot="here", rundir="here", pidfile="", logfile="-") == ""
        assert self.under(rundir=str(self.folder), pidfile="here/pid", logfile="here/log") == ""

    def test_filesThatCannotBeWritten(self) -> None:
        """A folder or a pipe in the place of a file, and a folder that can't be written or seen, are refused."""
        (self.folder / "here").mkdir()
        os.mkfifo("pipe")
        for name in ("pidfile", "logfile"):
            for file in ("here", "pipe"):
                assert self.under(**{name: file}) == f"--{name}: {self.folder}/{file} is not a regular file"
        assert self.under(logfile=os.devnull) == ""
        allowed = os.access
        self.patch(os, "access", lambda path, mode: mode != os.W_OK and allowed(path, mode))
        assert self.under(logfile="here/log") == f"--logfile: cannot write {self.folder}/here/log"
        assert self.under(pidfile="pid", nodaemon=True) == f"--pidfile: cannot write {self.folder}/pid"
        assert self.under(pidfile="") == f"--logfile: cannot write {self.folder}/twistd.log"
        for unused in ({"nodaemon": True}, {"syslog": True}):
            assert self.under(pidfile="", **unused) == ""
        self.patch(os, "access", lambda path, _: str(path) != "here")
        assert self.under(rundir="here", pidfile="", nodaemon=True) == "--rundir: here: Permission denied"

    def test_foldersInAChroot(self) -> None:
        """With --chroot the pid file, and a folder that begins with a slash, are inside of that."""
        (self.folder / "root" / "var").mkdir(parents=True)
        assert self.under(chroot="root", rundir="/var", pidfile="/var/pid") == ""
        assert self.under(chroot="root", rundir="/tmp") == "--rundir: no such directory: root/tmp"  # noqa: S108
        assert self.under(chroot="root", pidfile="pid") == f"--pidfile: no such directory: root{self.folder}"

    def test_optionsOfRoot(self) -> None:
        """Only root can change its root folder, its user and its group; keeping one's own is no change."""
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(os, "getuid", lambda: 1000)
        self.patch(os, "getgid", lambda: 100)
        roots: list[str] = []

        def chroot(path: str) -> None:
            roots.append(path)
            raise PermissionError

        self.patch(os, "chroot", chroot)
        assert self.under(chroot=".") == "--chroot: only root can change the root directory"
        assert roots == ["/"]
        assert self.under(uid=0) == "--uid: only root can change the user"
        assert self.under(gid=0) == "--gid: only root can change the group"
        assert self.under(uid=1000, gid=100) == ""
        self.patch(os, "geteuid", lambda: 0)
        assert self.under(uid=1, gid=1) == ""

    def test_removedFolder(self) -> None:
        """In a folder that was removed, files can't be named from there."""
        self.folder.rmdir()
        self.addCleanup(self.folder.mkdir)
        for named in ({"pidfile": "pid"}, {"logfile": "log"}):
            assert self.under(**named) == "the working directory has been removed; change to another one"
        assert self.under(rundir=".", pidfile="", logfile="-") == ""


class WordsTests(OptionsTestCase):
    """A refusal begins with the option, and ends with the reason of the parser of its value."""

    def test_badValueIsNamed(self) -> None:
        """The address, the number or the network that can't be read is named."""
        for option, reason in (
            ("--listen=127.0.0.1:99999", "'99999' is not a port number from 0 to 65535"),
            ("--listen=nonsense", "'nonsense' is not a port number from 0 to 65535"),
            ("--listen=ws:443:privateKey=x", "'ws:443:privateKey=x' is neither HOST:PORT nor [V6]:PORT"),
            ("--listen=tcp:", "'tcp:' is not a valid tcp endpoint"),
            ("--listen=systemd:domain=INET:index=0", "'systemd:domain=INET:index=0' is not a valid systemd endpoint"),
            ("--idle-timeout=-1", "'-1' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("--drain-timeout=nan", "'nan' is not a duration such as 5, 0.5, 500ms, 5s or 2m"),
            ("--proxy-from=300.0.0.0/8", "'300.0.0.0/8' is not a network in CIDR notation"),
        ):
            message = self.refusal(option)
            assert message.startswith(f"{option.partition('=')[0]}: {reason}"), message

    def test_unknownOptionIsNamed(self) -> None:
        """An unknown option is named as it was given."""
        assert self.refusal("--no-such-option") == "option --no-such-option not recognized"

    def test_badNumberOfWorkers(self) -> None:
        """A word, an empty text and a fraction are no numbers of workers."""
        for text in ("x", "", "1.5"):
            words = f"--workers: {text!r} is neither auto nor a whole number from 1 to 256"
            assert self.refusal(f"--workers={text}") == words
