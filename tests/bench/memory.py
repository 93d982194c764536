"""Peak memory of each stage beside what needs.py asks a scheduler for and what a plain loop takes; prints tables.

``python tests/bench/memory.py``: the scripts of the pipeline on a random encoder of RoBERTa-large's shape in float32,
and on the first blocks of a random Llama of the 7B shape in bfloat16. Every run is a fork of this process, which has
imported what all need, and counts its imports too. The plain loops hold the whole model: torch's global pruning, the
loop of Wanda's repository (reference_loops.py), a loop of fine-tuning that multiplies float32 masks after each step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import yaml
from reference_loops import wanda
from torch.nn.utils import prune
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
import tiny

import compress
import evaluate
import finetune
import index_magnitudes
from junkdna.catalog import Catalog, Model
from junkdna.checkpoint import Checkpoint, prunable
from junkdna.needs import Needs

PROJECT = Path(__file__).resolve().parents[2]
SEQUENCES, TOKENS = 4, 128  # of calibration
BATCH, LENGTH, STEPS = 4, 32, 2  # of fine-tuning
ENCODER = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
ENCODER |= {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
DECODER = {"hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 32000}
SMALL = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "vocab_size": 1000}
IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
TASK = tiny.task(
    "classification",
    training={"learning_rate": 1e-5, "batch_size": BATCH, "steps": STEPS, "max_length": LENGTH},
    evaluate_limit=8,
)


class Shape:
    """A random model on disk with data for every stage.

    Args:
        folder: to write to.
        layers: of a decoder; none for the encoder.
    """

    def __init__(self, folder: Path, layers: int | None, small: bool) -> None:
        self.folder, self.manifest = folder, folder / "manifest.json"
        dtype = "bfloat16" if layers else "float32"
        config: Any = RobertaConfig(**ENCODER | (SMALL | {"num_hidden_layers": 2} if small else {}) | IDS)
        if layers:
            config = LlamaConfig(**DECODER | (SMALL if small else {}) | IDS, num_hidden_layers=layers)
        # The name of the shape decides nothing: needs.py reads the number of weights from the files.
        source = {"type": "local", "path": str(folder / "files")}
        self.model = Model.model_validate({"source": source, "dtype": dtype})
        self.forked(lambda: self._write(config, getattr(torch, dtype)))
        words = np.random.default_rng(0)
        rows = [
            {"sentence": " ".join(f"w{i}" for i in words.integers(0, 40, TOKENS)), "label": i % 2} for i in range(64)
        ]
        for split in ("train", "validation"):
            tiny.save_rows(folder / "data/files", "default", split, rows)
        self.data = tiny.write_manifest(folder / "data")

    def _write(self, config: Any, dtype: torch.dtype) -> None:
        kind = LlamaForCausalLM if isinstance(config, LlamaConfig) else RobertaForMaskedLM
        with torch.device("meta"):
            model = kind(config)
        model = model.to(dtype).to_empty(device="cpu")
        some = torch.randn(1_000_003, dtype=torch.float32).mul(0.02).to(dtype)  # a prime: no two matrices are alike
        for weight in [*model.parameters(), *model.buffers()]:
            if weight.is_floating_point():
                weight.data.copy_(some.repeat(weight.numel() // len(some) + 1)[: weight.numel()].view(weight.shape))
        model.save_pretrained(self.folder / "files")
        tiny.tokenizer(encoder=kind is RobertaForMaskedLM).save_pretrained(self.folder / "files")
        tiny.write_manifest(self.folder)

    @staticmethod
    def forked(call: Callable[[], object]) -> float:
        """Peak MB of a call in a process of its own.

        Raises:
            SystemExit: it failed.
        """
        child = os.fork()
        if child == 0:
            try:
                call()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            os._exit(1)  # without the clean-up of this process's copy of the caller
        _, status, usage = os.wait4(child, 0)
        if status:
            sys.exit(f"a run failed with status {status}")
        return usage.ru_maxrss / 1024

    def script(self, module: Any, **keys: Any) -> float:
        """Peak MB of a script of the pipeline."""
        keys = {"model_manifest": self.manifest, "model": self.model.model_dump_json()} | keys
        arguments = [part for key, value in keys.items() for part in (f"--{key.replace('_', '-')}", str(value))]
        return self.forked(lambda: module.main(arguments))

    def predicted(self, stage: str) -> int:
        """MB that a job asks for."""
        units = yaml.safe_load((PROJECT / "resources/unit_costs.yaml").read_text())
        catalog = Catalog.model_construct(models={"shape": self.model}, datasets={}, tasks={}, methods={})
        return Needs(units, catalog, None).memory(stage, "shape")

    def loaded(self, auto: Any) -> transformers.PreTrainedModel:
        return auto.from_pretrained(self.folder / "files", dtype=getattr(torch, self.model.dtype))

    def linears(self, model: transformers.PreTrainedModel) -> list[torch.nn.Module]:
        """The modules whose weights are prunable."""
        names, known = prunable(Checkpoint(self.folder / "files").infos, None, None), dict(model.named_modules())
        return [known[name.removesuffix(".weight")] for name in names]


Rows = list[tuple[str, float, str, float | None]]


def magnitude(shape: Shape) -> Rows:
    """Rows of the index and of a compression: stage, MB, stage of needs.py, MB of the plain loop."""

    def peer() -> None:
        auto = LlamaForCausalLM if shape.model.dtype == "bfloat16" else RobertaForMaskedLM
        linears = shape.linears(shape.loaded(auto))
        pairs = [(module, "weight") for module in linears]
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.5)

    index, state = shape.folder / "index.json", shape.folder / "magnitude.safetensors"
    found = shape.script(index_magnitudes, output=index)
    given = {"method": "magnitude", "module": "pruning.magnitude", "levels": "0.50", "params": '{"scope": "global"}'}
    made = shape.script(compress, **given, index=index, outputs=state)
    plain = shape.forked(peer)
    return [("index", found, "index", plain), ("compress, magnitude", made, "compress", plain)]


def by_wanda(shape: Shape) -> Rows:
    """The row of Wanda; the loop of its repository knows decoders only."""
    decoder = shape.model.dtype == "bfloat16"
    spec = {"dataset": "data", "split": "train", "text": "sentence", "sampling": "whole"}
    spec |= {"n_samples": SEQUENCES, "seq_len": TOKENS}
    given = {"method": "wanda", "module": "pruning.wanda", "levels": "0.50", "params": '{"propagate": "compressed"}'}
    given |= {"calibration": json.dumps(spec), "calibration_manifest": shape.data, "calibration_seed": 0}
    made = shape.script(compress, **given, outputs=shape.folder / "wanda.safetensors")
    samples = torch.randint(3, 40, (SEQUENCES, TOKENS)).split(1)
    plain = shape.forked(lambda: wanda(shape.loaded(LlamaForCausalLM), list(samples), 0.5)) if decoder else None
    return [("compress, Wanda", made, "compress", plain)]


def trained(shape: Shape) -> Rows:
    """Rows of fine-tuning from the state that ``magnitude`` made, and of evaluating what it gives."""

    def peer() -> None:
        model = shape.loaded(AutoModelForSequenceClassification)
        weights = [module.weight for module in shape.linears(model)]
        masks = [(weight.data.abs() > weight.data.abs().median()).float() for weight in weights]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
        for _ in range(STEPS):
            ids = torch.randint(3, 40, (BATCH, LENGTH))
            model(ids, labels=torch.arange(BATCH) % 2).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            for weight, mask in zip(weights, masks, strict=True):
                weight.data *= mask

    weights, manifest = shape.folder / "tuned.safetensors", shape.folder / "tuned.json"
    named = {
        "task_name": "made",
        "task": TASK.model_dump_json(),
        "dataset_manifest": shape.data,
    }
    named |= {
        "transfer": "sparse",
        "fraction": "1.00",
        "seed": 0,
        "output_provenance": shape.folder / "provenance.json",
    }
    outputs = {"output_weights": weights, "output_manifest": manifest}
    tuned = shape.script(finetune, **named, **outputs, state=shape.folder / "magnitude.safetensors")
    plain = shape.forked(peer)
    named |= {"model_name": "shape", "method": "magnitude", "level": "0.50", "weights": weights}
    outputs = {f"output_{name}": shape.folder / name for name in ("metrics", "predictions")}
    asked = shape.script(evaluate, **named, **outputs, weights_manifest=manifest)
    return [("fine-tune", tuned, "finetune", plain), ("evaluate", asked, "evaluate", None)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2], help="of the 7B shape, one table for each")
    parser.add_argument("--small", action="store_true", help="narrow models, to see that it runs")
    parser.add_argument("--shapes", nargs="+", choices=["encoder", "decoder"], default=["encoder", "decoder"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    alone = Shape.forked(lambda: None)
    print(f"MB at most; {alone:.0f} of each are the imports")
    wanted = [None] if "encoder" in args.shapes else []
    for layers in wanted + (args.blocks if "decoder" in args.shapes else []):
        with tempfile.TemporaryDirectory() as folder:
            shape = Shape(Path(folder), layers, args.small)
            checkpoint = Checkpoint(shape.folder / "files")
            weights = checkpoint.numel(checkpoint.infos)
            name = f"7B, {layers} block(s), bfloat16" if layers else "RoBERTa-large, float32"
            print(f"\n| {name}, {weights / 1e6:.0f}M weights | asked for | ours | plain loop |\n|---|---:|---:|---:|")
            for part in (magnitude, by_wanda) if layers else (magnitude, by_wanda, trained):
                for stage, mine, asked, plain in part(shape):
                    other = f"{plain:.0f}" if plain else "-"
                    print(f"| {stage} | {shape.predicted(asked)} | {mine:.0f} | {other} |", flush=True)


if __name__ == "__main__":
    main()
