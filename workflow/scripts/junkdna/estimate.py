"""What a configuration would cost before anything runs: its jobs, their hours and their bytes, from unit costs.

Torch-free. A job's seconds are measured means where the unit costs name the model, else they follow from the
parameters of the model and the tokens of the task.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from junkdna import levels
from junkdna.catalog import Catalog, Task
from junkdna.config import data_of
from junkdna.files import DataError
from junkdna.grid import DENSE, Cell

FLOAT32 = 4  # bytes; what is fine-tuned is saved so
PREDICTIONS = 100  # bytes of a scored example on disk


@dataclass(frozen=True, order=True)
class Job:
    """One job: its rule, the path that it makes, and the cell that asked for it first."""

    rule: str
    path: str
    cell: Cell


@dataclass(frozen=True)
class Cost:
    """Seconds of one GPU (of one thread where that was measured), bytes on disk, and whether nobody measured them."""

    seconds: float
    bytes: float
    extrapolated: bool


def jobs_of(cells: Iterable[Cell], catalog: Catalog, calibrated: set[str]) -> list[Job]:
    """The jobs that the cells need up to their evaluation, each once, as the rules would plan them."""
    found: dict[tuple[str, str], Job] = {}

    def add(rule: str, path: str, cell: Cell) -> None:
        found.setdefault((rule, path), Job(rule, path, cell))

    for cell in cells:
        for model in filter(None, (cell.model, catalog.models[cell.model].untrained_twin_of)):
            add("fetch_model", model, cell)
        add("fetch_dataset", catalog.tasks[cell.task].dataset, cell)
        if cell.trained:
            tuned = Cell(cell.model, DENSE, DENSE, DENSE, cell.task, cell.fraction, cell.seed)
            start = tuned if cell.transfer == "zero_shot" else cell
            add("finetune", start.state, start)
        if cell.compressed:
            method, zero_shot = catalog.methods[cell.method], cell.transfer == "zero_shot"
            base = f"{cell.model}/zero_shot/{cell.task}/{cell.fraction}/{cell.seed}" if zero_shot else cell.model
            if method.indexed:
                add("index", base, cell)
            if cell.method in calibrated:
                add("fetch_dataset", data_of(catalog, cell.model).dataset, cell)
            state = cell.state if zero_shot else cell.compression
            swept = method.params.get("propagate") == "dense" and not zero_shot
            add("compress", state.rpartition("/")[0] if swept else state, cell)
        add("evaluate", cell.path, cell)
    return sorted(found.values())


class Prices:
    """Unit costs applied to jobs.

    Args:
        units: what resources/unit_costs.yaml holds.
    """

    def __init__(self, units: dict[str, Any], catalog: Catalog) -> None:
        self.units, self.catalog = units, catalog
        self.gpu = units["computed"]

    def cost(self, job: Job) -> Cost:
        """What one job costs.

        Raises:
            DataError: the unit costs name neither the model nor its parameters, or not the task.
        """
        fitting = (entry for entry in self.units["measured"] if re.fullmatch(entry["models"], job.cell.model))
        if measured := next(fitting, None):
            seconds = measured["seconds"][job.rule]
            kind = job.cell.method if job.rule == "compress" else job.cell.task
            guessed = job.rule in ("finetune", "evaluate") and kind not in seconds
            return Cost(seconds.get(kind, seconds["default"]), measured["bytes"].get(job.rule, 0), guessed)
        seconds, size = getattr(self, f"_{job.rule}")(job.cell)
        return Cost(seconds, size, True)

    def _of(self, section: str, name: str) -> dict[str, float]:
        entries = self.units[section]
        if name not in entries:
            raise DataError(f"unit costs: {section}.{name}: missing; there are {', '.join(sorted(entries))}")
        return entries[name]

    def _model(self, cell: Cell) -> dict[str, float]:
        return self._of("models", self.catalog.models[cell.model].untrained_twin_of or cell.model)

    def _task(self, name: str) -> dict[str, float]:
        # GLUE's tasks occur with two lengths, and the pairs of languages are alike.
        known = self.catalog.tasks[name].configs[0] if name not in self.units["tasks"] else name
        return self._of("tasks", "translation" if self.catalog.tasks[name].kind == "translation" else known)

    def tokens(self, task: str) -> float:
        """Tokens of a row of a task, on average.

        Raises:
            DataError: the unit costs do not name it.
        """
        return self._task(task)["tokens"]

    def _rate(self, cell: Cell) -> float:
        dtype = self.catalog.models[cell.model].dtype.removeprefix("b")  # half precision is half precision
        return self.gpu["flops"][dtype]["value"] * self.gpu["share_reached"]["value"]

    def _stored(self, cell: Cell) -> float:
        """Bytes of a weight as it was published."""
        return FLOAT32 if self.catalog.models[cell.model].dtype == "float32" else FLOAT32 / 2

    def _begin(self, cell: Cell) -> float:
        read = self._model(cell)["parameters"] * self._stored(cell) / self.gpu["read"]["value"]
        return self.gpu["start"]["value"] + read

    def _fetch_model(self, cell: Cell) -> tuple[float, float]:
        size = self._model(cell)["parameters"] * self._stored(cell)
        return size / self.gpu["download"]["value"], size

    def _fetch_dataset(self, cell: Cell) -> tuple[float, float]:
        return self.gpu["start"]["value"], 0.0

    def _index(self, cell: Cell) -> tuple[float, float]:
        return self._model(cell)["prunable"] * self.gpu["per_weight"]["default"]["value"], 30e3

    def _compress(self, cell: Cell) -> tuple[float, float]:
        prices, weights = self.gpu["per_weight"], self._model(cell)["prunable"]
        price = prices.get(cell.method.removesuffix("_dense"), prices["default"])["value"]
        return self._begin(cell) + price * weights, weights * self.state_bytes(cell)

    def state_bytes(self, cell: Cell) -> float:
        """Bytes per prunable weight of a state: thresholds none, a mask one bit, and what survives with new values."""
        level, method = levels.parse(cell.level), cell.method
        group = float(self.catalog.methods[method].params.get("group", 128))
        if level.bits:
            return level.bits / 8 + 3 / group
        if method.startswith("sparsegpt"):
            return 1 / 8 + (1 - float(level.sparsity)) * self._stored(cell)
        return 1 / 8 if method.startswith("wanda") else 0.0

    def _finetune(self, cell: Cell) -> tuple[float, float]:
        task, training, model = self._task(cell.task), self.catalog.tasks[cell.task].training, self._model(cell)
        if training.batch_tokens:
            tokens = float(training.steps or 0) * training.batch_tokens * training.accumulate
        elif training.steps:
            tokens = training.steps * training.batch_size * task["tokens"]
        else:
            tokens = training.epochs * task["train"] * float(cell.fraction) * task["tokens"]
        work = 6 * model["prunable"] * tokens / self._rate(cell)
        return self._begin(cell) + work, model["parameters"] * FLOAT32

    def _evaluate(self, cell: Cell) -> tuple[float, float]:
        task, entry, model = self._task(cell.task), self.catalog.tasks[cell.task], self._model(cell)
        rows = sum(task["evaluate"] * (variant.shots + 1) for variant in entry.variants.values())
        seconds = self._begin(cell) + 2 * model["prunable"] * rows * task["tokens"] / self._rate(cell)
        if cell.compressed and not (cell.trained and cell.transfer != "zero_shot"):
            seconds += model["prunable"] * self.gpu["per_weight"]["default"]["value"]
        seconds += task.get("decode_batches", 0) * _new_tokens(entry) * self.gpu["decode_step"]["value"]
        return seconds, task["evaluate"] * len(entry.variants) * PREDICTIONS


def _new_tokens(task: Task) -> int:
    # A translation ends long before its limit; an answer is written until the limit or a line break.
    return min(task.max_new_tokens, 60)
