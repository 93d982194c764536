"""Time Wanda, SparseGPT and GPTQ against the loops of their public repositories, and print tables.

Run it as ``OMP_NUM_THREADS=1 python tests/bench/compress.py --dtype bfloat16``. Both sides compress the same randomly
initialised Llama on the same tokens with the same threads, and take turns. All times are processor seconds of this
process, summed over its threads: wall clock would tell how busy the machine is. The peers (reference_loops.py) hold the
model in memory, ours reads it from a checkpoint in the page cache. Memory is measured in processes of their own.

The floor is the time of the arithmetic that no implementation of the algorithm escapes, at the speed of a matrix
product that is measured before and after each run of ours: a forward pass up to the last linear layer of each block, a
second one through the compressed block (not of the last block), half a symmetric product for each distinct input.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import machine
import psutil
import torch
import transformers
from reference_loops import gptq, sparsegpt, wanda
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))
from junkdna import hessian, skeleton
from junkdna.checkpoint import Base, Calibration, Checkpoint, prunable
from junkdna.levels import parse
from junkdna.packing import unpack_mask
from junkdna.quantization.grid import Grid

GROUP = 128
STREAMED = {"propagate": "compressed"}
# Method to its module, level and params, and the same asked of the peer.
METHODS: dict[str, tuple[str, str, dict[str, Any], Callable[[LlamaForCausalLM, list[torch.Tensor]], dict]]] = {
    "Wanda": ("pruning.wanda", "0.50", STREAMED, lambda model, samples: wanda(model, samples, 0.5)),
    "SparseGPT": (
        "pruning.sparsegpt",
        "0.50",
        STREAMED | {"damping": 0.01, "bits": 16, "group": GROUP},
        lambda model, samples: sparsegpt(model, samples, 0.5),
    ),
    "GPTQ": (
        "quantization.gptq",
        "4bit",
        STREAMED | {"damping": 0.01, "group": GROUP, "act_order": False},
        lambda model, samples: gptq(model, samples, 4, GROUP),
    ),
}
PARTS = ("forward", "statistics", "solve", "rest")
Tensors = dict[str, torch.Tensor]


class Stopwatch:
    """Seconds inside wrapped functions, without what other wrapped functions took within them."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = defaultdict(float)
        self.inner = [0.0]

    def wrapped(self, function: Callable, part: str) -> Callable:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.inner.append(0.0)
            begun = self.clock()
            try:
                return function(*args, **kwargs)
            finally:
                taken = self.clock() - begun
                self.seconds[part] += taken - self.inner.pop()
                self.inner[-1] += taken

        return timed

    @contextmanager
    def on(self, parts: list[tuple[Any, str, str]]) -> Iterator[None]:
        """Time these functions: (owner, name, part)."""
        with ExitStack() as stack:
            for owner, name, part in parts:
                stack.enter_context(patch.object(owner, name, self.wrapped(getattr(owner, name), part)))
            yield


def parts_of(code: ModuleType) -> list[tuple[Any, str, str]]:
    """What a method's module spends its time in, for :meth:`Stopwatch.on`."""
    parts = [(code, "prepare", "solve"), (code, "solve", "solve")]
    parts += [(skeleton.Skeleton, "inputs", "forward"), (skeleton.Batch, "run", "forward")]
    return parts + [(s, f, "statistics") for s in (hessian.Gram, hessian.SquaredNorms) for f in ("add", "finish")]


class Case:
    """One model on disk, its calibration tokens, and both ways to compress it."""

    def __init__(self, folder: str, args: argparse.Namespace) -> None:
        self.folder, self.dtype = folder, getattr(torch, args.dtype)
        generator = torch.Generator().manual_seed(0)
        self.samples = torch.randint(512, (args.sequences, args.tokens), generator=generator).split(1)
        checkpoint = Checkpoint(folder)
        calibration = Calibration([ids[0].tolist() for ids in self.samples], args.dtype)
        self.base = Base(checkpoint, prunable(checkpoint.infos, None, None), calibration=calibration)
        self.block = [name for name in self.base.names if ".layers.0." in name]
        self.blocks = len(self.base.names) // len(self.block)
        shapes = {name.split(".")[-2]: self.base.shape(name) for name in self.block}
        self.intermediate, self.hidden = shapes["gate_proj"]

    @staticmethod
    def write(folder: str, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        sizes = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 2816}
        if args.small:
            sizes = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 768}
        config = LlamaConfig(vocab_size=512, num_hidden_layers=args.layers, **sizes)
        LlamaForCausalLM(config).to(getattr(torch, args.dtype)).save_pretrained(folder)

    def model(self) -> LlamaForCausalLM:
        return LlamaForCausalLM.from_pretrained(self.folder, dtype=self.dtype).eval()

    def theirs(self, method: str) -> tuple[dict[str, float], Tensors]:
        """Seconds, and the weights afterwards."""
        model = self.model()
        with patch("time.perf_counter", time.process_time):  # which the peers read
            seconds = METHODS[method][3](model, list(self.samples))
        return seconds, {name: model.get_parameter(name).data for name in self.base.names}

    def ours(self, method: str) -> tuple[dict[str, float], Tensors]:
        """Seconds, and the tensors of the state."""
        module, level, params, _ = METHODS[method]
        code, watch = importlib.import_module(f"junkdna.{module}"), Stopwatch()
        with watch.on(parts_of(code)):
            begun = time.process_time()
            [(_, tensors)] = code.compress_levels(self.base, [parse(level)], params)
            total = time.process_time() - begun
        seconds = {part: watch.seconds[part] for part in PARTS[:-1]}
        return seconds | {"rest": total - sum(seconds.values()), "total": total}, tensors

    def weights(self, method: str, tensors: Tensors) -> Tensors:
        """What a state of ours makes of the weights."""
        module, level, params, _ = METHODS[method]
        code = importlib.import_module(f"junkdna.{module}")
        given = (self.base, parse(level), params, {}, tensors)
        if hasattr(code, "weights"):
            return dict(code.weights(*given))
        return {name: self.base.weight(name) * mask for name, mask in code.masks(*given)}

    def equal(self, method: str, tensors: Tensors, theirs: Tensors, names: list[str]) -> float:
        """Share of weights with the same mask bit or code."""
        same = 0
        for name in names:
            if method == "GPTQ":
                grid = Grid.restored(tensors, name, self.base.shape(name), 4, GROUP)
                ours = grid.encode(self.weights(method, tensors)[name].float().T)
                same += int((grid.encode(theirs[name].float().T) == ours).sum())
            else:
                keep = unpack_mask(tensors[f"{name}.mask"], self.base.shape(name))
                same += int((keep == (theirs[name] != 0)).sum())
        return same / self.base.checkpoint.numel(names)

    def errors(self, ours: Tensors, theirs: Tensors) -> list[float]:
        """Ratios of the output errors |X (W - W')^T|^2 on inputs X of the dense model, first and last block."""
        model, inputs = self.model(), {}
        names = [name for name in self.base.names if f".layers.{self.blocks - 1}." in name or name in self.block]

        def keep(name: str) -> Callable:
            return lambda _, args: inputs.__setitem__(name, args[0][0].double())

        for name in names:
            model.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(keep(name))
        with torch.no_grad():
            model(self.samples[0])
        lost = [
            [float((inputs[name] @ (self.base.weight(name) - side[name]).double().T).square().sum()) for name in names]
            for side in (ours, theirs)
        ]
        return [one / other for one, other in zip(*lost, strict=True)]

    def flops(self, hessians: bool) -> float:
        """Of the floor."""
        sequences, length = len(self.samples), self.samples[0].shape[1]
        hidden, intermediate = self.hidden, self.intermediate
        linear = 2 * sequences * length * self.base.checkpoint.numel(self.block)
        attention = 2 * sequences * length**2 * hidden  # a causal mask leaves half of 4 T^2 h
        whole = linear + attention
        upto_last = whole - 2 * sequences * length * hidden * intermediate
        gram = sequences * length * (3 * hidden**2 + intermediate**2) if hessians else 0
        return self.blocks * (upto_last + gram) + (self.blocks - 1) * whole


def memory(args: argparse.Namespace, method: str) -> list[float]:
    """Bytes: the peak of what is resident above what was before, and the state."""
    with tempfile.TemporaryDirectory() as folder:  # libraries load what they need, on a small model
        few = argparse.Namespace(**vars(args) | {"small": True, "layers": 1, "sequences": 1, "tokens": 32})
        Case.write(folder, few)
        Case(folder, few).ours(method)
    case, process, done = Case(args.folder, args), psutil.Process(), threading.Event()
    before = process.memory_info().rss
    seen = [before]

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, tensors = case.ours(method)
    done.set()
    watcher.join()
    return [max(seen) - before, sum(tensor.nbytes for tensor in tensors.values())]


def memory_row(case: Case, method: str, args: argparse.Namespace) -> list[str]:
    command = [sys.executable, __file__, *sys.argv[1:], "--measure", method, "--folder", case.folder]
    # Else the C library keeps much of what was freed, and it counts as resident.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    peak, state = (float(value) for value in printed.split())
    hidden, intermediate = case.hidden, case.intermediate
    held = args.sequences * args.tokens * hidden * case.dtype.itemsize
    # In the MLP: the residual, its norm, and gate, up and their product.
    batch = max(skeleton.BATCH_TOKENS, args.tokens) * (2 * hidden + 3 * intermediate) * case.dtype.itemsize
    block = case.base.checkpoint.numel(case.block) * case.dtype.itemsize
    grams = 0 if method == "Wanda" else 4 * (3 * hidden**2 + intermediate**2)
    rest = peak - state - held - batch
    cells = [f"{value / 1e6:.0f}" for value in (peak, state, held, batch, rest)]
    return [method, *cells, f"{rest / block:.2f}", f"{grams / block:.2f}"]


def spread(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def compare(case: Case, method: str, args: argparse.Namespace) -> tuple[list[str], list[str], list[str]]:
    """The rows of one method: speed, split of our time, equality."""
    theirs, ours, floors = [], [], []
    for _ in range(args.repeats):
        seconds, expected = case.theirs(method)
        theirs.append(seconds)
        before = machine.product_speed(512, case.hidden, case.intermediate, case.dtype)
        seconds, tensors = case.ours(method)
        ours.append(seconds)
        speed = (before + machine.product_speed(512, case.hidden, case.intermediate, case.dtype)) / 2
        floors.append(case.flops(method != "Wanda") / speed)
        print(f"{method}: {theirs[-1]['total']:.1f} s, {ours[-1]['total']:.1f} s", file=sys.stderr)
    ratios = [one["total"] / other["total"] for one, other in zip(theirs, ours, strict=True)]
    limits = [one["total"] / floor for one, floor in zip(theirs, floors, strict=True)]
    totals = [spread([seconds["total"] for seconds in side], 1) for side in (theirs, ours)]
    speed_row = [method, *totals, spread(ratios), spread(limits)]
    shares = [
        f"{statistics.median(seconds.get(part, 0.0) for seconds in side):.1f}"
        for side in (theirs, ours)
        for part in PARTS
        if part in side[0]
    ]
    floor_shares = [floor / seconds["total"] for floor, seconds in zip(floors, ours, strict=True)]
    split_row = [method, *shares, f"{statistics.median(floors):.1f}", f"{statistics.median(floor_shares):.0%}"]
    errors = case.errors(case.weights(method, tensors), expected)
    equal = [case.equal(method, tensors, expected, chosen) for chosen in (case.block, case.base.names)]
    return speed_row, split_row, [method, *(f"{share:.3%}" for share in equal), spread(errors, 4)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of both sides")
    parser.add_argument("--repeats", type=int, default=3, help="paired runs")
    parser.add_argument("--small", action="store_true", help="two narrow layers, to see that it runs")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=512, help="of a sequence")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--measure", choices=list(METHODS), help="used by the script itself")
    parser.add_argument("--folder", help="used by the script itself")
    args = parser.parse_args()
    args.layers = args.layers or (2 if args.small else 8)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    transformers.utils.logging.disable_progress_bar()
    if args.measure:
        print(*memory(args, args.measure))
        return
    with tempfile.TemporaryDirectory() as folder:
        Case.write(folder, args)
        case = Case(folder, args)
        rows = [compare(case, method, args) for method in args.methods]
        memories = [memory_row(case, method, args) for method in args.methods]
    speed, split, equality = (list(part) for part in zip(*rows, strict=True))
    print(f"{args.dtype}, {args.layers} blocks, {args.sequences} x {args.tokens} tokens,", end=" ")
    print(f"{torch.get_num_threads()} thread, {args.repeats} paired runs, median (min-max)\n")
    table(["", "reference, s", "ours, s", "ratio", "ratio at the floor"], speed)
    head = [f"{side} {part}" for side, parts in (("reference", PARTS[:-1]), ("our", PARTS)) for part in parts]
    table(["seconds", *head, "floor", "share of ours"], split)
    table(["", "equal, first block", "equal, all", "output error, ours / reference"], equality)
    head = ["MB", "peak", "state", "hidden states", "a batch", "rest", "rest, blocks", "Hessians alone, blocks"]
    table(head, memories)


if __name__ == "__main__":
    main()
