"""A client of the status site, and what a scrape of it says."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from socket import AF_INET, AF_INET6, AF_UNIX
from typing import Any, Self

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parseOpenMetrics
from prometheus_client.parser import text_string_to_metric_families as parseText

from tests.support.addresses import Address
from tests.support.daemon import Daemon
from tests.support.waiting import eventually

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
"""What a client accepts that wants OpenMetrics rather than Prometheus' text."""

_SITE = re.compile(r"status site on (?:unix:(\S+)|http://(?:\[(\S+)\]|([^\s:]+)):(\d+))\n")

Series = tuple[str, frozenset[tuple[str, str]]]
"""The name of a sample, and its labels."""


@dataclass(frozen=True)
class Answer:
    """The answer to a request."""

    code: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: str

    @property
    def data(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)


class Scrape:
    """The samples of one scrape."""

    def __init__(self, samples: dict[Series, float]) -> None:
        self.samples = samples

    @classmethod
    def of(cls, text: str, isOpen: bool = False) -> Self:
        """Parse the text of a scrape, in OpenMetrics if it `isOpen`; require that no series is there twice."""
        families = (parseOpenMetrics if isOpen else parseText)(text)
        samples = [sample for family in families for sample in family.samples]
        series = [(sample.name, frozenset(sample.labels.items())) for sample in samples]
        twice = [each for each, number in Counter(series).items() if number > 1]
        assert not twice, twice
        return cls({each: sample.value for each, sample in zip(series, samples, strict=True)})

    def __getitem__(self, name: str) -> float:
        """Return the value of a sample that has no label."""
        return self.samples[name, frozenset()]

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the sample with exactly these labels."""
        return self.samples[name, frozenset(labels.items())]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum over all samples that have these labels, and maybe more."""
        return sum(value for (found, each), value in self.samples.items() if found == name and labels.items() <= each)

    def counts(self, names: Iterable[str]) -> "Counter[Series]":
        """Return the samples of these names that aren't 0."""
        return Counter({series: int(value) for series, value in self.samples.items() if series[0] in names and value})


@dataclass(frozen=True)
class StatusSite:
    """The status site of a daemon, seen from outside."""

    address: Address
    host: str = "localhost"
    """The name under which it is asked."""
    timeout: float = 30.0

    @classmethod
    def of(cls, daemon: Daemon) -> Self:
        """Return the site whose address the log of a daemon names."""
        ((path, v6, host, port),) = eventually(lambda: _SITE.findall(daemon.text))
        if path:
            return cls(Address(AF_UNIX, path))
        return cls(Address(AF_INET6, (v6, int(port))) if v6 else Address(AF_INET, (host, int(port))))

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Send one request over a connection of its own; an underscore in the name of a header is a hyphen."""
        given = {"Host": self.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value), "", ""]
        with self.address.connect(self.timeout) as connection:
            connection.sendall("\r\n".join(lines).encode())
            with HTTPResponse(connection, method=method) as response:
                response.begin()
                body = response.read().decode()
                fields = {name.lower(): value for name, value in response.getheaders()}
                assert connection.recv(1) == b"", "there is something after the answer"
        return Answer(response.status, fields, body)

    def scrape(self) -> Scrape:
        """Return all metrics."""
        answer = self.ask("/metrics")
        assert answer.code == 200, answer
        return Scrape.of(answer.body)

    @property
    def isReady(self) -> bool:
        """Whether the daemon says that it is ready."""
        return self.ask("/readyz").code == 200
