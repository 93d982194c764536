"""Speed peers: Wanda, SparseGPT and GPTQ run as their public repositories run them, on a Llama in memory.

The structure is theirs (locuslab/wanda, IST-DASLab/sparsegpt, IST-DASLab/gptq), the lines are not: the inputs of the
first layer are caught, then each decoder layer runs one sample at a time, once with hooks on its linear modules to
collect statistics and, after these were pruned or rounded, once more for the inputs of the next layer. Sums of losses,
progress output and the emptying of caches are left out, all in favour of the peers.

``model`` is a ``LlamaForCausalLM`` of float32 or bfloat16 weights, changed in place; ``samples`` are token ids, each
(1, T) with the same T. Each function returns seconds: ``forward`` (both passes and the catching, without the hooks),
``statistics`` (the hooks), ``solve`` and ``total``. They are wall clock on a CPU: nothing waits for a GPU's queue.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

BLOCK = 128
DAMPING = 0.01


@torch.no_grad()
def magnitude(model: LlamaForCausalLM, _samples: list[Tensor], sparsity: float) -> None:
    """Sun et al. 2024, their baseline: in each matrix of the layers the int(size * sparsity) smallest weights go."""
    for layer in model.model.layers:
        for linear in (module for module in layer.modules() if isinstance(module, nn.Linear)):
            score = linear.weight.data.abs()
            threshold = torch.sort(score.flatten()).values[int(score.numel() * sparsity)]
            linear.weight.data[score <= threshold] = 0


def wanda(model: LlamaForCausalLM, samples: list[Tensor], sparsity: float) -> dict[str, float]:
    """Sun et al. 2024: within each row the int(in * sparsity) smallest |w_ij| ||x_j||_2 become 0."""

    def solve(linear: nn.Linear, norms: SquaredNorms) -> None:
        weight = linear.weight.data
        score = weight.abs() * norms.mean.sqrt().unsqueeze(0)
        gone = torch.zeros_like(score, dtype=torch.bool)
        order = torch.sort(score, dim=-1, stable=True).indices
        gone.scatter_(1, order[:, : int(weight.shape[1] * sparsity)], True)
        weight[gone] = 0

    return _layer_by_layer(model, samples, SquaredNorms, solve)


def sparsegpt(model: LlamaForCausalLM, samples: list[Tensor], sparsity: float) -> dict[str, float]:
    """Frantar & Alistarh 2023, algorithm 1, unstructured; ties and one weight more than asked for go in each block."""

    def solve(linear: nn.Linear, hessian: Hessian) -> None:
        def choose(block: Tensor, diagonal: Tensor) -> Tensor:
            score = block.square() / diagonal.square()
            threshold = torch.sort(score.flatten()).values[int(score.numel() * sparsity)]
            return score <= threshold

        weight, factor = _factored(linear, hessian)
        for start in range(0, weight.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            block, triangle = weight[:, part].clone(), factor[part, part]
            final, errors = torch.zeros_like(block), torch.zeros_like(block)
            gone = choose(block, triangle.diagonal().unsqueeze(0))
            for column in range(block.shape[1]):
                values = block[:, column].clone()
                values[gone[:, column]] = 0
                _settle(block, final, errors, triangle, column, values)
            weight[:, part] = final
            weight[:, start + BLOCK :] -= errors @ factor[part, start + BLOCK :]
        linear.weight.data = weight.to(linear.weight.dtype)

    return _layer_by_layer(model, samples, Hessian, solve)


def gptq(model: LlamaForCausalLM, samples: list[Tensor], bits: int, group: int = 128) -> dict[str, float]:
    """Frantar et al. 2023, algorithm 1, with a min-max grid per row and ``group`` inputs; weights are dequantized.

    A group is to be a multiple of the block of 128: within a block, the repository's grids do not see its errors.
    """
    top = 2**bits - 1

    def grid_of(weights: Tensor) -> tuple[Tensor, Tensor]:
        low, high = weights.amin(dim=1).clamp(max=0), weights.amax(dim=1).clamp(min=0)
        empty = low == high
        low[empty], high[empty] = -1, 1
        scale = (high - low) / top
        return scale, torch.round(-low / scale)

    def solve(linear: nn.Linear, hessian: Hessian) -> None:
        weight, factor = _factored(linear, hessian)
        for start in range(0, weight.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            block, triangle = weight[:, part].clone(), factor[part, part]
            final, errors = torch.zeros_like(block), torch.zeros_like(block)
            for column in range(block.shape[1]):
                place = start + column
                if place % group == 0:
                    scale, zero = grid_of(weight[:, place : place + group])
                codes = torch.clamp(torch.round(block[:, column] / scale) + zero, 0, top)
                _settle(block, final, errors, triangle, column, (codes - zero) * scale)
            weight[:, part] = final
            weight[:, start + BLOCK :] -= errors @ factor[part, start + BLOCK :]
        linear.weight.data = weight.to(linear.weight.dtype)

    return _layer_by_layer(model, samples, Hessian, solve)


class Statistics(Protocol):
    """What is collected of one linear module's inputs, one sample (1, T, in) at a time."""

    def __init__(self, linear: nn.Linear) -> None: ...

    def add(self, inputs: Tensor) -> None: ...


class SquaredNorms:
    """The mean over the samples of each input's squared norm, (in,)."""

    def __init__(self, linear: nn.Linear) -> None:
        self.mean = torch.zeros(linear.in_features, device=linear.weight.device)
        self.samples = 0

    def add(self, inputs: Tensor) -> None:
        features = inputs.reshape(-1, inputs.shape[-1]).T.float()
        self.mean *= self.samples / (self.samples + 1)
        self.samples += 1
        self.mean += torch.linalg.vector_norm(features, dim=1).square() / self.samples


class Hessian:
    """The mean over the samples of 2 X^T X, (in, in)."""

    def __init__(self, linear: nn.Linear) -> None:
        self.mean = torch.zeros(linear.in_features, linear.in_features, device=linear.weight.device)
        self.samples = 0

    def add(self, inputs: Tensor) -> None:
        features = inputs.reshape(-1, inputs.shape[-1]).T
        self.mean *= self.samples / (self.samples + 1)
        self.samples += 1
        features = features.float() * math.sqrt(2 / self.samples)
        self.mean += features @ features.T


def _factored(linear: nn.Linear, hessian: Hessian) -> tuple[Tensor, Tensor]:
    """The weights in float32, those of dead inputs 0, and the upper Cholesky factor of the damped inverse Hessian."""
    weight, matrix = linear.weight.data.clone().float(), hessian.mean
    dead = matrix.diagonal() == 0
    matrix.diagonal()[dead] = 1
    weight[:, dead] = 0
    matrix.diagonal().add_(DAMPING * matrix.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    return weight, torch.linalg.cholesky(inverse, upper=True)


def _settle(block: Tensor, final: Tensor, errors: Tensor, triangle: Tensor, column: int, values: Tensor) -> None:
    """Fix one column of a block at ``values`` and pass its error on to the columns that follow in the block."""
    final[:, column] = values
    error = (block[:, column] - values) / triangle[column, column]
    block[:, column:] -= error.unsqueeze(1) @ triangle[column, column:].unsqueeze(0)
    errors[:, column] = error


class _CaughtError(Exception):
    """Ends the forward pass at the first layer."""


class _Catcher(nn.Module):
    """Stands in for the first layer: keeps its inputs and what else it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []
        self.others: dict[str, Any] = {}

    def forward(self, hidden_states: Tensor, **others: Any) -> Tensor:
        self.inputs.append(hidden_states)
        self.others = others
        raise _CaughtError


def _first_inputs(model: LlamaForCausalLM, samples: list[Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """The hidden states (samples, T, hidden) before the first layer, and the other arguments of any layer."""
    layers = model.model.layers
    first, catcher = layers[0], _Catcher()
    layers[0] = catcher
    for sample in samples:
        try:
            model(sample, use_cache=False)
        except _CaughtError:
            continue
    layers[0] = first
    return torch.cat(catcher.inputs), catcher.others


@torch.no_grad()
def _layer_by_layer(
    model: LlamaForCausalLM,
    samples: list[Tensor],
    statistics: type[Statistics],
    solve: Callable[[nn.Linear, Any], None],
) -> dict[str, float]:
    seconds = dict.fromkeys(["forward", "statistics", "solve"], 0.0)
    begun = time.perf_counter()
    inputs, others = _first_inputs(model, samples)
    outputs = torch.zeros_like(inputs)
    seconds["forward"] += time.perf_counter() - begun

    def one_by_one(layer: nn.Module) -> None:
        begun = time.perf_counter()
        for place in range(len(samples)):
            outputs[place] = layer(inputs[place].unsqueeze(0), **others)[0]
        seconds["forward"] += time.perf_counter() - begun

    def adder(collected: Statistics) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, args: tuple[Tensor, ...], _output: Tensor) -> None:
            begun = time.perf_counter()
            collected.add(args[0])
            seconds["statistics"] += time.perf_counter() - begun

        return hook

    for layer in model.model.layers:
        collected = {linear: statistics(linear) for linear in layer.modules() if isinstance(linear, nn.Linear)}
        hooks = [linear.register_forward_hook(adder(found)) for linear, found in collected.items()]
        one_by_one(layer)
        for hook in hooks:
            hook.remove()
        solving = time.perf_counter()
        for linear, found in collected.items():
            solve(linear, found)
        seconds["solve"] += time.perf_counter() - solving
        one_by_one(layer)
        inputs, outputs = outputs, inputs
    seconds["forward"] -= seconds["statistics"]
    return seconds | {"total": time.perf_counter() - begun}
