"""Does an example's own difficulty predict at which level it is lost?

Of the examples that the dense model answers right, those that a compressed state answers wrong are lost. For each
compressed curve of a series, a logistic regression of lost on the example's difficulty, with an effect for each level
and seed: a proportional-odds reading, in which difficulty shifts the level at which an example is lost. Errors are
clustered by example, which levels and seeds share. `odds_ratio` is per standard deviation of the difficulty within the
series; above 1, harder examples are lost first.

The difficulty is learnt without the cells that it is to predict, or it would contain what it predicts: from all other
methods' answers (of the same model, the method is left out at every level, transfer and seed), or, where no other
method was run on the series, seed by seed from the other seeds. Methods that remove nearly the same weights (global and
layerwise magnitude) are still nearly the same cells; random removal owes the others least. Dense answers stay in: among
the examples that are modelled, the dense answer of the same seed is the same, right. Rows whose `task` is `all` hold
the series of a method together, each with levels of its own; those are the rows that the figure shows, in thirds of
difficulty.

A state that falls to guessing one class loses the examples of the others, under every method: there, difficulty is
mostly the class.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from junkdna.curve_measures import position
from junkdna.curves import DENSE, level_rank
from junkdna.levels import parse
from junkdna.responses import Difficulties, Series, State
from junkdna.statistics import CONFIDENCE

ALL = "all"
CURVE = ["model", "method", "transfer"]
COLUMNS = [
    *(*CURVE, "kind", "task", "variant", "fraction", "learnt_from", "n_examples", "n_answers", "n_lost"),
    *("odds_ratio", "ci_low", "ci_high", "p"),
]
THIRDS = ("easiest third", "middle third", "hardest third")
LEVEL_COLUMNS = [*CURVE, "kind", "level", "position", "third", "lost", "ci_low", "ci_high", "n_examples"]
# Fewer lost, or kept, answers than this say nothing about what distinguishes them.
ENOUGH = 10


def observe(difficulties: Difficulties) -> pd.DataFrame:
    """One row per answer of a compressed state to an example that its dense reference has right.

    Columns: those of CURVE, kind, level, seed, task, variant, fraction, id, learnt_from, difficulty in standard
    deviations within the series and seed, third (0 easiest), lost (0 or 1).
    """
    parts = []
    for series, found in difficulties.responses.items():
        dense = {(s.model, s.seed): row for s, row in zip(found.states, found.right, strict=True) if s.method == DENSE}
        curves = dict.fromkeys((s.model, s.method, s.transfer, s.seed) for s in found.states if s.method != DENSE)
        for model, method, transfer, seed in curves:
            others, source = _others(found.states, model, method, seed)
            reference = dense.get((model, seed))
            if not len(others) or reference is None:
                continue
            kept = reference == 1
            difficulty = difficulties.of_items(series, others)[kept]
            if not kept.any() or np.ptp(difficulty) == 0:
                continue
            rows = {"difficulty": (difficulty - difficulty.mean()) / difficulty.std(), "third": _thirds(difficulty)}
            for state, right in zip(found.states, found.right, strict=True):
                if (state.model, state.method, state.transfer, state.seed) == (model, method, transfer, seed):
                    frame = pd.DataFrame({"id": found.ids[kept], "lost": 1 - right[kept].astype(int), **rows})
                    parts.append(frame.assign(**_named(state), **series._asdict(), learnt_from=source))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["lost"])


def _named(state: State) -> dict[str, Any]:
    draw = (state.seed, state.calibration_seed)
    return {k: getattr(state, k) for k in (*CURVE, "level")} | {"seed": str(draw), "kind": parse(state.level).kind}


def _others(states: list[State], model: str, method: str, seed: int | None) -> tuple[np.ndarray, str]:
    """Rows to learn difficulty from for one method and seed, and what they are; none if nothing else was compressed."""
    foreign = [s.model != model or s.method != method for s in states]
    if any(out and s.method != DENSE for out, s in zip(foreign, states, strict=True)):
        return np.flatnonzero(foreign), "other methods"
    foreign = [s.seed != seed for s in states]
    if any(out and s.method != DENSE for out, s in zip(foreign, states, strict=True)):
        return np.flatnonzero(foreign), "other seeds"
    return np.array([], dtype=int), ""


def _thirds(difficulty: np.ndarray) -> np.ndarray:
    """0, 1, 2 for the easiest, middle, hardest third; equal difficulties stay together."""
    below = np.searchsorted(np.sort(difficulty), difficulty, side="left")
    upto = np.searchsorted(np.sort(difficulty), difficulty, side="right")
    return np.clip(3 * (below + upto) // (2 * len(difficulty)), 0, 2)


def predict(observed: pd.DataFrame) -> pd.DataFrame:
    """One row per curve and series, then one per curve with all its series."""
    rows = []
    if len(observed):
        for keys, group in observed.groupby([*CURVE, "kind"], sort=False):
            named = dict(zip([*CURVE, "kind"], keys, strict=True))
            for series, part in group.groupby(list(Series._fields), sort=False):
                rows.append(named | dict(zip(Series._fields, series, strict=True)) | regress(part))
            rows.append(named | dict.fromkeys(Series._fields, ALL) | regress(group))
    return pd.DataFrame(rows, columns=COLUMNS)


def regress(observed: pd.DataFrame) -> dict[str, Any]:
    """Odds ratio of being lost per standard deviation of difficulty.

    Left out where fewer than ENOUGH answers are lost, or kept, or where difficulty tells the two apart without error:
    the odds have no upper end then.
    """
    cell = observed.groupby([*Series._fields, "level", "seed"], sort=False).ngroup()
    question = observed.groupby(["task", "id"], sort=False).ngroup().to_numpy()
    # A level where all answers, or none, are lost says nothing about which are lost first.
    mixed = observed["lost"].groupby(cell).transform("nunique").to_numpy() == 2
    lost = observed["lost"].to_numpy(dtype=float)
    row = {
        "learnt_from": " | ".join(sorted(set(observed["learnt_from"]))),
        "n_examples": len(np.unique(question)),
        "n_answers": len(observed),
        "n_lost": int(lost.sum()),
    }
    used = lost[mixed]
    if min(used.sum(), (1 - used).sum()) < ENOUGH:
        return row
    from statsmodels.genmod.families import Binomial  # slow to import
    from statsmodels.genmod.generalized_linear_model import GLM
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    effects = pd.get_dummies(cell[mixed], dtype=float).to_numpy()
    design = np.column_stack([observed["difficulty"].to_numpy()[mixed], effects])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", PerfectSeparationWarning)
        try:
            fitted = GLM(used, design, family=Binomial()).fit(cov_type="cluster", cov_kwds={"groups": question[mixed]})
        except PerfectSeparationWarning:
            return row
    if not (fitted.converged and np.isfinite(fitted.bse[0])):
        return row
    half = ndtri((1 + CONFIDENCE) / 2) * fitted.bse[0]
    ends = np.exp(fitted.params[0] + np.array([0.0, -half, half]))
    return row | dict(zip(("odds_ratio", "ci_low", "ci_high"), ends, strict=True)) | {"p": float(fitted.pvalues[0])}


def by_third(observed: pd.DataFrame) -> pd.DataFrame:
    """Share of answers lost at each level by third of difficulty, with an interval over examples.

    One row per curve, level and third; series weigh by their examples.
    """
    rows = []
    if len(observed):
        for (*keys, level, third), group in observed.groupby([*CURVE, "kind", "level", "third"], sort=False):
            each = group.groupby(["task", "id"])["lost"].mean()
            mean, half = each.mean(), ndtri((1 + CONFIDENCE) / 2) * each.std() / np.sqrt(len(each))
            named = dict(zip([*CURVE, "kind"], keys, strict=True)) | {"level": level, "position": position(level)}
            ends = {"lost": mean, "ci_low": mean - half, "ci_high": mean + half, "n_examples": len(each)}
            rows.append(named | {"third": THIRDS[third]} | ends)
    rows.sort(key=lambda row: (*(row[key] for key in CURVE), level_rank(row["level"]), THIRDS.index(row["third"])))
    return pd.DataFrame(rows, columns=LEVEL_COLUMNS)
