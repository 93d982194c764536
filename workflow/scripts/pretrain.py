"""Pre-train a model organism from scratch and save it as an ordinary Hugging Face folder."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from junkdna import logs
from junkdna.organism import make_organism


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="recipe.yaml of the organisms")
    parser.add_argument("--organism", required=True, help="key of the recipe's organisms")
    parser.add_argument("--output", type=Path, required=True, help="folder to write, replaced if it exists")
    parser.add_argument("--steps", type=int, help="instead of the recipe's, for a quick look")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    # Two threads are slower than one for matrices this small, and the sums would depend on their number.
    torch.set_num_threads(1)
    make_organism(args.recipe, args.organism, args.output, args.steps)


if __name__ == "__main__":
    logs.run(main)
