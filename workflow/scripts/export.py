"""Write a compressed or fine-tuned model as an ordinary Hugging Face folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from junkdna.catalog import Model, Task
from junkdna.exporting import export, export_packed
from junkdna.logs import run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-manifest", type=Path, required=True, help="manifest of the pre-trained model")
    parser.add_argument("--model", type=Model.model_validate_json, required=True, help="its catalog entry as JSON")
    parser.add_argument("--state", type=Path, nargs="?", help="compressed state")
    parser.add_argument("--weights", type=Path, help="fine-tuned model.safetensors, which a state may compress")
    parser.add_argument("--task", type=Task.model_validate_json, help="catalog entry of its task as JSON")
    parser.add_argument("--form", choices=["folder", "packed"], default="folder", help="packed: weights as codes")
    parser.add_argument("--output-weights", type=Path, required=True, help="model.safetensors; the rest goes beside it")
    args = parser.parse_args(argv)
    if (args.weights is None) != (args.task is None):
        parser.error("--weights and --task belong together")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    folder = args.output_weights.parent
    if args.form == "packed":
        export_packed(args.model_manifest, args.model, folder, args.state)
    else:
        export(args.model_manifest, args.model, folder, args.state, args.weights, args.task)


if __name__ == "__main__":
    run(main)
