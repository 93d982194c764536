"""Find the global magnitude thresholds of all levels of one model."""

from __future__ import annotations

import argparse
from pathlib import Path

from junkdna.catalog import Model
from junkdna.checkpoint import is_diverged
from junkdna.files import write_json
from junkdna.logs import run
from junkdna.state import base_of, index_magnitudes


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-manifest", type=Path, required=True, help="manifest of the model's files")
    parser.add_argument("--model", type=Model.model_validate_json, required=True, help="its catalog entry as JSON")
    parser.add_argument("--weights", type=Path, nargs="?", help="fine-tuned model.safetensors to index instead")
    parser.add_argument("--output", type=Path, required=True, help="index to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.weights and is_diverged(args.weights):
        write_json(args.output, {"diverged": True})
        return
    _, base = base_of(args.model_manifest, args.model, args.weights)
    write_json(args.output, index_magnitudes(base))


if __name__ == "__main__":
    run(main)
