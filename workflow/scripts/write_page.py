"""Write the Markdown page of a run from its tables and its record."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from junkdna.logs import run
from junkdna.page import write_page


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="of the scale, and of the folder with the images")
    parser.add_argument("--plans", type=Path, nargs="+", required=True, help="plans of the experiments")
    parser.add_argument(
        "--tables", type=Path, nargs="+", required=True, help="CSV tables, and readable ones as Markdown"
    )
    parser.add_argument("--claims", type=Path, required=True, help="the verdicts as Markdown")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="figures of the experiments")
    parser.add_argument("--record", type=Path, required=True, help="folder of the run's record")
    parser.add_argument("--texts", type=json.loads, required=True, help="captions and options as JSON")
    parser.add_argument("--output", type=Path, required=True, help="page to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    write_page(args.output, args.name, args.plans, args.tables, args.claims, args.images, args.record, args.texts)


if __name__ == "__main__":
    run(main)
