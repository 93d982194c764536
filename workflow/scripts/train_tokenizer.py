"""Train the byte-level BPE tokenizer of the small models on their corpus."""

from __future__ import annotations

import argparse
from pathlib import Path

from junkdna.files import atomic_path
from junkdna.logs import run
from junkdna.text.corpus import documents
from junkdna.text.recipe import TextRecipe
from junkdna.text.tokenizer import train_tokenizer
from junkdna.world.recipe import read_recipe


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="recipe.yaml of the small models")
    parser.add_argument("--corpus-manifest", type=Path, required=True, help="manifest of the corpus")
    parser.add_argument("--output", type=Path, required=True, help="tokenizer.json to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    recipe = read_recipe(args.recipe, TextRecipe)
    tokenizer = train_tokenizer(documents(args.corpus_manifest), recipe.vocabulary)
    with atomic_path(args.output) as aside:
        tokenizer.save(str(aside))


if __name__ == "__main__":
    run(main)
