"""Score the difficulty of every series of the configured experiments."""

from __future__ import annotations

import argparse
from pathlib import Path

from junkdna.difficulty import score_difficulty
from junkdna.logs import run
from junkdna.tidy import write_csv


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=Path, nargs="+", required=True, help="plans of the experiments")
    parser.add_argument("--human", type=Path, required=True, help="human scores")
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    write_csv(args.output, score_difficulty(args.plans, args.human))


if __name__ == "__main__":
    run(main)
