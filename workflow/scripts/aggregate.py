"""Gather the evaluated cells of an experiment into its tables."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from junkdna import against_dense, curve_measures, drops, tables, trends, wide
from junkdna.beside import beside
from junkdna.gathering import gather
from junkdna.logs import run
from junkdna.tidy import read_plan, write_csv

logger = logging.getLogger("junkdna.aggregate")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="plan of the experiment")
    parser.add_argument("--table", type=Path, required=True, help="tidy table to write, one row per point")
    parser.add_argument("--contrasts", type=Path, required=True, help="table of drop differences to write")
    parser.add_argument("--curves", type=Path, required=True, help="table of curves to write")
    parser.add_argument("--against-dense", type=Path, required=True, help="table of points against dense to write")
    parser.add_argument("--trends", type=Path, required=True, help="table of trend tests to write")
    parser.add_argument("--drops", type=Path, required=True, help="drops by seed and bootstrap draw to write, parquet")
    parser.add_argument("--markdown", type=Path, required=True, help="readable table to write")
    parser.add_argument("--latex", type=Path, required=True, help="the same for LaTeX with booktabs")
    parser.add_argument("--threads", type=int, default=1, help="processes that share the work")
    return parser.parse_args(argv)


def summarise(*of: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of curves and of trends."""
    return curve_measures.measure(*of[:3]), trends.trends(*of)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    plan = read_plan(args.plan)
    experiment = plan["experiment"]
    outcomes, compared = gather(plan, args.threads)
    table = tables.points(plan, outcomes)
    measured = drops.drops(plan, outcomes)
    summaries = beside(args.threads, summarise, plan, outcomes, table, measured)
    contrasts = tables.contrasts(plan, outcomes, table)
    readable = wide.wide(experiment, table, plan["methods"])
    wide.write_markdown(args.markdown, experiment, readable, wide.left_out(table))
    wide.write_latex(args.latex, experiment, readable, wide.left_out(table))
    write_csv(args.contrasts, contrasts)
    write_csv(args.against_dense, against_dense.table(table, compared))
    drops.write(args.drops, measured)
    for path, summary in zip((args.curves, args.trends), summaries(), strict=True):
        write_csv(path, summary)
    write_csv(args.table, table)
    logger.info("%s: %d points, %d contrasts", experiment["name"], len(table), len(contrasts))


if __name__ == "__main__":
    run(main)
