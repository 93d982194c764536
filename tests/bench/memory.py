"""Peak memory of each stage beside what needs.py asks a scheduler for and what a plain loop takes; prints tables.

``python tests/bench/memory.py``: the scripts of the pipeline on a random encoder of RoBERTa-large's shape in float32,
and on a few blocks of a random Llama of the 7B shape in bfloat16, from which 32 blocks are extrapolated. Every run is a
fork of this process, which has imported what all need; its peak holds these imports and the pages of mapped files. The
plain loops hold the whole model: those of reference_loops.py and plain_finetuning.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plain_finetuning
import torch
import transformers
from reference_loops import gptq, magnitude, sparsegpt, wanda
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
import tiny

import compress
import evaluate
import finetune
import index_magnitudes
from junkdna.catalog import Catalog, Model, Task
from junkdna.checkpoint import Checkpoint
from junkdna.config import PROJECT, read_catalog, read_yaml
from junkdna.grid import Cell
from junkdna.needs import COPIES, Needs

ENCODER = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
ENCODER |= {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
DECODER = {"hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 32000}
WHOLE = 32  # blocks of 7B
SMALL = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "vocab_size": 1000}
IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
SEQUENCES, TOKENS = 4, 256  # of calibration
BATCHES = [(4, 32), (8, 64), (16, 64)]  # texts and tokens of each, in a fine-tuning
METHODS = {"magnitude": "0.50", "magnitude_layerwise": "0.50", "wanda": "0.50", "sparsegpt": "0.50", "gptq": "4bit"}
LOOPS = {
    "magnitude_layerwise": (magnitude, 0.5),
    "wanda": (wanda, 0.5),
    "sparsegpt": (sparsegpt, 0.5),
    "gptq": (gptq, 4),
}

Values = list[float | None]


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


class Shape:
    """A random model on disk with data for every stage: ``layers`` of a decoder, or the encoder if there are none."""

    def __init__(self, folder: Path, layers: int | None, small: bool) -> None:
        self.folder, self.layers = folder, layers
        config: Any = RobertaConfig(**ENCODER | (SMALL | {"num_hidden_layers": 2} if small else {}) | IDS)
        if self.layers:
            config = LlamaConfig(**DECODER | (SMALL if small else {}) | IDS, num_hidden_layers=layers)
        dtype = "bfloat16" if self.layers else "float32"
        source = {"type": "local", "path": str(folder / "files")}
        self.model = Model.model_validate({"source": source, "dtype": dtype})
        forked(lambda: self._write(config, getattr(torch, dtype)))
        draw = np.random.default_rng(0)
        words = [" ".join(f"w{i}" for i in draw.integers(0, 40, TOKENS)) for _ in range(64)]
        rows = [
            {"sentence": text, "question": text[:400], "label": i % 2, "answer": i % 2} for i, text in enumerate(words)
        ]
        rows = [row | {"choices": ["w1 w2 w3", "w4 w5"]} for row in rows]
        for split in ("train", "validation"):
            tiny.save_rows(folder / "data/files", "default", split, rows)
        self.data = tiny.write_manifest(folder / "data")

    def _write(self, config: Any, dtype: torch.dtype) -> None:
        with torch.device("meta"):
            model = (LlamaForCausalLM if self.layers else RobertaForMaskedLM)(config)
        model = model.to(dtype).to_empty(device="cpu")
        model.tie_weights()
        some = torch.randn(1_000_003).mul(0.02).to(dtype)  # a prime: no two matrices are alike
        for name, weight in model.named_parameters():
            if "norm" in name.lower() and weight.dim() == 1:
                weight.data.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                weight.data.copy_(some.repeat(weight.numel() // len(some) + 1)[: weight.numel()].view(weight.shape))
        model.save_pretrained(self.folder / "files")
        tiny.tokenizer(encoder=not self.layers).save_pretrained(self.folder / "files")
        tiny.write_manifest(self.folder)

    def asked(self, stage: str, batch: int, length: int) -> int:
        """MB that a job asks for."""
        units = read_yaml(PROJECT / "resources/unit_costs.yaml")
        tasks = {"made": self.task(batch, length)}
        catalog = Catalog.model_construct(models={"shape": self.model}, datasets={}, tasks=tasks, methods={})
        return Needs(units, catalog, None).memory(stage, Cell("shape", "dense", "dense", "sparse", "made"))

    def block(self) -> float:
        """MB of the weights of a block."""
        weights = Checkpoint(self.folder / "files")
        return weights.numel(name for name in weights.infos if ".0." in name) * (2 if self.layers else 4) / 1e6

    def script(self, script: Any, **keys: Any) -> float:
        """Peak MB of a script of the pipeline."""
        keys = {"model_manifest": self.folder / "manifest.json", "model": self.model.model_dump_json()} | keys
        arguments = [part for key, value in keys.items() for part in (f"--{key.replace('_', '-')}", str(value))]
        return forked(lambda: script.main(arguments))

    def loaded(self, auto: Any) -> PreTrainedModel:
        return auto.from_pretrained(self.folder / "files", dtype=getattr(torch, self.model.dtype)).eval()

    def index(self) -> float:
        return self.script(index_magnitudes, output=self.folder / "index.json")

    def compress(self, name: str) -> float:
        method = read_catalog([PROJECT / "config/catalog"]).methods[name]
        given = {"method": name, "module": method.module, "levels": METHODS[name]}
        given |= {"params": json.dumps(method.params)}
        if "propagate" in method.params:
            spec = {"dataset": "data", "text": "sentence", "n_samples": SEQUENCES, "seq_len": TOKENS}
            given |= {"calibration": json.dumps(spec | {"sampling": "whole"}), "calibration_seed": 0}
            given |= {"calibration_manifest": self.data}
        if method.indexed:
            given |= {"index": self.folder / "index.json"}
        return self.script(compress, **given, outputs=self.folder / f"{name}.safetensors")

    def compress_plainly(self, name: str) -> float | None:
        if not self.layers:
            if name != "magnitude":
                return None  # the loops know decoders only
            return forked(lambda: plain_finetuning.prune(self.loaded(AutoModelForSequenceClassification), 0.5))
        loop, level = LOOPS[name]
        samples = list(torch.randint(3, 40, (SEQUENCES, TOKENS)).split(1))
        return forked(lambda: loop(self.loaded(AutoModelForCausalLM), samples, level))

    def task(self, batch: int, length: int) -> Task:
        training = {"learning_rate": 1e-5, "batch_size": batch, "steps": 2, "max_length": length}
        return tiny.task("multiple_choice") if self.layers else tiny.task("classification", training=training)

    def named(self, batch: int, length: int) -> dict[str, Any]:
        """Arguments of the scripts that read a task."""
        made = {"task_name": "made", "task": self.task(batch, length).model_dump_json()}
        made |= {"dataset_manifest": self.data, "output_provenance": self.folder / "provenance.json"}
        return made if self.layers else made | {"transfer": "sparse", "fraction": "1.00", "seed": 0}

    def finetune(self, batch: int, length: int) -> float:
        """In the sparse transfer, with the masks of global magnitudes."""
        outputs = {"output_weights": self.folder / "tuned.safetensors", "output_manifest": self.folder / "tuned.json"}
        given = self.named(batch, length) | {"state": self.folder / "magnitude.safetensors"}
        return self.script(finetune, **given, **outputs)

    def finetune_plainly(self, batch: int, length: int) -> float:
        def loop() -> None:
            model = self.loaded(AutoModelForSequenceClassification)
            masks = {
                name: (weight.data.abs() > 0.013).float()
                for name, weight in model.named_parameters()
                if name in set(plain_finetuning.prunable(model))
            }
            ids = torch.randint(3, 40, (2 * batch, length))
            data = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(2 * batch) % 2}
            plain_finetuning.fine_tune(model, data, masks, steps=2, batch=batch, rate=1e-5, warmup=0, seed=0)

        return forked(loop)

    def evaluate(self) -> float:
        """The decoder that Wanda pruned, or the encoder that was fine-tuned last."""
        named = {"model_name": "shape", "method": "wanda", "level": "0.50"} | self.named(*BATCHES[0])
        named |= {f"output_{name}": self.folder / name for name in ("metrics", "predictions")}
        if self.layers:
            return self.script(evaluate, **named, state=self.folder / "wanda.safetensors")
        tuned = {"weights": self.folder / "tuned.safetensors", "weights_manifest": self.folder / "tuned.json"}
        return self.script(evaluate, **named, **tuned)

    def evaluate_plainly(self) -> float:
        auto = AutoModelForCausalLM if self.layers else AutoModelForSequenceClassification

        @torch.no_grad()
        def loop() -> None:
            self.loaded(auto)(torch.randint(3, 40, (8, TOKENS)))

        return forked(loop)


def rows(shape: Shape) -> Iterator[tuple[str, Values, Values]]:
    """Stage; MB that a job asks for, our peak, the plain loop's; and what each grows by for a further block.

    Ours by the block's part of the state, where the model is streamed, the plain loop by the block's weights.
    """
    few, layers, block = BATCHES[0], shape.layers or 1, shape.block()
    if not shape.layers:
        yield "index of magnitudes", [shape.asked("index", *few), shape.index(), None], []
    for name in METHODS:
        if name != ("magnitude" if shape.layers else "magnitude_layerwise"):
            sides = [shape.compress(name), shape.compress_plainly(name)]
            state = (shape.folder / f"{name}.safetensors").stat().st_size / layers / 1e6
            grown = [COPIES["compress"] * block, state, block]
            yield f"compress, {name} {METHODS[name]}", [shape.asked("compress", *few), *sides], grown
    for batch in [] if shape.layers else BATCHES:
        sides = [shape.finetune(*batch), shape.finetune_plainly(*batch)]
        yield f"fine-tune, {batch[0]} x {batch[1]} tokens", [shape.asked("finetune", *batch), *sides], []
    sides = [shape.evaluate(), shape.evaluate_plainly()]
    yield "evaluate", [shape.asked("evaluate", *few), *sides], [COPIES["evaluate"] * block, block, block]


def table(title: str, lines: dict[str, Values]) -> None:
    print(f"\n| {title} | asked for | ours | plain loop |\n|---|---:|---:|---:|")
    for stage, values in lines.items():
        print(f"| {stage} | {' | '.join('-' if value is None else f'{value:,.0f}' for value in values)} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=2, help="of the 7B shape")
    parser.add_argument("--small", action="store_true", help="narrow models, to see that it runs")
    parser.add_argument("--shapes", nargs="+", choices=["encoder", "decoder"], default=["encoder", "decoder"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    print(f"MB at most; {forked(lambda: None):.0f} of each are the imports")
    for kind in args.shapes:
        layers = args.blocks if kind == "decoder" else None
        found, whole = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            for stage, values, grown in rows(Shape(Path(folder), layers, args.small)):
                found[stage] = values
                if layers:
                    pairs = zip(values, grown, strict=True)
                    whole[stage] = [value + (WHOLE - layers) * further for value, further in pairs]
                print(kind, stage, values, grown, file=sys.stderr, flush=True)
        table(f"7B, {layers} blocks, bfloat16" if layers else "RoBERTa-large, float32", found)
        if layers:
            table(f"7B, {WHOLE} blocks, extrapolated", whole)


if __name__ == "__main__":
    main()
