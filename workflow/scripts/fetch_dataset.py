"""Make one data set of the catalog available and write the manifest of its files."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import TypeAdapter

from junkdna.catalog import DataSource
from junkdna.logs import run
from junkdna.sources import fetch_dataset


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key of the data set in the catalog")
    source = TypeAdapter(DataSource).validate_json
    parser.add_argument("--source", type=source, required=True, help="its catalog entry as JSON")
    parser.add_argument("--mirror", type=Path, help="folder that holds datasets/ORG/NAME")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    fetch_dataset(args.name, args.source, args.mirror, args.output)


if __name__ == "__main__":
    run(main)
