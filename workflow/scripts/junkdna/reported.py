"""The values that the paper reports (resources/reported), and which of them belong to which curve of an experiment.

Read while Snakemake parses the Snakefile, so nothing heavy is imported here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[3] / "resources/reported/reported.csv"
KEYS = ("figure", "panel", "series")


@cache
def read_reported() -> tuple[dict[str, Any], ...]:
    """The reported values of compressed models: {"figure", "panel", "series", "kind", "level", "value", "uncertainty",
    "occluded"}, value and uncertainty in percent of dense."""
    with FILE.open(encoding="utf-8", newline="") as handle:
        return tuple(_converted(row) for row in csv.DictReader(handle) if float(row["x"]) > 0)


def _converted(row: dict[str, str]) -> dict[str, Any]:
    value, uncertainty = float(row["value"]), float(row["uncertainty"])
    if row["value_unit"] == "relative_drop":
        # The change relative to the dense model, as a fraction: negative where performance falls.
        value, uncertainty = 100 * (1 + value), 100 * uncertainty
    unstructured = row["pattern"] == "unstructured"
    return {
        **{key: row[key] for key in KEYS},
        "kind": "sparsity" if unstructured else "nm",
        "level": f"{float(row['x']):.2f}" if unstructured else row["x_label"].replace(":", "of"),
        "value": round(value, 4),
        "uncertainty": round(uncertainty, 4),
        "occluded": row["occluded"] == "True",
    }


def matched(experiment: dict[str, Any]) -> list[dict[str, Any]]:
    """The reported values of an experiment, with the experiment's own labels of panel and series, and their source.

    A curve of the experiment has those that both its panel's and its series' `reported` select; none, if either is
    absent. Levels need not be levels of the experiment.
    """
    if not experiment["reported"]:
        return []
    return [
        {
            **{key: row[key] for key in ("kind", "level", "value", "uncertainty", "occluded")},
            "source": f"{row['figure']}: {row['panel']}, {row['series']}",
            "panel": panel["label"],
            "series": series["label"],
        }
        for panel in experiment["panels"]
        for series in experiment["series"]
        if panel["reported"] and series["reported"]
        for row in read_reported()
        if all(row[key] in _values(wanted) for part in (panel, series) for key, wanted in part["reported"].items())
    ]


def problems(experiment: dict[str, Any]) -> Iterable[str]:
    """What is wrong with the selectors of an experiment with `reported: true`, one line each."""
    if not experiment["reported"]:
        return
    if experiment["y"] != "percent_of_dense":
        yield f"reported: true needs y: percent_of_dense, which the paper reports, not {experiment['y']!r}"
    for kind in ("panels", "series"):
        for number, part in enumerate(experiment[kind]):
            for key, wanted in part["reported"].items():
                allowed = dict.fromkeys(row[key] for row in read_reported())
                for value in _values(wanted):
                    if value not in allowed:
                        yield f"{kind}.{number}.reported.{key}: {value!r}: allowed: {', '.join(allowed)}"
    seen: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in matched(experiment):
        if seen.setdefault((row["panel"], row["series"], row["level"]), row) is not row:
            yield (
                f"reported: panel {row['panel']!r}, series {row['series']!r}: several reported values at level "
                f"{row['level']}; select one by figure, panel and series"
            )
            return
    if not seen:
        yield "reported: true, but no pair of a panel and a series selects a reported value by `reported`"


def _values(wanted: str | list[str]) -> list[str]:
    return [wanted] if isinstance(wanted, str) else wanted
