"""Pre-train a small model on real text and save it as an ordinary Hugging Face folder."""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer

from junkdna.files import atomic_path, sha256
from junkdna.logs import run
from junkdna.provenance import write_provenance
from junkdna.text.corpus import documents, encode, pack
from junkdna.text.pretraining import model_card, pretrain_text
from junkdna.text.recipe import read_part
from junkdna.world.tokenizer import framed


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="recipe.yaml of the small models")
    parser.add_argument("--model", required=True, help="key of the recipe's models")
    parser.add_argument("--corpus-manifest", type=Path, required=True, help="manifest of the corpus")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json trained on it")
    parser.add_argument("--output", type=Path, required=True, help="folder to write, replaced if it exists")
    parser.add_argument("--save-seconds", type=float, default=120.0, help="between checkpoints, at least")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    # The sums depend on the number of threads.
    torch.set_num_threads(1)
    recipe, part = read_part(args.recipe, args.model)
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    rows = pack(encode(documents(args.corpus_manifest), tokenizer, part.kind), part, recipe.seed)
    inputs = [sha256(args.tokenizer), sha256(args.corpus_manifest), str(recipe.seed), part.model_dump_json()]
    digest = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]
    resume = args.output.parent / f"resume-{args.model}-{digest}"
    model, curve = pretrain_text(recipe, part, rows, resume, args.save_seconds)
    with atomic_path(args.output) as aside:
        model.to(torch.bfloat16).save_pretrained(aside)
        framed(tokenizer, part.kind, part.longest).save_pretrained(aside)
        curve.round({"loss": 4, "learning_rate": 7, "seconds": 0}).to_csv(aside / "training_curve.csv", index=False)
        (aside / "README.md").write_text(model_card(args.model, recipe, part, model, curve))
        cpu = torch.cpu.get_capabilities().get("cpu_name")
        write_provenance(aside / "provenance.json", {"model": args.model, "version": recipe.version, "cpu": cpu})
    shutil.rmtree(resume, ignore_errors=True)


if __name__ == "__main__":
    run(main)
