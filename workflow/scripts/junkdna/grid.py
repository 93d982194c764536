"""Experiments to cells: the closed set of states and evaluations that exist, and where each lies."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import Any

from junkdna import levels, reported
from junkdna.catalog import Catalog
from junkdna.config import ConfigError, Experiment

DENSE = "dense"


@dataclass(frozen=True, order=True)
class Cell:
    """One state of one model, evaluated on one task with all its variants.

    A cell that two experiments share is equal, so a set of cells holds it once. ``fraction`` and ``seed`` are empty
    for a state that is not fine-tuned, ``calibration`` (a seed) for a method that draws no calibration data.
    """

    model: str
    method: str
    level: str
    transfer: str
    task: str
    fraction: str = ""
    seed: str = ""
    calibration: str = ""

    @property
    def trained(self) -> bool:
        return self.transfer != "none"

    @property
    def compression(self) -> str:
        """Path of the compressed pre-trained model below results/compress."""
        return f"{self.model}/{method_folder(self.method, self.calibration)}/{self.level}"

    @property
    def state(self) -> str:
        """Path of the evaluated state below results/compress or results/finetune."""
        path = self.compression
        return f"{path}/{self.transfer}/{self.task}/{self.fraction}/{self.seed}" if self.trained else path

    @property
    def path(self) -> str:
        """Path of the evaluation below results/evaluate."""
        return f"{self.state}/{self.task}" if self.trained else f"{self.state}/none/{self.task}"

    @property
    def compressed(self) -> bool:
        return self.method != DENSE


def method_folder(method: str, calibration: str) -> str:
    """Name of a method in paths: calibration seed 0 is the bare one, others say so."""
    return f"{method}-calibration{calibration}" if calibration not in ("", "0") else method


def method_of(folder: str) -> tuple[str, str]:
    """Method and calibration seed of a name in paths."""
    method, _, calibration = folder.partition("-calibration")
    return method, calibration or "0"


def expand(experiment: Experiment, calibrated: Collection[str] = ()) -> list[Cell]:
    """All cells of an experiment, dense references and controls included, in a fixed order.

    Args:
        calibrated: methods that draw calibration data, and are run once per calibration seed.
    """
    cells: set[Cell] = set()
    seeds = [str(seed) for seed in experiment.calibration_seeds or [0]]
    steps = [
        (method, level, seed)
        for method, chosen in experiment.methods.items()
        for level in chosen
        for seed in (seeds if method in calibrated else [""])
    ]
    trained = [t for t in experiment.transfers if t not in ("none", DENSE)]
    for model in [*experiment.models, *experiment.controls]:
        compressed = [] if model in experiment.controls else steps
        for task in experiment.tasks:
            if "none" in experiment.transfers:
                cells.add(Cell(model, DENSE, DENSE, "none", task))
                cells.update(Cell(model, m, level, "none", task, calibration=c) for m, level, c in compressed)
            if set(experiment.transfers) != {"none"}:
                for fraction, seed in product(experiment.fractions, experiment.seeds or []):
                    end = (task, fraction, str(seed))
                    cells.add(Cell(model, DENSE, DENSE, DENSE, *end))
                    cells.update(Cell(model, m, level, t, *end, c) for (m, level, c), t in product(compressed, trained))
    return sorted(cells, key=attrgetter(*Cell.__dataclass_fields__))  # six times as fast as by their own order


def expand_all(experiments: dict[str, Experiment], calibrated: Collection[str] = ()) -> dict[str, list[Cell]]:
    """Experiment name to its cells."""
    return {name: expand(experiment, calibrated) for name, experiment in experiments.items()}


def all_cells(experiments: dict[str, Experiment], calibrated: Collection[str] = ()) -> list[Cell]:
    """The cells of all experiments, shared ones once, in a fixed order."""
    return sorted({cell for cells in expand_all(experiments, calibrated).values() for cell in cells})


def check_member(kind: str, path: str, known: Collection[str]) -> None:
    """Fail with the nearest spellings unless ``path`` is one of the planned ones.

    Called for every job of a plan, so ``known`` should be a set or a dictionary.

    Raises:
        ConfigError: nothing in the configuration asks for this path.
    """
    if path in known:
        return
    parts = path.split("/")
    for position, part in enumerate(parts):
        here = {k.split("/")[position] for k in known if k.split("/")[:position] == parts[:position]}
        if part not in here:
            near = difflib.get_close_matches(path, known, n=1)
            hint = f" Nearest cell: {near[0]}" if near else ""
            raise ConfigError(
                f"{kind}: {path}: {part!r} is not in the grid of this configuration. "
                f"Allowed there: {', '.join(sorted(here))}.{hint}"
            )


def plan(experiment: Experiment, cells: list[Cell], catalog: Catalog, results: str) -> dict[str, Any]:
    """What the tables and figures of an experiment need to know, as plain JSON values."""
    tasks = {name: catalog.tasks[name].model_dump(mode="json") for name in experiment.tasks}
    models = [*experiment.models, *experiment.controls]
    parsed = {level: levels.parse(level) for level in {cell.level for cell in cells}}
    twin = {name: catalog.models[name].untrained_twin_of for name in models}
    # Without what only the report shows: an edited caption must not redo the tables.
    shown = experiment.model_dump(mode="json", exclude={"caption"})
    return {
        "experiment": shown,
        "reported": reported.matched(shown),
        "tasks": tasks,
        "models": {name: {"untrained_twin_of": twin[name]} for name in models},
        "methods": {name: {"label": catalog.methods[name].label} for name in experiment.methods},
        "cells": [
            {
                "model": cell.model,
                "method": cell.method,
                "level": cell.level,
                "kind": parsed[cell.level].kind,
                "sparsity": float(parsed[cell.level].sparsity),
                "transfer": cell.transfer,
                "task": cell.task,
                "fraction": cell.fraction or "1.00",
                "seed": int(cell.seed) if cell.trained else None,
                "calibration_seed": int(cell.calibration) if cell.calibration else None,
                "control": cell.model in experiment.controls,
                "path": f"{results}/evaluate/{cell.path}",
            }
            for cell in cells
        ],
    }


def digest(value: Any) -> str:
    """Short hash of JSON values, to see a change of a plan in a rule's params."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
