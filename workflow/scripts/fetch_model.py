"""Make one pre-trained model of the catalog available and write the manifest of its files."""

from __future__ import annotations

import argparse
from pathlib import Path

from junkdna.catalog import Model
from junkdna.files import read_json
from junkdna.logs import run
from junkdna.sources import fetch_model, make_twin


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key of the model in the catalog")
    parser.add_argument("--model", type=Model.model_validate_json, required=True, help="its catalog entry as JSON")
    parser.add_argument("--base", nargs="?", help="for an untrained twin: manifest of its base (else not read)")
    parser.add_argument("--mirror", type=Path, help="folder that holds models/ORG/NAME")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.model.untrained_twin_of:
        make_twin(args.name, args.model, read_json(args.base), args.output)
    else:
        fetch_model(args.name, args.model, args.mirror, args.output)


if __name__ == "__main__":
    run(main)
