"""Words and tables of the texts that the pipeline writes."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def table(columns: list[str], rows: Iterable[list[str]], text: int = 1) -> str:
    """A pipe table.

    Args:
        text: columns at the left that are aligned to the left; the others are numbers.
    """

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"

    rule = line(["---"] * text + ["---:"] * (len(columns) - text))
    return "\n".join([line(columns), rule, *map(line, rows)])


def joined(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def counted(found: list[str], of: int, what: str) -> str:
    """How many of so many, and which unless all: `2 of 4 levels (50 %, 70 %)`, `none of 4 levels`."""
    several = what if of == 1 else f"{what}s"
    if not found:
        return f"none of {of} {several}"
    return f"{len(found)} of {of} {several}" + (f" ({', '.join(found)})" if len(found) < of else "")


def points(value: float, low: float, high: float) -> str:
    """A share and its interval in points of 100."""
    first, *interval = (f"{round(100 * number, 1) + 0.0:.1f}" for number in (value, low, high))  # no negative zero
    return "-" if pd.isna(value) else f"{first} [{', '.join(interval)}]"
