"""Print how many seeds each claim would need to show an effect of interest, from the variances observed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from junkdna import power
from junkdna.logs import run
from junkdna.tidy import read_csv


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="claims.csv")
    parser.add_argument("--sets", type=Path, required=True, help="claims_sets.csv")
    parser.add_argument("--alpha", type=float, default=0.05, help="error of all claims together")
    parser.add_argument("--effect", type=float, help="wanted effect, 0.10 for 10 points; by default each claim's own")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    text = power.lines(read_csv(args.table), read_csv(args.sets), args.alpha, args.effect)
    sys.stdout.write("\n".join(text) + "\n")


if __name__ == "__main__":
    run(main)
