"""Fine-tune one model on one task in one transfer mode."""

from __future__ import annotations

import argparse
import hashlib
import logging
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import PreTrainedModel

from junkdna import models, tasks, training
from junkdna import state as states
from junkdna.catalog import Model, Task
from junkdna.checkpoint import is_diverged, save_diverged
from junkdna.files import DataError, sha256, write_json
from junkdna.logs import run
from junkdna.provenance import write_provenance

logger = logging.getLogger("junkdna.finetune")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-manifest", type=Path, required=True, help="manifest of the pre-trained model")
    parser.add_argument("--model", type=Model.model_validate_json, required=True, help="its catalog entry as JSON")
    parser.add_argument("--state", type=Path, nargs="?", help="compressed state; none for the dense transfer")
    parser.add_argument("--dataset-manifest", type=Path, required=True, help="manifest of the data set")
    parser.add_argument("--task-name", required=True, help="key of the task in the catalog")
    parser.add_argument("--task", type=Task.model_validate_json, required=True, help="its catalog entry as JSON")
    parser.add_argument("--transfer", required=True, help="dense, sparse, sparse_to_dense or dense_frozen")
    parser.add_argument("--fraction", required=True, help="share of the training data, such as 0.30")
    parser.add_argument("--seed", type=int, required=True, help="of head, order and dropout")
    parser.add_argument("--output-weights", type=Path, required=True, help="model.safetensors to write")
    parser.add_argument("--output-manifest", type=Path, required=True, help="what was done, deterministic")
    parser.add_argument("--output-provenance", type=Path, required=True, help="versions, device, time, memory")
    return parser.parse_args(argv)


def resume_folder(args: argparse.Namespace) -> Path:
    """Where an interrupted training continues: a folder named after everything that the weights depend on."""
    state = sha256(args.state) if args.state else ""
    inputs = [sha256(args.model_manifest), sha256(args.dataset_manifest), state, args.model.model_dump_json()]
    inputs += [args.task.model_dump_json(), args.transfer, args.fraction, str(args.seed)]
    return args.output_weights.parent / f"resume-{hashlib.sha256(chr(0).join(inputs).encode()).hexdigest()[:12]}"


def start_state(args: argparse.Namespace, model: PreTrainedModel) -> tuple[dict[str, torch.Tensor], str]:
    """The masks of the compressed state and their digest; ``model`` gets the values that the method gave the rest."""
    state = states.load(args.state)
    if not state.removes:
        method = state.manifest["method"]
        raise DataError(f"{args.state}: {method} removes no weights; allowed as transfer: none, zero_shot")
    if args.model.prune_head and args.task.has_head:
        args.output_weights.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=args.output_weights.parent) as folder:
            whole = Path(folder, "model.safetensors")
            models.save_weights(model, whole)
            base = states.base_of(args.model_manifest, args.model, whole, heads=True)
            weights = list(states.with_head(state, *base))
    else:
        weights = list(models.restored(args.model_manifest, args.model, state))
    if args.transfer != "dense_frozen":  # which starts from the pre-trained values
        models.apply_state(model, weights)
    masks = {weight.name: weight.mask for weight in weights}
    return masks, states.mask_digest(masks.items())[0]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    data = tasks.dataset_folder(args.dataset_manifest)
    tasks.check_columns(data, args.task, "train")
    questions = tasks.training_questions(data, args.task, float(args.fraction))
    folder = models.model_folder(args.model_manifest)
    tokenizer = models.load_tokenizer(folder)
    model = models.load_model(folder, args.model, args.task, tokenizer, args.seed)
    masks, digest = start_state(args, model) if args.state else (None, None)
    resume = resume_folder(args)
    named = {"transfer": args.transfer, "task": args.task_name, "fraction": args.fraction, "seed": args.seed}
    try:
        done = training.fine_tune(
            model,
            tokenizer,
            args.task,
            questions,
            transfer=args.transfer,
            masks=masks,
            seed=args.seed,
            resume=resume,
        )
        models.save_weights(model, args.output_weights)
        result = training.describe(done, model)
        logger.info("%s: %d steps, loss %s", args.output_weights.parent, done.steps, result["final_loss"])
    except DataError as error:
        raise DataError(f"{args.output_weights.parent}: {error}") from error
    except training.Diverged as found:
        # A result: the other cells and the tables, which leave this one out, go on.
        save_diverged(args.output_weights)
        result = {"steps": found.step, "examples": len(questions)}
        logger.warning("%s: %s", args.output_weights.parent, found)
    result |= named | {"diverged": is_diverged(args.output_weights), "mask_sha256": digest}
    write_json(args.output_manifest, result | {"schema": 1, "weights_sha256": sha256(args.output_weights)})
    write_provenance(args.output_provenance, named)
    shutil.rmtree(resume, ignore_errors=True)


if __name__ == "__main__":
    run(main)
