"""On a GPU: each calibrated method on a random Llama of the 7B shape; prints tables of seconds and memory.

``python tests/bench/gpu.py``: 32 blocks, written shard by shard, 128 sequences of 2,048 random tokens. A run is what a
job does but for its imports and the drawing of text: compress, verify by digests, save the state. Each is a process of
its own. Seconds are wall clock with the GPU waited for at the ends of each part.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from compress import GROUP, METHODS, PARTS, Stopwatch, parts_of, table
from junkdna import state as states
from junkdna.checkpoint import Base, Calibration, Checkpoint, prunable

DECODER = {"hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 32000}
SMALL = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 512, "vocab_size": 1000}


def now() -> float:
    """Seconds, with the GPU's queue empty."""
    torch.cuda.synchronize()
    return time.perf_counter()


def write(folder: Path, blocks: int, small: bool) -> None:
    """A random Llama in bfloat16, a shard for each block and one for all else."""
    config = LlamaConfig(**SMALL if small else DECODER, num_hidden_layers=blocks, architectures=["LlamaForCausalLM"])
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in LlamaForCausalLM(config).named_parameters()}
    where, draw = {}, torch.Generator("cuda").manual_seed(0)
    for part in [*(f"model.layers.{block}." for block in range(blocks)), ""]:
        tensors, file = {}, f"{part or 'model.rest.'}safetensors"
        for name, shape in shapes.items():
            if name.startswith(part) and name not in where:
                drawn = len(shape) > 1  # norms are one
                weight = torch.randn(shape, generator=draw, device="cuda") * 0.02 if drawn else torch.ones(shape)
                tensors[name], where[name] = weight.to("cpu", torch.bfloat16), file
        save_file(tensors, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


def run(folder: Path, method: str, sequences: int, tokens: int, profile: bool) -> dict[str, float]:
    """Seconds, and GB at most, of one method."""
    module, level, params, _ = METHODS[method]
    code, watch = importlib.import_module(f"junkdna.{module}"), Stopwatch(now)
    checkpoint = Checkpoint(folder)
    ids = torch.randint(1000, (sequences, tokens), generator=torch.Generator().manual_seed(0)).tolist()
    base = Base(checkpoint, prunable(checkpoint.infos, None, None), calibration=Calibration(ids, "bfloat16"))
    torch.cuda.reset_peak_memory_stats()
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    begun = now()
    with watch.on([*parts_of(code), (code, "compress_levels", "read, store")]):
        given = {"method": method, "module": module, "levels": [level], "params": params}
        [state] = states.create({"name": "shape", "files": {}}, base, **given)
    made = now()
    states.save(state, folder / "state")
    found = {part: watch.seconds[part] for part in (*PARTS[:-1], "read, store")}
    found |= {"digests": made - begun - sum(found.values()), "save": now() - made, "all": now() - begun}
    if profile:
        profiler.disable()
        sys.stdout = sys.stderr
        profiler.print_stats("tottime")
        sys.stdout = sys.__stdout__
    gpu = torch.cuda.max_memory_reserved() / 1e9
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return found | {"GB of GPU": gpu, "GB": process, "state, GB": (folder / "state").stat().st_size / 1e9}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=2048, help="of a sequence")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--small", action="store_true", help="a narrow model, to see that it runs")
    parser.add_argument("--profile", action="store_true", help="of Python's functions, to standard error")
    parser.add_argument("--folder", type=Path, help="used by the script itself")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("NO GPU: nothing is measured")
        return
    if args.folder:
        print(json.dumps(run(args.folder, args.methods[0], args.sequences, args.tokens, args.profile)))
        return
    with tempfile.TemporaryDirectory() as folder:
        begun = now()
        write(Path(folder), args.blocks, args.small)
        print(f"written in {now() - begun:.0f} s", file=sys.stderr, flush=True)
        rows = []
        for method in args.methods:
            command = [sys.executable, __file__, *sys.argv[1:], "--folder", folder, "--methods", method]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            print(method, found, file=sys.stderr, flush=True)
            rows.append([method, *(f"{value:.1f}" for value in found.values())])
    print(f"{torch.cuda.get_device_name()}, {os.cpu_count()} CPUs, torch {torch.__version__}, {args.blocks} blocks,")
    print(f"{args.sequences} x {args.tokens} tokens, groups of {GROUP}\n")
    table(["seconds", *found], rows)


if __name__ == "__main__":
    main()
