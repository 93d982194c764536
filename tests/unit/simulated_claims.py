"""Simulated studies with a known effect of difficulty, from single answers to what the claims read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from junkdna import drops
from junkdna.claims import Claims
from junkdna.drops import CORRECTED, RELATIVE, Drop
from junkdna.outcomes import Point
from junkdna.telling import Telling
from junkdna.verdicts import arrange_all, find, judge

DRAWS = 200
LEVELS = {"0.30": 0.10, "0.50": 0.30, "0.70": 0.60}  # to the mean drop
DENSE, CHANCE = 0.9, 0.25


@dataclass(frozen=True)
class Design:
    """How a study is run.

    Attributes:
        experiments: how many there are, each on tasks of its own.
        effect: true rise of the chance-corrected drop over the series, at a mean drop of 30 %.
        between: standard deviation of that rise between experiments.
        spread: standard deviation of a metric between seeds.
        shared: whether a seed's examples are as hard or easy in other seeds.
    """

    experiments: int = 5
    series: int = 3
    seeds: int = 3
    examples: int = 300
    effect: float = 0.0
    between: float = 0.0
    spread: float = 0.02
    shared: bool = True
    methods: tuple[str, ...] = ("magnitude",)
    id: str = "E1"


def drops_of(generator: np.random.Generator, design: Design, number: int) -> dict[str, dict[Point, Drop]]:
    """The drops of one experiment of a study."""
    rise = design.effect + design.between * generator.standard_normal()
    slope = np.linspace(-0.5, 0.5, design.series)
    loss = np.array([0.0, *LEVELS.values()])
    # (levels, series): in proportion to the mean drop, as a rise at 30 % scales.
    drop = np.clip(loss[:, None] * (1 + rise / 0.30 * slope), 0, 1)
    states = len(loss) * len(design.methods)
    metric = CHANCE + (DENSE - CHANCE) * (1 - np.tile(drop, (len(design.methods), 1)))
    noise = design.spread * generator.standard_normal((states, design.series, design.seeds))
    probability = np.clip(metric[..., None] + noise, 0, 1)[..., None]
    uniform = generator.random((states, design.series, design.seeds, design.examples))
    if design.shared:  # every second example has its luck in all states and seeds
        uniform[..., ::2] = generator.random((1, design.series, 1, (design.examples + 1) // 2))
    right = (uniform < probability).astype(np.float32)
    values, drawn = right.mean(-1, dtype=float), right @ resamples(design)
    drawn = drawn.astype(float) / design.examples
    found: dict[str, dict[Point, Drop]] = {RELATIVE: {}, CORRECTED: {}}
    seeds = tuple(range(design.seeds)) if design.seeds > 1 else (None,)
    for m, method in enumerate(design.methods):
        first = m * len(loss)
        for row, level in enumerate(LEVELS, start=first + 1):
            for s in range(design.series):
                point = Point("small", method, level, "none", f"task{number}", f"v{s}", "1.00")
                for measure, chance in ((RELATIVE, None), (CORRECTED, CHANCE)):
                    pairs = (values[row, s], values[first, s]), (drawn[row, s], drawn[first, s])
                    found[measure][point] = Drop(*(1 - drops.left(*pair, True, chance) for pair in pairs), seeds)
    return found


@cache
def resamples(design: Design) -> np.ndarray:
    """How often each bootstrap draw takes each example, shape (series, examples, draws)."""
    generator = np.random.default_rng(99)
    share = np.full(design.examples, 1 / design.examples)
    counts = generator.multinomial(design.examples, share, (design.series, DRAWS))
    return counts.swapaxes(1, 2).astype(np.float32)


def layout(design: Design, number: int) -> tuple[dict[str, Any], pd.DataFrame]:
    """Plan and table of points of one experiment, which are the same in every study of a design."""
    series = [{"label": f"v{s}", "where": {"variant": f"v{s}"}} for s in range(design.series)]
    experiment = {
        **{"id": design.id, "name": f"simulated{number}", "title": f"Simulated {number}", "ordered": True},
        **{"series_title": "Difficulty", "panels": [{"label": "All", "where": {}}], "series": series},
    }
    rows = [
        {
            **{"model": "small", "method": method, "level": level, "transfer": "none", "task": f"task{number}"},
            **{
                "variant": f"v{s}",
                "fraction": "1.00",
                "control": 0,
                "n_examples": design.examples,
                "n_seeds": design.seeds,
            },
        }
        for method in design.methods
        for level in LEVELS
        for s in range(design.series)
    ]
    return {"experiment": experiment}, pd.DataFrame(rows)


def judged(claims: Claims, design: Design, studies: int, seed: int = 0) -> pd.DataFrame:
    """The verdict of the only claim in each of many simulated studies."""
    generator = np.random.default_rng(seed)
    numbers = range(design.experiments)
    errors = {("small", f"task{n}", f"v{s}", "1.00"): 0.1 for n in numbers for s in range(design.series)}
    arranged = arrange_all(claims, [layout(design, n) for n in numbers], Telling(errors, {}, []))
    found = [
        judge(claims, find(claims, arranged, [drops_of(generator, design, n) for n in numbers]), "simulated")
        for _ in range(studies)
    ]
    return pd.concat(found, ignore_index=True)
