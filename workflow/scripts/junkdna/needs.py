"""What a job asks a scheduler for: memory and minutes. Torch-free: imported while the rules are read.

Sizes follow from the parameters of a model, times from :class:`junkdna.estimate.Prices`. Both are for a first attempt:
the rules multiply them by the attempt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from junkdna.catalog import Catalog
from junkdna.checkpoint import Checkpoint
from junkdna.estimate import FLOAT32, Job, Prices
from junkdna.files import DataError
from junkdna.grid import Cell
from junkdna.sources import folder_of

# MB of a job whatever its model: torch and transformers take 1.1 GB, the two Snakemakes around a job on a cluster 0.3.
BASE = {"cpu": 2000, "gpu": 6000}
# Copies of the weights that a job holds at once, at the width that it computes in. A fine-tuning: weights, gradients,
# two moments of AdamW, mask and pre-trained values. A compression collects a state's new values before it writes them.
COPIES = {"finetune": 6.0, "evaluate": 2.0, "compress": 1.5, "index": 0.5}
# Values that a training keeps of a token for the backward pass, in widths of the model's layers together: 17 at
# RoBERTa-large's shape (tests/bench/memory.py), and a margin. Layers times width is taken as sqrt(2 parameters), which
# it is for 24 layers of 12 width^2 weights; fewer layers have less.
ACTIVATIONS = 20
LONGEST = 3  # times the mean length, to which a batch may be padded
# The estimate is for one A100, and a job that is cut short costs more than one that waits a little longer.
TIMES = 3
LEAST = 20  # minutes
UNKNOWN = 240  # minutes, where nobody has told what the model or the task costs
UNKNOWN_PARAMETERS = 1e9  # of a model that is not at hand yet and that the unit costs do not name


class Needs:
    """Memory and time of the jobs of one configuration.

    Args:
        units: what resources/unit_costs.yaml holds.
        mirror: folder with models, if any.
    """

    def __init__(self, units: dict[str, Any], catalog: Catalog, mirror: Path | None) -> None:
        self.units, self.catalog, self.mirror = units, catalog, mirror
        self.prices = Prices(units, catalog)
        self.parameters = cache(self._parameters)

    def _parameters(self, model: str) -> float:
        """Weights of a model: as the unit costs say, else as the headers of its files say."""
        name = self.catalog.models[model].untrained_twin_of or model
        if name in self.units["models"]:
            return self.units["models"][name]["parameters"]
        folder = folder_of(self.catalog.models[name].source, self.mirror, "models")
        if folder is None or not any(folder.glob("*.safetensors")):
            return UNKNOWN_PARAMETERS
        weights = Checkpoint(folder)
        return float(weights.numel(weights.infos))

    def memory(self, stage: str, cell: Cell, machine: str = "cpu", levels: Sequence[str] = ()) -> int:
        """MB that a job of a stage (a key of ``COPIES``) holds at most, of the GPU too where it has one.

        Args:
            levels: those that a compression makes in one sweep, the cell's first.
        """
        parameters = self.parameters(cell.model)
        wide = stage == "finetune" or self.catalog.models[cell.model].dtype == "float32"
        held = COPIES[stage] * parameters * (FLOAT32 if wide else FLOAT32 / 2)
        if stage == "finetune":
            held += self._batch_tokens(cell.task) * ACTIVATIONS * FLOAT32 * math.sqrt(2 * parameters)
        held += sum(self.prices.state_bytes(replace(cell, level=level)) for level in levels[1:]) * parameters
        return BASE[machine] + math.ceil(held / 1e6)

    def _batch_tokens(self, name: str) -> float:
        """Tokens of a large batch of a task's training, padding included."""
        task = self.catalog.tasks[name]
        if task.training.batch_tokens:
            return task.training.batch_tokens
        try:
            mean = self.prices.tokens(name)  # of all options together
        except DataError:
            return task.training.batch_size * task.training.max_length
        longest = LONGEST * mean if task.picks_by_head else min(LONGEST * mean, task.training.max_length)
        return task.training.batch_size * longest

    def minutes(self, stage: str, cell: Cell) -> int:
        """Minutes after which a job of a stage may be stopped."""
        try:
            seconds = self.prices.cost(Job(stage, "", cell)).seconds
        except DataError:
            return UNKNOWN
        return LEAST + math.ceil(TIMES * seconds / 60)
