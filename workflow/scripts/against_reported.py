"""Put the reported values beside ours, over all experiments that have them."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pandas as pd

from junkdna.comparison import COLUMNS, against_reported
from junkdna.logs import run
from junkdna.tidy import read_csv, read_plan, write_csv

logger = logging.getLogger("junkdna.against_reported")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=Path, nargs="*", required=True, help="plans of the experiments")
    parser.add_argument("--tables", type=Path, nargs="*", required=True, help="their tidy tables, in the same order")
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    parts = [pd.DataFrame(columns=COLUMNS)]
    for plan, table in zip(args.plans, args.tables, strict=True):
        parts.append(against_reported(read_plan(plan), read_csv(table)))
        logger.info("%s: %d points have a reported value", plan.stem, len(parts[-1]))
    write_csv(args.output, pd.concat([part for part in parts if len(part)] or parts))


if __name__ == "__main__":
    run(main)
