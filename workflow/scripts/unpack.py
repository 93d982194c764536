"""Write the files of a configuration's cells from a record."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from junkdna import grid, recording
from junkdna.config import calibrated, read_merged
from junkdna.logs import run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=json.loads, required=True, help="the workflow's configuration as JSON")
    parser.add_argument("--record", type=Path, required=True, help="folder of the record")
    parser.add_argument("--results", type=Path, required=True, help="folder below which the cells are written")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    _, catalog, experiments = read_merged(args.config)
    recording.unpack(args.record, grid.all_cells(experiments, calibrated(catalog)), args.results)


if __name__ == "__main__":
    run(main)
