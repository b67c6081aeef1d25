"""The command: `python -m benchmarks`."""

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.chart import draw
from benchmarks.load import LoadError, compileLoad
from benchmarks.machine import cores, describeMachine, inWords
from benchmarks.measure import Bench, Record, measureAll, raiseDescriptorLimit, startable
from benchmarks.peer import Peer, peers
from benchmarks.process import adoptingOrphans
from benchmarks.report import reportOf
from benchmarks.scenario import MIB, SCENARIOS, Scenario, smaller

QUICK_CONNECTIONS = 200
QUICK_SIZE = 16 * MIB
QUICK_SECONDS = 0.2


@click.command()
@click.option("--rounds", default=5, type=click.IntRange(1), show_default=True, help="How often all is measured.")
@click.option("--seconds", default=1.0, type=click.FloatRange(0.01), show_default=True, help="For each measurement.")
@click.option(
    "--peer",
    "peerNames",
    multiple=True,
    type=click.Choice([peer.name for peer in peers(Path())]),
    help="Only this server. Repeatable.",
)
@click.option(
    "--scenario",
    "scenarioNames",
    multiple=True,
    type=click.Choice([scenario.name for scenario in SCENARIOS]),
    help="Only this load. Repeatable.",
)
@click.option("--quick", is_flag=True, help="Only see that all of it works: once, for a moment, with little load.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the results go, as JSON, Markdown and SVG; by default a complete run's go to benchmarks/.",
)
def main(
    rounds: int,
    seconds: float,
    peerNames: tuple[str, ...],
    scenarioNames: tuple[str, ...],
    quick: bool,
    output: Path | None,
) -> None:
    """Measure echoup beside other servers; docs/benchmarks.md says how.

    It takes half an hour or so; what is left out, and what has been measured, is said on stderr.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the servers end with this process
    if not (output or quick or peerNames or scenarioNames):
        output = Path(__file__).parent
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in scenarioNames or not scenarioNames]
    if quick:
        rounds, seconds = 1, QUICK_SECONDS
        scenarios = [smaller(scenario, QUICK_CONNECTIONS, QUICK_SIZE) for scenario in scenarios]
    scenarios = fitting(scenarios)
    with TemporaryDirectory(prefix="benchmarks-") as name, adoptingOrphans():
        folder = Path(name)
        try:
            bench = Bench(compileLoad(folder), folder, seconds, *cores())
        except LoadError as error:
            complain(str(error))
            sys.exit(2)
        wanted = [peer for peer in peers(folder) if peer.name in peerNames or not peerNames]
        records = measureAll(bench, startableOf(bench, wanted), scenarios, rounds, tell)
    machine = describeMachine()
    tables = reportOf(records, wanted, scenarios)
    report = f"{inWords(machine)} Medians of {rounds}, {seconds:g} s each.\n\n{tables}"
    click.echo(report)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / "results.md").write_text(report)
        settings = {"rounds": rounds, "seconds": seconds, "scenarios": [asdict(scenario) for scenario in scenarios]}
        results = {"machine": machine, **settings, "records": [asdict(record) for record in records]}
        (output / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        try:
            draw(records, wanted, scenarios, output / "results.svg")
        except ImportError as error:
            complain(f"nothing is drawn: {error}")


def complain(message: str) -> None:
    """Print what is wrong, in one line on stderr."""
    click.echo(f"benchmarks: {message}", err=True)


def tell(record: Record) -> None:
    """Print one line about a measurement on stderr."""
    figures = record.figures
    said = f"failed, {record.error}" if figures is None else f"{figures.cpu:.1f} µs, {figures.rate:.0f}/s"
    click.echo(f"round {record.round}, {record.scenario}, {record.peer}: {said}", err=True)


def fitting(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Return the scenarios with as many connections as this system admits, and complain where these are fewer."""
    room = raiseDescriptorLimit()
    for scenario in scenarios:
        if scenario.connections > room:
            complain(f"{scenario.name} has {room} connections: so many files may a process open here (ulimit -Hn)")
    return [smaller(scenario, room, scenario.size) for scenario in scenarios]


def startableOf(bench: Bench, wanted: Sequence[Peer]) -> list[Peer]:
    """Return the peers that can be built and started here, and complain about the others."""
    reasons = {peer.name: startable(bench, peer) for peer in wanted}
    for peer in wanted:
        if reasons[peer.name]:
            complain(f"{peer.title} is left out: {reasons[peer.name]}")
    return [peer for peer in wanted if not reasons[peer.name]]


main()
