"""Format the records as Markdown tables that are aligned, so that they are readable as text too."""

from collections.abc import Sequence

from benchmarks.measure import Record
from benchmarks.peer import Peer
from benchmarks.scenario import Scenario, inThousands
from benchmarks.targets import TARGETS, measured, medianOf, ratioOf

MISSING = "–"


def reportOf(records: Sequence[Record], peers: Sequence[Peer], scenarios: Sequence[Scenario]) -> str:
    """Return all tables: one for each scenario, then the targets."""
    parts = [part for scenario in scenarios for part in scenarioReport(records, peers, scenario)]
    return "\n\n".join([*parts, "### Targets", targetTable(records, peers, scenarios)]) + "\n"


def scenarioReport(records: Sequence[Record], peers: Sequence[Peer], scenario: Scenario) -> list[str]:
    """Return a scenario's title, its table (best server first), and a list of its failures."""
    titles = {peer.name: peer.title for peer in peers}
    errors = [record for record in records if record.scenario == scenario.name and record.error]
    measuredHere = {record.peer for record in records if record.scenario == scenario.name}
    first = "memory" if scenario.mode == "idle" else "cpu"
    order = {name: value for name in titles if (value := medianOf(records, scenario.name, name, first)) is not None}
    names = [*sorted(order, key=lambda name: order[name]), *sorted(measuredHere - order.keys())]
    columns = columnsOf(records, scenario)
    rows = [[titles[name], *(cellOf(records, scenario, name, column) for column in columns)] for name in names]
    failures = [f"- round {record.round}, {titles[record.peer]}: failed, {record.error}" for record in errors]
    table = layout(["server", *columns.values()], rows)
    return [f"### {scenario.title}", table, *(["\n".join(failures)] if failures else [])]


def columnsOf(records: Sequence[Record], scenario: Scenario) -> dict[str, str]:
    """Return the fields of `Figures` in a scenario's table with their headings; `ratio` is CPU to the baseline's."""
    if scenario.mode == "idle":
        return {"memory": "RSS, KiB/connection"}
    columns = {
        "cpu": f"CPU, µs/{scenario.unit}",
        "ratio": f"× {scenario.baseline.title()}",
        "rate": f"{scenario.unit}s/s",
        "throughput": "MB/s",
    }
    if scenario.unit == "MiB":
        return {name: head for name, head in columns.items() if name != "rate"}
    if scenario.unit == "connection":
        del columns["throughput"]
    columns |= {"p50": "p50, µs", "p99": "p99, µs", "p999": "p99.9, µs"}
    if any(record.figures and record.figures.share for record in records if record.scenario == scenario.name):
        columns["share"] = "busiest process"
    return columns


def cellOf(records: Sequence[Record], scenario: Scenario, peer: str, column: str) -> str:
    """Return the text of a cell: the median over the rounds, or a dash."""
    if column == "ratio":
        value = ratioOf(records, scenario.name, peer, "cpu", scenario.baseline)
    else:
        value = medianOf(records, scenario.name, peer, column)
    if value is None:
        return MISSING
    if column == "share":
        return f"{value:.0%}"
    if column in {"ratio", "memory"}:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 1000 else inThousands(value)


def targetTable(records: Sequence[Record], peers: Sequence[Peer], scenarios: Sequence[Scenario]) -> str:
    """Return the table of targets that concern these scenarios and peers."""
    titles = {peer.name: peer.title for peer in peers}
    kinds = {"cpu": "CPU", "rate": "messages/s", "memory": "KiB/connection", "share": "busiest process"}
    rows = []
    for target in TARGETS:
        for scenario in scenarios:
            if scenario.name == target.scenario and {target.peer, target.against} <= {*titles, ""}:
                value = measured(records, target)
                against = f" ÷ {titles[target.against]}" if target.against else ""
                bound = "" if target.limit is None else f"{'>' if target.least else '≤'} {target.limit:.2f}"
                what = f"{scenario.title}: {kinds[target.field]}, {titles[target.peer]}{against}"
                rows.append([what, MISSING if value is None else f"{value:.2f}", bound, target.judge(value)])
    return layout(["what", "measured", "target", ""], rows)


def layout(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; all columns but the first are aligned to the right."""
    first, *others = ([*column] for column in zip(heads, *rows, strict=True))
    width = max(map(len, first))
    widths = [max(map(len, column)) for column in others]
    lines = [
        f"| {row[0]:<{width}} | {' | '.join(f'{cell:>{size}}' for cell, size in zip(row[1:], widths, strict=True))} |"
        for row in [heads, *rows]
    ]
    rule = "|".join(["-" * (width + 2), *("-" * (size + 1) + ":" for size in widths)])
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])
