"""Pack the evaluated cells of a configuration into a record that can be kept."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from junkdna import grid, recording
from junkdna.config import calibrated, read_merged
from junkdna.logs import run

logger = logging.getLogger("junkdna.record")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=json.loads, required=True, help="the workflow's configuration as JSON")
    parser.add_argument("--results", type=Path, required=True, help="folder of the run")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    _, catalog, experiments = read_merged(args.config)
    cells = grid.all_cells(experiments, calibrated(catalog))
    recording.pack(args.results, cells, catalog, args.output)
    size = sum(file.stat().st_size for file in args.output.rglob("*.*"))
    logger.info("%s: %d cells, %.2f MB", args.output, len(cells), size / 1e6)


if __name__ == "__main__":
    run(main)
