"""Options that several of the programs have."""

from collections.abc import Callable
from typing import Any

import click

roundsOption: Callable[[Any], Any] = click.option(
    "--rounds", default=5, type=click.IntRange(1), show_default=True, metavar="COUNT", help="Measure COUNT rounds."
)


def secondsOption(default: float, subject: str) -> Callable[[Any], Any]:
    """Return the option for the SECONDS in which each `subject` is measured."""
    return click.option(
        "--seconds",
        default=default,
        type=click.FloatRange(0.01),
        show_default=True,
        metavar="SECONDS",
        help=f"Measure {subject} for SECONDS.",
    )
