"""The command: `python -m benchmarks`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.certificate import makeCertificate
from benchmarks.load import LoadError, compileLoad
from benchmarks.machine import cores, describeMachine
from benchmarks.measure import Bench, Record, measureAll, raiseDescriptorLimit, startable
from benchmarks.options import roundsOption, secondsOption
from benchmarks.peer import CERTIFICATE, Peer, peers
from benchmarks.process import endingChildren
from benchmarks.results import FOLDER, PAGE, Results, insert
from benchmarks.scenario import MIB, SCENARIOS, Scenario, smaller

QUICK_CONNECTIONS = 200
QUICK_SIZE = 16 * MIB
QUICK_SECONDS = 0.2

PEERS = [peer.name for peer in peers(Path())]
LOADS = [scenario.name for scenario in SCENARIOS]


@click.command()
@roundsOption
@secondsOption(1.0, "each server")
@click.option(
    "--peer",
    "peerNames",
    multiple=True,
    type=click.Choice(PEERS),
    metavar="NAME",
    help=f"Measure only the server NAME; repeatable. One of {', '.join(PEERS)}.",
)
@click.option(
    "--scenario",
    "scenarioNames",
    multiple=True,
    type=click.Choice(LOADS),
    metavar="NAME",
    help=f"Measure only under the load NAME; repeatable. One of {', '.join(LOADS)}.",
)
@click.option("--quick", is_flag=True, help="Test the benchmarks: measure one short round with little load.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the results into DIRECTORY. Without it, only a complete run saves them, in benchmarks/.",
)
def main(
    rounds: int,
    seconds: float,
    peerNames: tuple[str, ...],
    scenarioNames: tuple[str, ...],
    quick: bool,
    output: Path | None,
) -> None:
    """Measure echoup and other servers side by side, as docs/benchmarks.md explains.

    A complete run takes about half an hour. Progress goes to stderr, as does the reason for what is left out.
    """
    isComplete = not (output or quick or peerNames or scenarioNames)
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in scenarioNames or not scenarioNames]
    if quick:
        rounds, seconds = 1, QUICK_SECONDS
        scenarios = [smaller(scenario, QUICK_CONNECTIONS, QUICK_SIZE) for scenario in scenarios]
    scenarios = fitting(scenarios)
    with TemporaryDirectory(prefix="benchmarks-") as name, endingChildren():
        folder = Path(name)
        bench = Bench(compileLoads(folder, scenarios), folder, seconds, *cores())
        scenarios = [scenario for scenario in scenarios if scenario.transport in bench.loads]
        if "tls" in bench.loads:
            makeCertificate(folder / CERTIFICATE)
        wanted = [peer for peer in peers(folder) if peer.name in peerNames or not peerNames]
        wanted = [peer for peer in wanted if any(map(peer.isFor, scenarios))]
        records = measureAll(bench, startableOf(bench, wanted), scenarios, rounds, tell)
    results = Results(describeMachine(), rounds, seconds, tuple(scenarios), tuple(records))
    click.echo(results.report(wanted))
    if output or isComplete:
        results.save(wanted, output or FOLDER)
        if missing := results.draw(wanted, output or FOLDER):
            complain(missing)
    if isComplete:
        PAGE.write_text(insert(PAGE.read_text(), results.excerpt(wanted)))


def compileLoads(folder: Path, scenarios: Sequence[Scenario]) -> dict[str, str]:
    """Return the load of each transport of the scenarios; exit without a C compiler, and leave out TLS without Go."""
    loads = {}
    for transport in sorted({scenario.transport for scenario in scenarios}):
        try:
            loads[transport] = compileLoad(folder, transport)
        except LoadError as error:
            if transport != "tls":
                complain(str(error))
                sys.exit(2)
            complain(f"leaving out TLS: {error}")
    return loads


def complain(message: str) -> None:
    """Print a problem as one line on stderr."""
    click.echo(f"benchmarks: {message}", err=True)


def tell(record: Record) -> None:
    """Print a measurement as one line on stderr."""
    figures = record.figures
    said = f"failed, {record.error}" if figures is None else f"{figures.cpu:.1f} µs, {figures.rate:.0f}/s"
    click.echo(f"round {record.round}, {record.scenario}, {record.peer}: {said}", err=True)


def fitting(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Return the scenarios, reduced to the number of connections that this system admits, with a message for each."""
    room = raiseDescriptorLimit()
    for scenario in scenarios:
        if scenario.connections > room:
            complain(f"{scenario.name}: reduced to {room} connections by the limit of open files (ulimit -Hn)")
    return [smaller(scenario, room, scenario.size) for scenario in scenarios]


def startableOf(bench: Bench, wanted: Sequence[Peer]) -> list[Peer]:
    """Return the peers that can be built and started here, with a message for each of the others."""
    reasons = {peer.name: startable(bench, peer) for peer in wanted}
    for peer in wanted:
        if reasons[peer.name]:
            complain(f"leaving out {peer.title}: {reasons[peer.name]}")
    return [peer for peer in wanted if not reasons[peer.name]]


main()
