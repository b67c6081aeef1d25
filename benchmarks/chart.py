"""The bar chart of the two most important scenarios."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Record
from benchmarks.peer import Peer
from benchmarks.scenario import Scenario
from benchmarks.targets import ratioOf

SHOWN = ("64b-100", "64k-8")
"""The scenarios in the chart."""

GREY = "#7d8590"
"""The colour of text. It is readable on white and on black, so the chart needs no background."""


def draw(records: Sequence[Record], peers: Sequence[Peer], scenarios: Sequence[Scenario], path: Path) -> bool:
    """Draw the CPU time of each server, relative to C, as an SVG; return whether there was anything to draw.

    Raises ImportError without matplotlib.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = []
    for scenario in scenarios:
        byTitle = {
            peer.title: (ratio, peer.name.startswith("echoup"))
            for peer in peers
            if not peer.everywhere and (ratio := ratioOf(records, scenario.name, peer.name, "cpu", scenario.baseline))
        }
        if scenario.name in SHOWN and byTitle:
            panels.append((scenario.title, sorted(byTitle.items(), key=lambda item: item[1], reverse=True)))
    if not panels:
        return False
    with mpl.rc_context({"svg.hashsalt": "echoup", "font.size": 10, "text.color": GREY, "axes.edgecolor": GREY}):
        bars = [len(ratios) for _, ratios in panels]
        figure = Figure(figsize=(8, 0.27 * sum(bars) + 0.8 * len(panels)), layout="constrained")
        grid = figure.subplots(len(panels), squeeze=False, height_ratios=bars)
        for axes, (title, ratios) in zip(grid[:, 0], panels, strict=True):
            names = [name for name, _ in ratios]
            colours = ["#1b9e77" if own else "#8da0cb" for _, (_, own) in ratios]
            drawn = axes.barh(names, [ratio for _, (ratio, _) in ratios], color=colours, height=0.7)
            axes.bar_label(drawn, fmt="%.2f", padding=4, color=GREY)
            axes.set_title(f"{title}: server CPU time per message, C = 1", loc="left", fontsize=11)
            axes.tick_params(colors=GREY, length=0)
            axes.xaxis.set_visible(False)
            axes.spines[["top", "right", "bottom"]].set_visible(False)
            axes.margins(x=0.08, y=0.01)
        figure.savefig(path, transparent=True, metadata={"Date": None})
    return True
