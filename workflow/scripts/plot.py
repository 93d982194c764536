"""Draw the figure of an experiment from its table."""

from __future__ import annotations

import argparse
from pathlib import Path

from junkdna.figures import draw, save
from junkdna.logs import run
from junkdna.tidy import read_csv, read_plan


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="plan of the experiment")
    parser.add_argument("--table", type=Path, required=True, help="tidy table of the experiment")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="figures to write; format by suffix")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    figure = draw(read_plan(args.plan), read_csv(args.table))
    for path in args.output:
        save(figure, path)


if __name__ == "__main__":
    run(main)
