"""The limits, times and sizes in the sentences of the documents are those of the code."""

import re
from collections.abc import Mapping, Sequence
from math import nan

from twisted.trial.unittest import SynchronousTestCase

from echoup import clock, escaping
from echoup.client import datagram as datagrams
from echoup.client import protocol, standardio
from echoup.client.cli import cli
from echoup.client.connect.race import ATTEMPT_DELAY
from echoup.client.conversation import history, pipe
from echoup.client.ping import datagram as pings
from echoup.client.ping import session
from echoup.client.target.stream import PORT
from echoup.server import connections, drain, occupancy, settings
from echoup.server.datagram import port, reflection
from echoup.server.listening.listeners import BACKLOG
from echoup.server.log import logqueue
from echoup.server.status import channel, requesthead
from echoup.server.workers import supervisor
from tests.support.documents import Document, locate, readDocuments

NUMBER = r"([0-9]+(?:[ ,][0-9]{3})*(?:\.[0-9]+)?)"

KIB, MIB = 2**10, 2**20

DOCKERFILE, DEPLOYMENT = "docker/Dockerfile", "docker/kubernetes/deployment.yaml"
AUTOSCALER = "docker/kubernetes/horizontalpodautoscaler.yaml"


def inFile(path: str, pattern: str) -> float:
    """Return the only number in a file of the checkout that a pattern finds, or NaN."""
    found = [float(number) for number in re.findall(pattern, locate(path).read_text())]
    return found[0] if len(found) == 1 else nan


def defaultOf(command: str, option: str) -> float:
    """Return the default of an option of the client, in seconds."""
    (found,) = (each.default for each in cli.commands[command].params if option in each.opts)
    return float(str(found).removesuffix("s"))


def statements() -> list[tuple[str, str, float]]:
    """Return what pages say, with # for a number, and that number: each must be found, so that none is forgotten."""
    return [
        ("README.md", "user #", inFile(DOCKERFILE, r"USER (\d+):")),
        ("README.md", "python:#-slim", inFile(DOCKERFILE, r"FROM python:([0-9.]+)-slim\n")),
        ("README.md", "Python # or newer", inFile("pyproject.toml", r'requires-python = ">=([0-9.]+)"')),
        ("CONTRIBUTING.md", "Python # or newer", inFile("pyproject.toml", r'requires-python = ">=([0-9.]+)"')),
        ("SECURITY.md", "serves # connections", settings.Limits.maxConnections),
        ("docs/client.md", "the default port is #", PORT),
        ("docs/client.md", r"this long \(default # s\)", defaultOf("connect", "--timeout")),
        ("docs/client.md", r"this time \(default # s\)", defaultOf("ping", "--timeout")),
        ("docs/client.md", "at most # KiB", history.LIMIT / KIB),
        ("docs/transports.md", "0 to # bytes", pings.MAXIMUM),
        ("docs/transports.md", "IPv6,? #", pings.MAXIMUM + 20),  # the length of IPv6 leaves out its own header
        ("docs/transports.md", "# datagrams a second", settings.Limits.udpRate),
        ("docs/transports.md", "# at once", settings.Limits.udpRate * reflection.BURST),
        ("docs/transports.md", "the latest #", reflection.REPLIES),
        ("docs/transports.md", "receive buffer is # MiB", port.RECEIVE_BUFFER / MIB),
        ("docs/transports.md", "up to # bytes in a datagram", datagrams.PIECE),
        ("docs/transports.md", "silent for # ms", ATTEMPT_DELAY * 1000),
        ("docs/transports.md", r"backlog \|[^|]*?#", BACKLOG),
        ("docs/promises.md", "# datagrams, or", port.DATAGRAMS_PER_TURN),
        ("docs/promises.md", "datagrams, or # KiB", port.BYTES_PER_TURN / KIB),
        ("docs/promises.md", "queue holds up to # more", BACKLOG),
        ("docs/promises.md", "select reactor the limit is at most # connections", settings.SELECT_MAXIMUM),
        ("docs/promises.md", "at most # KiB ahead", pipe.AHEAD * standardio.PIECE / KIB),
        ("docs/promises.md", "while # MiB are in flight", pipe.WINDOW / MIB),
        ("docs/promises.md", "pause of the daemon of more than # s", clock.LONGEST),
        ("docs/promises.md", "has moved for # s", connections.QUIET),
        ("docs/promises.md", r"\| # T \|", drain.FINISH_ALL),
        ("docs/promises.md", "at least # s, at most T/2", drain.LAST_CALL),
        ("docs/promises.md", "default of # s", settings.Limits.stallTimeout),
        ("docs/metrics.md", "visited # at a time", connections.SLICE),
        ("docs/metrics.md", "at least every # s", settings.Limits().tick),
        ("docs/status.md", "taken for # s", occupancy.PATIENCE),
        ("docs/status.md", "complete within # s", channel.REQUEST_TIMEOUT),
        ("docs/status.md", "over within # s", channel.TIMEOUT),
        ("docs/status.md", "At most # connections", channel.MOST),
        ("docs/status.md", "more than # KiB", requesthead.MOST_BYTES / KIB),
        ("docs/status.md", "# header fields", requesthead.MOST_FIELDS),
        ("docs/operating.md", "still runs # s after --drain-timeout", supervisor.GRACE),
        ("docs/operating.md", "# MiB of lines", logqueue.BOUND / MIB),
        ("docs/operating.md", "# ms after it was logged", logqueue.GATHERING * 1000),
        ("docs/operating.md", "at most # bytes", escaping.LONGEST),
        ("docs/operating.md", "deaths, # s", supervisor.DELAYS[1]),
        ("docs/ping.md", "over UDP at most #", pings.MAXIMUM),
        ("docs/ping.md", "At most # are under way", session.MAXIMUM),
        ("docs/ping.md", "after # ms", ATTEMPT_DELAY * 1000),
        ("docs/ping.md", "within # ms", ATTEMPT_DELAY * 1000),
        ("docs/ping.md", "for the last # probes", pings.REMEMBERED),
        ("docs/ping.md", "pause of more than # s", clock.LONGEST),
        ("docs/ping.md", "takes # times", inFile("docs/benchmarks.md", r"\bratios\b[^:]*: ([0-9.]+[0-9])")),
        ("docs/library.md", "nothing for # s", protocol.TIMEOUT),
        ("docs/benchmarks.md", "acts on # connections", connections.SLICE),
        ("docs/deploying.md", r"up to # s; docker's default", settings.Plan.drainTimeout),
        ("docs/deploying.md", r"as user #", inFile(DOCKERFILE, r"USER (\d+):")),
        (
            "docs/deploying.md",
            r"serving for # s \(ECHOUP_READY_DELAY\): new",
            inFile(DEPLOYMENT, r'READY_DELAY\n +value: "(\d+)"'),
        ),
        (
            "docs/deploying.md",
            r"serving for # s \(ECHOUP_READY_DELAY\)\. h",
            inFile("docker/compose.yaml", r'READY_DELAY: "(\d+)"'),
        ),
        (
            "docs/deploying.md",
            r"After # s \(terminationGracePeriodSeconds\)",
            inFile(DEPLOYMENT, r"GracePeriodSeconds: (\d+)"),
        ),
        (
            "docs/deploying.md",
            "each every # s whether it is ready",
            inFile("docker/haproxy.cfg", r"check port \d+ inter (\d+)s "),
        ),
        (
            "docs/deploying.md",
            r"up to # (?:replicas|of them)",
            inFile("docker/haproxy.cfg", r"-template echoup (\d+) "),
        ),
        ("docs/deploying.md", r"\| # to \d+ replicas", inFile(AUTOSCALER, r"minReplicas: (\d+)")),
        ("docs/deploying.md", r"\| \d+ to # replicas", inFile(AUTOSCALER, r"maxReplicas: (\d+)")),
        ("docs/deploying.md", "Kubernetes # or newer", inFile("tests/image/test_written.py", r'"-k", "([0-9.]+)"')),
        ("docs/deploying.md", "available # s later", inFile(DEPLOYMENT, r"minReadySeconds: (\d+)")),
        ("docs/deploying.md", "has # s to drain", inFile(DEPLOYMENT, r'ECHOUP_DRAIN_TIMEOUT\n +value: "(\d+)"')),
    ]


def findWrongNumbers(pages: Mapping[str, Document], numbers: Sequence[tuple[str, str, float]]) -> list[str]:
    """Return the numbers that are others on their page, and those that are not on it."""
    wrong = []
    for name, pattern, value in numbers:
        text = re.sub(r"[`*]", "", re.sub(r"\s+", " ", pages[name].text if name in pages else ""))
        found = re.findall(pattern.replace("#", NUMBER), text)
        said = [each for each in found if float(re.sub("[ ,]", "", each)) != value]
        if said or not found:
            wrong.append(f"{name}: {pattern}: {', '.join(said) or 'nothing'} instead of {value:g}")
    return wrong


class NumberTests(SynchronousTestCase):
    """The numbers in the documents."""

    def test_numbersAreTheConstants(self) -> None:
        """The limits, times and sizes in sentences are those of the code."""
        assert findWrongNumbers(readDocuments(), statements()) == []

    def test_wrongNumberIsFound(self) -> None:
        """A number that is another one, or that isn't stated any more, is found; thousands may be apart."""
        page = {"x": Document("x", "a limit of `10 000`\nor 10,000 or\n**10000** things, 5 s")}
        assert findWrongNumbers(page, [("x", "of #", 10000), ("x", "or # things", 10000), ("x", "# s", 5.0)]) == []
        assert findWrongNumbers(page, [("x", "or #", 9000)]) == ["x: or #: 10,000, 10000 instead of 9000"]
        assert findWrongNumbers(page, [("x", "of # things", 1)]) == ["x: of # things: nothing instead of 1"]
