"""Write the expanded grid of one experiment."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from junkdna import grid
from junkdna.config import calibrated, read_merged
from junkdna.files import write_json
from junkdna.logs import run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=json.loads, required=True, help="the workflow's configuration as JSON")
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="plan to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    settings, catalog, experiments = read_merged(args.config)
    experiment = experiments[args.experiment]
    results = settings.pathvars.get("results", "results")
    write_json(args.output, grid.plan(experiment, grid.expand(experiment, calibrated(catalog)), catalog, results))


if __name__ == "__main__":
    run(main)
