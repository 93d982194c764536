"""A report of simulated results, for the tests of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import report
from junkdna import tables
from junkdna.files import write_json
from junkdna.outcomes import read_outcomes
from junkdna.tidy import write_csv
from support import PROJECT
from unit.simulated import options_plan, write_cells

LEVELS = ("0.30", "0.50", "0.70")
TEXTS = '{"captions": {"choices": "More options, more loss."}, "claims": {"choices": ["C1"]}, "options": []}'


def probability(cell: dict[str, Any], variant: str) -> float:
    if cell["control"]:
        return 0.5 if variant == "two" else 0.125
    return 0.95 - cell["sparsity"] * (0.3 if variant == "two" else 0.7)


def simulated(root: Path, **changes: Any) -> dict[str, Any]:
    """Write cells, provenance, plan and tables of one experiment below ``root`` and return its plan."""
    plan = options_plan(root, LEVELS, **changes)
    plan["methods"]["random"] = {"label": "Random"}
    plan["experiment"]["methods"]["random"] = list(LEVELS)
    more = [cell for cell in plan["cells"] if cell["method"] == "magnitude"]
    plan["cells"] += [cell | {"method": "random", "path": cell["path"].replace("magnitude", "random")} for cell in more]
    write_cells(plan, probability, examples=80)
    for number, cell in enumerate(plan["cells"]):
        write_json(
            Path(cell["path"]) / "provenance.json",
            {
                **{"git_commit": "0123456789abcdef", "device": "cpu (x86_64)", "threads": "1"},
                **{"versions": {"torch": "2.13.0"}, "seconds": 1.5 + number, "peak_memory_mb": 480.0},
            },
        )
    outcomes = read_outcomes(plan)
    table = tables.points(plan, outcomes)
    write_json(root / "plan.json", plan)
    write_csv(root / "choices.csv", table)
    write_csv(root / "choices_contrasts.csv", tables.contrasts(plan, outcomes, table))
    return plan


def write_page(root: Path, *more: str, texts: str = TEXTS) -> Path:
    """Run the script on what :func:`simulated` wrote; further CSV files in ``root`` are shown too."""
    page = root / "index.html"
    arguments = ["--plans", str(root / "plan.json"), "--tables", *map(str, sorted(root.glob("*.csv")))]
    template = PROJECT / "workflow/report/page/index.html"
    report.main([*arguments, "--texts", texts, "--template", str(template), "--output", str(page), *more])
    return page
