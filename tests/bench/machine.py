"""For floors and profiles: what one thread of this machine does at best, and what a call spends its time on."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

PARTS = {  # of a profile: what names of operators hold
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "attention"),
    "optimizer": ("_fused_adamw_",),
    "masks, clipping": ("_foreach_", "aten::mul_", "linalg_vector_norm"),
    "copies": ("aten::copy_",),
}


def best(call: Callable[[], object], times: int = 20) -> float:
    """Processor seconds of a call, the fewest of some."""
    found = []
    for _ in range(times):
        begun = time.process_time()
        call()
        found.append(time.process_time() - begun)
    return min(found)


def product_speed(rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    """FLOP per second of torch.mm, (rows, inner) by (inner, columns)."""
    one, other = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
    few = max(1, round(1e8 / one.numel() / columns))
    return few * 2 * one.numel() * columns / best(lambda: [torch.mm(one, other) for _ in range(few)])


def bandwidth(megabytes: int = 512) -> float:
    """Bytes per second that the sum of a tensor reads, too large a one for the caches."""
    numbers = torch.ones(megabytes << 18)
    return numbers.nbytes / best(numbers.sum, 10)


def shares(call: Callable[[], object]) -> dict[str, float]:
    """Shares of the wall clock of a call: PARTS, other operators, and Python with all else."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        begun = time.perf_counter()
        call()
        wall = time.perf_counter() - begun
    spent = {event.key: event.self_cpu_time_total / 1e6 for event in found.key_averages()}
    parts = {name: sum(s for key, s in spent.items() if any(k in key for k in keys)) for name, keys in PARTS.items()}
    parts["other operators"] = sum(spent.values()) - sum(parts.values())
    parts["Python"] = wall - sum(spent.values())
    return {name: seconds / wall for name, seconds in parts.items()}
