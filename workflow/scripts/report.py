"""Write the browsable report from plans, tables and provenance."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from junkdna.logs import run
from junkdna.report import write_page


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=Path, nargs="*", required=True, help="plans of the experiments")
    parser.add_argument("--tables", type=Path, nargs="*", required=True, help="every table to show")
    parser.add_argument("--claims", type=Path, help="the verdicts as Markdown, if there are any")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="figures without an experiment, SVG")
    parser.add_argument("--texts", type=json.loads, required=True, help="captions, claims and options as JSON")
    parser.add_argument("--template", type=Path, required=True, help="the page; what it includes lies beside it")
    parser.add_argument("--output", type=Path, required=True, help="page to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    write_page(args.output, args.template, args.plans, args.tables, args.texts, args.claims, args.images)


if __name__ == "__main__":
    run(main)
