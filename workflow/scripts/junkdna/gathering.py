"""Outcomes of a whole plan and how they compare with dense models, read by several processes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from junkdna import against_dense, statistics
from junkdna.beside import beside
from junkdna.outcomes import Outcome, Point, in_order, read_lots

Gathered = tuple[dict[Point, Outcome], dict[Point, dict[str, float]]]


def gather(plan: dict[str, Any], processes: int = 1) -> Gathered:
    """Outcomes in the plan's order, with their replicates, and their measures against dense models.

    Args:
        processes: how many share the work, this one among them. What they send is a tenth of what they read.

    Raises:
        DataError: a file is missing, truncated, or does not hold what the plan says.
    """
    # The cells of one task and fraction need no others. Each part is read as it would be alone, so that sums are the
    # same to the last bit whoever forms them.
    parts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for cell in plan["cells"]:
        parts[cell["task"], cell["fraction"]].append(cell)
    plans = [plan | {"tasks": {t: plan["tasks"][t]}, "cells": cells} for (t, _), cells in parts.items()]
    others = [beside(processes, _gather, plans[number::processes]) for number in range(1, min(processes, len(plans)))]
    outcomes, compared = _gather(plans[::processes])
    for other in others:
        found = other()
        outcomes |= found[0]
        compared |= found[1]
    return in_order(plan, outcomes.items()), compared


def _gather(plans: list[dict[str, Any]]) -> Gathered:
    outcomes: dict[Point, Outcome] = {}
    compared: dict[Point, dict[str, float]] = {}
    for lot in (lot for plan in plans for lot in read_lots(plan)):
        outcomes |= lot
        statistics.draw(outcome.scores for outcome in lot.values())
        compared |= against_dense.compare(plans[0], outcomes, lot)
        for point in compared.keys() & lot.keys():
            lot[point].scores.forget()
    return outcomes, compared
