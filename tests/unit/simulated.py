"""Simulated evaluations with a known truth, in the files that real ones have."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from junkdna.files import write_json
from junkdna.levels import parse
from junkdna.metrics import METRICS

# Share of an example's score that it has in every state: examples stay hard or easy across levels, as real
# ones do.
STABLE = 0.7


def generator(*parts: object) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8]))


def predictions(kind: str, ids: list[str], probability: float, key: tuple) -> pd.DataFrame:
    """Rows of one variant, right with this probability (a correlation for regression, 1 / perplexity)."""
    n, noise = len(ids), generator(*key)
    latent = np.array([generator("example", key[0], name).standard_normal() for name in ids])
    mixed = math.sqrt(STABLE) * latent + math.sqrt(1 - STABLE) * noise.standard_normal(n)
    right = (norm.cdf(mixed) < probability).astype(float)
    frame = pd.DataFrame({"id": ids, "prediction": "x", "reference": "x", "y_pred": np.nan, "y_true": np.nan})
    frame["option_scores"] = [None] * n
    if kind == "regression":
        frame["y_true"] = latent
        frame["y_pred"] = probability * latent + math.sqrt(1 - probability**2) * noise.standard_normal(n)
    elif kind == "perplexity":
        frame["tokens"] = 20.0
        frame["nll"] = -20.0 * math.log(probability) * np.exp(0.2 * mixed)
    elif kind == "generation":
        frame = frame.assign(exact_match=right, f1=right, contains=right)
    else:
        truth = noise.integers(0, 2, n).astype(float)
        frame = frame.assign(y_true=truth, y_pred=np.where(right == 1, truth, 1 - truth), accuracy=right)
    return frame


def write_cells(plan: dict[str, Any], probability: Callable[..., float], examples: int = 200) -> None:
    """Write metrics.json and predictions.parquet of every cell of a plan.

    Args:
        probability: called with the cell's entry and the variant's name.
        examples: per variant; variants with a `where` hold examples of their own, the others share them.
    """
    for cell in plan["cells"]:
        task, folder = plan["tasks"][cell["task"]], Path(cell["path"])
        parts, measured = [], {}
        for name, variant in task["variants"].items():
            own = name if variant.get("where") else "shared"
            ids = [f"{own}-{i}" for i in range(examples)]
            key = (
                cell["task"],
                name,
                *(cell[k] for k in ("model", "method", "level", "transfer", "fraction", "seed", "calibration_seed")),
            )
            rows = predictions(task["kind"], ids, probability(cell, name), key)
            value = float(METRICS[task["metric"]].compute(rows))
            given = {"uniform": 0.25, "majority": 0.5}.get(task["chance"], task["chance"])
            chance = 1 / variant["n_options"] if variant.get("n_options") else given
            measured[name] = {"n_examples": examples, "chance": chance, "metrics": {task["metric"]: value}}
            parts.append(rows.assign(variant=name))
        folder.mkdir(parents=True, exist_ok=True)
        pd.concat(parts).to_parquet(folder / "predictions.parquet", index=False)
        keys = ("model", "method", "level", "transfer", "task", "fraction", "seed", "calibration_seed")
        named = {key: cell[key] for key in keys}
        write_json(folder / "metrics.json", {"schema": 1, "suite": cell["task"], **named, "variants": measured})


def options_plan(root: Path, levels: tuple[str, ...] = ("0.50", "0.70"), **changes: Any) -> dict[str, Any]:
    """A small plan: one decoder and its twin, multiple choice with 2 and 8 options, magnitude pruning."""
    experiment = {
        "name": "choices",
        "id": "E5",
        "title": "Number of options",
        "question": "Do more options hurt?",
        "models": ["small"],
        "controls": ["small-untrained"],
        "methods": {"magnitude": list(levels)},
        "transfers": ["none"],
        "tasks": ["options"],
        "panels": [{"label": "Choices", "where": {}}],
        "series": [
            {"label": "2", "where": {"variant": "two"}},
            {"label": "8", "where": {"variant": "eight"}},
        ],
        "ordered": True,
        "series_title": "Options",
        "y": "percent_of_dense",
    }
    variants = {
        "two": {"n_options": 2, "true_difficulty": 1.0},
        "eight": {"n_options": 8, "true_difficulty": 2.0},
    }
    task = {
        "kind": "multiple_choice",
        "metric": "accuracy",
        "chance": "uniform",
        "human": None,
        "variants": variants,
    }
    states = [("small", "dense", "dense", "dense", 0.0), ("small-untrained", "dense", "dense", "dense", 0.0)]
    parsed = [parse(level) for level in levels]
    states += [("small", "magnitude", level.text, level.kind, float(level.sparsity)) for level in parsed]
    cells = [
        {
            **{
                "model": model,
                "method": method,
                "level": level,
                "kind": kind,
                "sparsity": sparsity,
                "transfer": "none",
            },
            **{"task": "options", "fraction": "1.00", "seed": None, "calibration_seed": None},
            "control": model == "small-untrained",
            "path": str(root / f"evaluate/{model}/{method}/{level}/none/options"),
        }
        for model, method, level, kind, sparsity in states
    ]
    return {
        "experiment": experiment | changes,
        "reported": [],
        "tasks": {"options": task},
        "models": {"small": {"untrained_twin_of": None}, "small-untrained": {"untrained_twin_of": "small"}},
        "methods": {"magnitude": {"label": "Magnitude"}},
        "cells": cells,
    }


def calibrated(plan: dict[str, Any], seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, Any]:
    """The same plan with every compressed state once per draw of calibration data."""
    cells = []
    for cell in plan["cells"]:
        for seed in seeds if cell["method"] != "dense" else [None]:
            cells.append(cell | {"calibration_seed": seed, "path": f"{cell['path']}/{seed}"})
    return plan | {"cells": cells}


def trained(plan: dict[str, Any], seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, Any]:
    """The same plan with every state fine-tuned under sparse transfer, once per seed."""
    cells = []
    for cell in plan["cells"]:
        for seed in seeds:
            transfer = "dense" if cell["method"] == "dense" else "sparse"
            cells.append(cell | {"transfer": transfer, "seed": seed, "path": f"{cell['path']}/{seed}"})
    return plan | {"cells": cells, "experiment": plan["experiment"] | {"transfers": ["sparse"]}}
