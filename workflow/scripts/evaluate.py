"""Evaluate one state of one model on every variant of a task."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from junkdna import models, predictions, scoring, tasks
from junkdna.catalog import Model, Task
from junkdna.files import DataError, read_json, sha256, write_json
from junkdna.logs import run
from junkdna.provenance import write_provenance


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-manifest", type=Path, required=True, help="manifest of the pre-trained model")
    parser.add_argument("--model", type=Model.model_validate_json, required=True, help="its catalog entry as JSON")
    parser.add_argument("--model-name", required=True, help="its key in the catalog")
    parser.add_argument("--method", required=True, help="compression method, or dense")
    parser.add_argument("--calibration-seed", type=int, nargs="?", help="draw of the method's calibration data")
    parser.add_argument("--level", required=True, help="level, or dense")
    parser.add_argument("--state", type=Path, nargs="?", help="compressed state; none for a dense model")
    parser.add_argument("--weights", type=Path, help="fine-tuned model.safetensors, which a state may compress")
    parser.add_argument("--weights-manifest", type=Path, help="its manifest, with the digest to check")
    parser.add_argument("--transfer", default="none", help="transfer mode of the fine-tuning")
    parser.add_argument("--fraction", default="1.00", help="share of the training data of the fine-tuning")
    parser.add_argument("--seed", type=int, help="seed of the fine-tuning")
    parser.add_argument("--dataset-manifest", type=Path, required=True, help="manifest of the data set")
    parser.add_argument("--task-name", required=True, help="key of the task in the catalog")
    parser.add_argument("--task", type=Task.model_validate_json, required=True, help="its catalog entry as JSON")
    parser.add_argument("--output-metrics", type=Path, required=True, help="metrics.json to write")
    parser.add_argument("--output-predictions", type=Path, required=True, help="predictions.parquet to write")
    parser.add_argument("--output-provenance", type=Path, required=True, help="versions, device, time, memory")
    return parser.parse_args(argv)


def check_inputs(args: argparse.Namespace, data: Path) -> bool:
    """Fail before any work if a column is missing, or the weights are missing or not those of their manifest.

    Returns:
        Whether there is anything to evaluate: the fine-tuning did not diverge.
    """
    if args.task.kind == "lm_eval":
        importlib.import_module("junkdna.harness").check(data, args.task)
    else:
        tasks.check_columns(data, args.task, "evaluate")
    if args.weights is None and args.task.has_head:
        raise DataError(f"--weights: missing: task {args.task_name} of kind {args.task.kind} needs fine-tuned weights")
    if args.weights_manifest:
        manifest = read_json(args.weights_manifest)
        wanted, found = manifest["weights_sha256"], sha256(args.weights)
        if wanted != found:
            raise DataError(
                f"{args.weights}: sha256 {found}, its manifest says {wanted}; delete it so that it is made again"
            )
        return not manifest.get("diverged", False)
    return True


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    data = tasks.dataset_folder(args.dataset_manifest)
    finite = check_inputs(args, data)
    measured, frame = {}, predictions.none(args.task.metric)
    if finite:
        model, tokenizer = models.open_state(args.model_manifest, args.model, args.task, args.state, args.weights)
        measured, frame = scoring.evaluate(model, tokenizer, args.task, data)
    cell = {"model": args.model_name, "method": args.method, "level": args.level, "transfer": args.transfer}
    cell["calibration_seed"] = args.calibration_seed
    cell |= {"task": args.task_name, "fraction": args.fraction, "seed": args.seed, "suite": args.task_name}
    predictions.write_predictions(args.output_predictions, frame)
    write_provenance(args.output_provenance, cell)
    write_json(args.output_metrics, {"schema": 1, **cell, "diverged": not finite, "variants": measured})


if __name__ == "__main__":
    run(main)
