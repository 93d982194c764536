"""Our values beside the reported ones.

The interval of the difference is ours, widened at both ends by the uncertainty u of the reading:
[low - reported - u, high - reported + u]. Our interval is the table's: t over seeds, else bootstrap over examples.
u is a judged bound without a distribution, so it is added in full and not in quadrature: the interval keeps its 95 %
wherever within the bound the reported value lies. What other seeds of the paper would give is not in it, for the paper
reports no spread; a difference whose interval leaves out 0 may come from there.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from junkdna.curves import curves

OURS = {"percent_of_dense": "ours", "percent_ci_low": "ci_low", "percent_ci_high": "ci_high"}
POINT = ["model", "method", "transfer", "task", "variant", "fraction", "level", "sparsity"]
REPORTED = ["source", "reported", "uncertainty", "occluded"]
COLUMNS = ["experiment", "panel", "series", *POINT, "n_examples", "n_seeds", *REPORTED, *OURS.values()]
COLUMNS += ["difference", "difference_low", "difference_high"]


def against_reported(plan: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    """One row per point of an experiment with a reported value: both, and ours minus reported, in percent of dense.

    Args:
        plan: of the experiment.
        table: its tidy table.

    Returns:
        COLUMNS, in the order of panels, series and levels. Reported values at levels that were not run are left out.
    """
    if not plan["reported"]:
        return pd.DataFrame(columns=COLUMNS)
    reported = pd.DataFrame(plan["reported"]).rename(columns={"value": "reported"}).drop(columns="kind")
    ours = curves(plan["experiment"], table).drop(columns=["value", "ci_low", "ci_high"]).rename(columns=OURS)
    both = ours.merge(reported.astype({"occluded": int}), on=["panel", "series", "level"])
    both["difference"] = both["ours"] - both["reported"]
    both["difference_low"] = both["ci_low"] - both["reported"] - both["uncertainty"]
    both["difference_high"] = both["ci_high"] - both["reported"] + both["uncertainty"]
    return both[COLUMNS]
