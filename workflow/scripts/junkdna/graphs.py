"""Training on a GPU with the passes of each shape of a batch recorded as a CUDA graph, and replayed.

A step of a small encoder starts some two thousand kernels, which takes the processor several times as long as running
them takes the GPU (tests/bench/README.md). A replay starts them at once; they are the same kernels, so the weights are
equal to the bit (tests/unit/test_cuda.py). So that few shapes come up, batches are padded to multiples of ``MULTIPLE``.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import PretrainedConfig, Trainer

log = logging.getLogger(__name__)

MULTIPLE = 16  # tokens
# Of a batch, padding included. Larger ones keep the GPU busy as they are.
MOST_TOKENS = 16384

Inputs = dict[str, torch.Tensor]


def recordable(config: PretrainedConfig) -> bool:
    """Whether each step runs the same kernels: not if the processor draws layers to be left out."""
    return not any(value for key, value in config.to_dict().items() if key.endswith("layerdrop"))


class Recording:
    """The passes forward and backward over batches of one shape: where they read, and the loss that they leave."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = {key: tensor.clone() for key, tensor in inputs.items()}
        self.graph = torch.cuda.CUDAGraph()
        self.loss: torch.Tensor | None = None

    def replay(self, inputs: Inputs) -> torch.Tensor:
        torch._foreach_copy_(list(self.inputs.values()), [inputs[key] for key in self.inputs])
        self.graph.replay()
        return self.loss


class GraphTrainer(Trainer):
    """A Trainer whose steps are recorded: with one GPU, and without accumulation of gradients."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.recordings: dict[torch.Size, Recording] = {}
        self.most = MOST_TOKENS
        self.pool = torch.cuda.graph_pool_handle()  # recordings share their memory
        # The optimizer finds gradients at one place, whichever recording made them.
        self.gradients = {weight: torch.empty_like(weight) for weight in self.model.parameters()}

    def training_step(self, model: torch.nn.Module, inputs: Inputs, num_items_in_batch: Any = None) -> torch.Tensor:
        inputs, shape = self._prepare_inputs(inputs), inputs["input_ids"].shape
        if shape not in self.recordings and shape.numel() <= self.most:
            try:
                self.recordings[shape] = self.record(model, inputs)
            except RuntimeError as error:
                log.warning("%s: training goes on unrecorded: %s", type(self.model).__name__, error)
                self.give_up()
        if shape not in self.recordings:
            return super().training_step(model, inputs, num_items_in_batch)
        loss = self.recordings[shape].replay(inputs)
        for weight in self.trained:
            weight.grad = self.gradients[weight]
        return loss

    def record(self, model: torch.nn.Module, inputs: Inputs) -> Recording:
        """Record the passes over ``inputs``; nothing is learnt from them."""
        recording, drawn = Recording(inputs), torch.cuda.get_rng_state()
        super().training_step(model, recording.inputs)  # what kernels need at their first start cannot be recorded
        model.zero_grad()
        torch.cuda.set_rng_state(drawn)  # dropout draws as if there had been no step
        with torch.cuda.graph(recording.graph, pool=self.pool):
            recording.loss = super().training_step(model, recording.inputs)
            self.trained = [weight for weight in self.gradients if weight.grad is not None]
            torch._foreach_copy_([self.gradients[w] for w in self.trained], [w.grad for w in self.trained])
        return recording

    def give_up(self) -> None:
        """Clear up after a recording that failed, and make no other."""
        self.most = 0
        self.recordings.clear()
        self.model.zero_grad()
        chance = torch.cuda.default_generators[torch.cuda.current_device()]
        chance.graphsafe_set_state(chance.clone_state())  # the old one still takes part in the recording
