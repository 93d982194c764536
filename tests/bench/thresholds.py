"""Time nine global thresholds: one histogram of bit patterns against nine torch.topk calls, and print a table.

Run it as ``python tests/bench/thresholds.py``. Both sides use one thread and take turns, so a busy machine slows both
alike. topk gets its best case: unsorted, and from whichever end is nearer to the rank. Memory is measured in processes
of their own, once on weights in memory and once streaming a checkpoint.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
import psutil
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))
from junkdna.checkpoint import Checkpoint
from junkdna.pruning.ranks import _chunks, removed, thresholds

NAME = "layers.0.weight"


def weights_of(count: int) -> torch.Tensor:
    return torch.empty(count // 1000, 1000).normal_(std=0.02, generator=torch.Generator().manual_seed(0))


def by_topk(weights: torch.Tensor, rank: int) -> float:
    """The rank-th smallest absolute value."""
    size, flat = weights.abs().view(-1), weights.numel()
    if rank <= flat // 2:
        return float(size.topk(rank, largest=False, sorted=False).values.max())
    return float(size.topk(flat - rank + 1, sorted=False).values.min())


def by_histogram(weights: torch.Tensor, ranks: list[int]) -> list[float]:
    bits = [found.bits for found in thresholds(lambda: [(NAME, weights)], ranks)]
    return np.array(bits, dtype=np.int32).view(np.float32).tolist()


def seconds(call: Callable[[], list[float]]) -> tuple[float, list[float]]:
    begun = time.perf_counter()
    values = call()
    return time.perf_counter() - begun, values


def extra_megabytes(args: argparse.Namespace, ranks: list[int]) -> float:
    """Peak above what was resident before: an upper bound, as the peak counts from the start of the process."""
    if args.measure == "memory":
        weights = weights_of(args.count)
        thresholds(lambda: [(NAME, weights[:1])], [1])
        before = psutil.Process().memory_info().rss
        thresholds(lambda: [(NAME, weights)], ranks)
    else:
        checkpoint = Checkpoint(args.folder)
        before = psutil.Process().memory_info().rss
        thresholds(lambda: checkpoint.tensors([NAME]), ranks)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6


def measured(args: argparse.Namespace, what: str, folder: str) -> float:
    command = [sys.executable, __file__, "--count", str(args.count), "--measure", what, "--folder", folder]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_floor(weights: torch.Tensor, ranks: list[int]) -> None:
    """What the histogram and a mask spend processor seconds on, and what reading the weights would take."""
    tensors, speed = [(NAME, weights)], machine.bandwidth()
    middle = thresholds(lambda: tensors, ranks)[len(ranks) // 2]
    whole = machine.best(lambda: thresholds(lambda: tensors, ranks), 5)
    patterns = 2 * machine.best(lambda: deque(_chunks(lambda: tensors), 0), 5)  # of two passes
    mask = machine.best(lambda: deque(removed(tensors, middle), 0), 5)
    print(f"\nprocessor seconds: histogram {whole:.3f}, {patterns / whole:.0%} for bit patterns, the rest counts them;")
    print(f"a read of the weights at {speed / 1e9:.1f} GB/s is {weights.nbytes / speed / whole:.0%} of it;")
    floor = weights.numel() * (weights.element_size() + 1) / speed
    print(f"one mask {mask:.3f}; reading the weights and writing it at that speed is {floor / mask:.0%} of it")


def main() -> None:
    """Print the table; end with an error if the two sides disagree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40_000_000, help="float32 weights")
    parser.add_argument("--runs", type=int, default=5, help="paired runs")
    parser.add_argument("--measure", choices=["memory", "checkpoint"], help="used by the script itself")
    parser.add_argument("--folder", help="used by the script itself")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ranks = [args.count * tenth // 10 for tenth in range(1, 10)]
    if args.measure:
        print(extra_megabytes(args, ranks))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = weights_of(args.count)
        save_file({NAME: weights}, Path(folder) / "model.safetensors")
        extra = {what: measured(args, what, folder) for what in ("memory", "checkpoint")}
    times: dict[str, list[float]] = {"9 x topk": [], "histogram": [], "ratio": []}
    for _ in range(args.runs):
        slow, expected = seconds(lambda: [by_topk(weights, rank) for rank in ranks])
        fast, found = seconds(lambda: by_histogram(weights, ranks))
        if found != expected:
            sys.exit(f"the thresholds differ: {found}, {expected}")
        for name, value in zip(times, (slow, fast, slow / fast), strict=True):
            times[name].append(value)
    print(f"{args.count} float32 weights, 9 thresholds, 1 thread, {args.runs} paired runs\n")
    print(f"{'':10}{'median':>9}{'min':>9}{'max':>9}")
    for name, values in times.items():
        print(f"{name:10}{statistics.median(values):9.2f}{min(values):9.2f}{max(values):9.2f}")
    print(f"\npeak extra memory: {extra['memory']:.0f} MB beside weights in memory;")
    print(f"{extra['checkpoint']:.0f} MB, the weights included, when streamed from a checkpoint of one tensor")
    print_floor(weights, ranks)


if __name__ == "__main__":
    main()
