"""Endpoint descriptions, taken apart as Twisted takes them."""

import socket
from errno import ECONNREFUSED, ENOENT

from twisted.internet.endpoints import _parse, quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from echoup.endpointstrings import applyTo, parsing, socketPath, splitDescription, wholeNumber
from tests.support.chance import examples
from tests.support.doubles import raised
from tests.support.properties import given, settings, st

TEXTS = st.text(":=\\ab\n", max_size=30) | st.text()


class SplitDescriptionTests(SynchronousTestCase):
    """`splitDescription` gives any text a meaning, the one that it has for Twisted if it has one there."""

    def test_separatorsAndBackslashes(self) -> None:
        """Values are separated by colons, a name and its value by an equals sign; a backslash makes both ordinary."""
        forms: dict[str, tuple[list[str], dict[str, str]]] = {
            "": ([""], {}),
            "tcp": (["tcp"], {}),
            "tcp:80": (["tcp", "80"], {}),
            "tcp:80:interface=127.0.0.1": (["tcp", "80"], {"interface": "127.0.0.1"}),
            "unix:mode=660:/run/x": (["unix", "/run/x"], {"mode": "660"}),
            ":": (["", ""], {}),
            "a:=": (["a"], {"": ""}),
            "a:b=c=d": (["a"], {"b": "c=d"}),
            "a:b=1:b=2": (["a"], {"b": "2"}),
            r"tls:\:\:1:443": (["tls", "::1", "443"], {}),
            r"a\=b:c\=d=e\:f": (["a=b"], {"c=d": "e:f"}),
            r"C\:\\x": (["C:\\x"], {}),
            "a\\\nb:c": (["a\nb", "c"], {}),
        }
        for text, expected in forms.items():
            assert splitDescription(text) == expected

    def test_loneBackslashIsItself(self) -> None:
        """A backslash with nothing after it, which Twisted fails on, is itself."""
        assert splitDescription("unix:a\\") == (["unix", "a\\"], {})
        assert splitDescription("unix:a=\\\\\\") == (["unix"], {"a": "\\\\"})

    @settings(max_examples=examples(5000))
    @given(TEXTS)
    def test_anyTextMeansTwistedsMeaning(self, text: str) -> None:
        """Any text means what it means for Twisted, if it means anything there."""
        values, named = splitDescription(text)
        try:
            expected = _parse(text)
        except (RuntimeError, UnicodeEncodeError):  # a lone backslash, and names that aren't ASCII
            return
        assert (values, named) == expected

    @given(st.lists(st.text(), min_size=1), st.text().filter(lambda name: "=" not in name), st.text())
    def test_quotedTextIsUnquoted(self, texts: list[str], name: str, value: str) -> None:
        """A text that `quoteStringArgument` quoted comes out as it was; an `=` may need a backslash, too."""
        values = [quoteStringArgument(text).replace("=", r"\=") for text in texts]
        description = ":".join([*values, f"{quoteStringArgument(name)}={quoteStringArgument(value)}"])
        assert splitDescription(description) == (texts, {name: value})


class ApplyToTests(SynchronousTestCase):
    """`applyTo` calls a function with the fields of a description, or names the field that doesn't fit."""

    def add(self, first: str, second: str = "2", *, third: str = "3") -> str:
        """Return what was given."""
        return first + second + third

    def test_fieldsAreArguments(self) -> None:
        """Values are the first arguments, and the others go by their names."""
        assert applyTo(self.add, ["a"], {"third": "c"}) == "a2c"
        assert applyTo(self.add, ["a"], {"second": "b"}) == "ab3"

    def test_mistakeIsNamed(self) -> None:
        """A field that is unknown, repeated, missing or too much is named in a ValueError."""
        for values, named, message in (
            ([], {}, "first is missing"),
            (["a"], {"fourth": "d"}, "unknown field fourth"),
            (["a"], {"first": "d"}, "first is given twice"),
            (["a", "b", "c"], {}, "too many values"),
        ):
            assert str(raised(ValueError, applyTo, self.add, values, named)) == message

    def test_mistakeOfOpenEndedFunction(self) -> None:
        """The names of a function's own `*` and `**` arguments are no fields."""

        def join(*values: str, end: str) -> str:
            return "".join(values) + end

        assert applyTo(join, ["a", "b"], {"end": "c"}) == "abc"
        for named, message in (({}, "end is missing"), ({"end": "c", "values": "d"}, "unknown field values")):
            assert str(raised(ValueError, applyTo, join, ["a"], named)) == message


class SocketPathTests(SynchronousTestCase):
    """`socketPath` tells files from abstract names, and refuses what doesn't fit into a socket's address."""

    def test_atSignIsAbstract(self) -> None:
        """`@` at the beginning stands for the NUL of an abstract name; a file of that name has its folder before it."""
        for text, path in (("/run/x", "/run/x"), ("@x", "\0x"), ("@@/x y", "\0@/x y"), ("./@x", "./@x"), ("x@", "x@")):
            assert socketPath(text) == path

    def test_lengthIsTheSystems(self) -> None:
        """The longest path and the longest name fit exactly, in bytes; more, and nothing, is refused."""
        for prefix, nothing in (("", "the path is missing"), ("@", "the name is missing")):
            with socket.socket(socket.AF_UNIX) as longest:
                error = raised(OSError, longest.connect, socketPath(prefix + "é" * 53 + "x"))
                assert error is not None
                assert error.errno in (ENOENT, ECONNREFUSED)
            assert str(raised(ValueError, socketPath, prefix)) == nothing
            message = "longer than the 107 bytes that a Unix socket takes"
            assert str(raised(ValueError, socketPath, prefix + "é" * 54)) == message


class ParsingTests(SynchronousTestCase):
    """The message about a field names the description, and the number that can't be read."""

    def test_description(self) -> None:
        """`parsing` adds the description and its kind."""
        parse = parsing("ssl:x", "ssl")(wholeNumber)
        assert str(raised(ValueError, parse, "x")) == "'ssl:x' is not a valid ssl endpoint: 'x' is not a whole number"

    def test_wholeNumbers(self) -> None:
        """`wholeNumber` takes the digits of a number that the system's calls can take, and a sign."""
        assert [wholeNumber(text) for text in ("0", "-1", "007", "999999999")] == [0, -1, 7, 999999999]
        for text in ("", "-", "+1", "1.5", "1_000", " 1", "²", "1000000000"):
            assert str(raised(ValueError, wholeNumber, text)) == f"{text!r} is not a whole number"
