"""What an experiment says about a claim: one effect per set of tasks, or per way of pruning.

A curve set is the series that one panel compares, for one model and method, on one difficulty axis. It is taken at
the level whose mean drop is nearest to `at_drop` of config/claims.yaml. Curve sets with the same dense references (the
panels of one figure, several methods) are averaged seed by seed and draw by draw: they share their examples. What is
left are sets of tasks with models of their own, which count as independent.

Drops are chance-corrected unless ``measure`` says otherwise: guessing keeps half of a two-option task, but an eighth of
an eight-option one, so that the plain drop grows with the number of options whatever is pruned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from junkdna.claims import Claim, Rules
from junkdna.curves import CURVE, curves, difficulty_axes, level_rank
from junkdna.drops import Drop, alike
from junkdna.effects import Effect, effect, mean_of
from junkdna.outcomes import Point
from junkdna.telling import Telling, keys, silent
from junkdna.trends import rise_weights, tau_b

FIELDS = list(Point.__dataclass_fields__)


@dataclass(frozen=True)
class CurveSet:
    """The series that one panel compares, for one model and method.

    Attributes:
        unit: name of its set of tasks.
        way: model and method.
        where: name for messages.
        study: number of the experiment.
        levels: level to the points of the series, mildest level first.
        weights: of the series' drops in the effect.
        n_examples: smallest number of examples of a series.
        dense_error: mean over the series.
    """

    unit: str
    way: str
    where: str
    study: int
    levels: dict[str, list[Point]]
    weights: np.ndarray
    n_examples: int
    dense_error: float


@dataclass(frozen=True)
class Taken:
    """A curve set at its level: the effect asked for and the mean drop, by seed and draw."""

    curves: CurveSet
    level: str
    rise: Drop
    mean: Drop
    tau: float


@dataclass(frozen=True)
class Evidence:
    """The effect of one set of tasks, or of one way of pruning, and the bootstrap draws of its mean over seeds."""

    name: str
    effect: Effect
    draws: np.ndarray
    levels: list[str]
    mean_drop: float
    tau: float
    dense_error: float
    n_seeds: int
    n_examples: int


def arrange(
    claim: Claim, studies: list[tuple[dict[str, Any], pd.DataFrame]], telling: Telling
) -> tuple[list[CurveSet], list[str]]:
    """The curve sets that decide a claim, and what was left out and why, in the order of the experiments.

    Args:
        studies: plan and table of points of each experiment.
        telling: what :func:`junkdna.telling.find` found.
    """
    sets: list[CurveSet] = []
    left_out: list[str] = []
    known = set()
    for number, (plan, table) in enumerate(studies):
        if plan["experiment"]["id"] in claim.experiments:
            known.add(plan["experiment"]["id"])
            found, why = _curve_sets(claim, number, plan["experiment"], table, telling)
            sets += found
            left_out += why
    return sets, left_out + [f"{name}: not in this configuration" for name in claim.experiments if name not in known]


def gather(
    claim: Claim, rules: Rules, sets: list[CurveSet], drops: list[dict[Point, Drop]]
) -> tuple[list[Evidence], list[str]]:
    """The evidence on a claim from its curve sets, and what says nothing.

    Args:
        drops: of each experiment, by point.
    """
    taken: dict[str, list[Taken]] = {}
    silent: dict[str, bool] = {}
    for one in sets:
        found = _nearest(rules, one, drops[one.study])
        silent[one.where] = silent.get(one.where, True) and found is None
        if found:
            taken.setdefault(one.unit, []).append(found)
    low, high = (f"{100 * bound:g} %" for bound in rules.lost)
    lost = [unit for unit, group in taken.items() if not _common(group)]
    taken = {unit: group for unit, group in taken.items() if unit not in lost}
    left_out = [
        f"{w}: no level at which {low} to {high} are lost on average" for w, nothing in silent.items() if nothing
    ]
    left_out += [f"{unit}: with each seed a fine-tuning diverged" for unit in lost]
    if claim.over == "tasks":
        return [_evidence(claim, rules, unit, [group]) for unit, group in taken.items()], left_out
    ways = dict.fromkeys(one.curves.way for group in taken.values() for one in group)
    per_way = {way: [[t for t in group if t.curves.way == way] for group in taken.values()] for way in ways}
    return [_evidence(claim, rules, way, [g for g in groups if g]) for way, groups in per_way.items()], left_out


def _curve_sets(
    claim: Claim, number: int, experiment: dict[str, Any], table: pd.DataFrame, telling: Telling
) -> tuple[list[CurveSet], list[str]]:
    title = f"{experiment['id']} {experiment['title']}"
    if claim.statistic == "rise" and not experiment["ordered"]:
        return [], [f"{title}: its series have no order"]
    axis = {label: name for name, labels in difficulty_axes(experiment).items() for label in labels}
    found = curves(experiment, table)
    found = found.assign(axis=found["series"].map(axis))[~found["method"].isin(claim.except_methods)]
    wanted = {transfer for where in (claim.of, claim.minus) for transfer in where.values()}
    if missing := wanted - set(found["transfer"]):
        return [], [f"{title}: no series with transfer {', '.join(sorted(missing))}"]
    kept = found[[key in telling.errors for key in keys(found)]]
    pinned = {key for series in experiment["series"] for key in series["where"]}
    free = [key for key in CURVE if key not in pinned]
    sets, left_out = [], []
    for (panel, name, model), group in found.groupby(["panel", "axis", "model"], sort=False):
        told = [panel] * (found["panel"].nunique() > 1) + [name] * (found["axis"].nunique() > 1)
        where = ", ".join([title, *told, *([model] if _several_models(found) else [])])
        rest = kept[(kept["panel"] == panel) & (kept["axis"] == name) & (kept["model"] == model)]
        few = rest["series"].nunique() < 2
        left_out += silent(where, group, telling, few)
        if few:
            continue
        unit = _unit(title, found, rest, group)
        error = float(np.mean([telling.errors[key] for key in keys(rest)]))
        sets += [_curve_set(claim, unit, where, number, one, error) for _, one in rest.groupby(free, sort=False)]
    return sets, left_out


def _unit(title: str, found: pd.DataFrame, rest: pd.DataFrame, group: pd.DataFrame) -> str:
    """Name of the set of tasks: panels with the same dense references have one."""
    tasks = set(keys(rest))
    same = [
        panel
        for panel, part in found[found["axis"] == group["axis"].iloc[0]].groupby("panel", sort=False)
        if tasks & set(keys(part))
    ]
    parts = [] if len(same) == found["panel"].nunique() else [", ".join(same)]
    parts += [group["axis"].iloc[0]] if found["axis"].nunique() > 1 else []
    parts += [group["model"].iloc[0]] if _several_models(found) else []
    return ", ".join([title, *parts])


def _several_models(found: pd.DataFrame) -> bool:
    """Whether a panel has several, so that its label does not tell them apart."""
    return found.groupby("panel")["model"].nunique().max() > 1


def _curve_set(claim: Claim, unit: str, where: str, number: int, group: pd.DataFrame, error: float) -> CurveSet:
    series = group["series"].nunique()
    levels = {
        level: [Point(*key) for key in here[FIELDS].itertuples(index=False, name=None)]
        for level, here in sorted(group.groupby("level"), key=lambda item: level_rank(item[0]))
        if len(here) == series
    }
    way = ", ".join(dict.fromkeys([*group["model"], *group["method"]]))
    order = group.drop_duplicates("series")
    weights = rise_weights(series) if claim.statistic == "rise" else _difference(claim, order["transfer"])
    return CurveSet(unit, way, where, number, levels, weights, int(group["n_examples"].min()), error)


def _difference(claim: Claim, transfer: pd.Series) -> np.ndarray:
    of, minus = ((transfer == where.get("transfer")).to_numpy(float) for where in (claim.of, claim.minus))
    return of / max(of.sum(), 1) - minus / max(minus.sum(), 1)


def _nearest(rules: Rules, curve_set: CurveSet, drops: dict[Point, Drop]) -> Taken | None:
    """At the level whose mean drop is nearest to the one wanted; None where none is in range."""
    best: tuple[float, str, list[Drop]] | None = None
    for level, points in curve_set.levels.items():
        series = [drops[point] for point in points]
        if not alike(series)[0].seeds:
            continue
        mean = float(np.mean([one.values.mean() for one in series]))
        distance = round(abs(mean - rules.at_drop), 9)
        if rules.lost[0] <= mean <= rules.lost[1] and (best is None or distance < best[0]):
            best = distance, level, series
    if best is None:
        return None
    series = alike(best[2])
    tau = float(tau_b(np.array([one.values.mean() for one in series])))
    mean = _weighted(series, np.full(len(series), 1 / len(series)))
    return Taken(curve_set, best[1], _weighted(series, curve_set.weights), mean, tau)


def _common(sets: list[Taken]) -> bool:
    """Whether curve sets have a seed in common, with which none of their fine-tunings diverged."""
    return bool(alike([one.rise for one in sets])[0].seeds)


def _weighted(drops: list[Drop], weights: np.ndarray) -> Drop:
    values, draws = (
        sum(w * getattr(one, part) for w, one in zip(weights, drops, strict=True)) for part in ("values", "draws")
    )
    return Drop(values, draws, drops[0].seeds)


def _evidence(claim: Claim, rules: Rules, name: str, units: list[list[Taken]]) -> Evidence:
    """Average over curve sets within a unit seed by seed, then over units as independent."""
    parts = [_unit_effect(claim, rules, sets) for sets in units]
    sets = [one for unit in units for one in unit]
    found, draws = mean_of([part for part, _ in parts], np.stack([drawn for _, drawn in parts]))
    return Evidence(
        name=name,
        effect=found,
        draws=draws,
        levels=list(dict.fromkeys(one.level for one in sets)),
        mean_drop=float(np.mean([one.mean.values.mean() for one in sets])),
        tau=float(np.mean([one.tau for one in sets])) if claim.statistic == "rise" else float("nan"),
        dense_error=float(np.mean([one.curves.dense_error for one in sets])),
        n_seeds=min(len(one.rise.values) for one in sets),
        n_examples=min(one.curves.n_examples for one in sets),
    )


def _unit_effect(claim: Claim, rules: Rules, sets: list[Taken]) -> tuple[Effect, np.ndarray]:
    n = len(sets)
    both = alike([one.rise for one in sets] + [one.mean for one in sets])
    rise, mean = _weighted(both[:n], np.full(n, 1 / n)), _weighted(both[n:], np.full(n, 1 / n))
    values, draws = rise.values, rise.draws
    if claim.statistic == "rise":
        # A ratio of means, linear around it: the spread of single seeds' ratios has no bound.
        centre = mean.values.mean()
        ratio = rules.at_drop * rise.values.mean() / centre
        values = ratio + (rules.at_drop * rise.values - ratio * mean.values) / centre
        draws = ratio + (rules.at_drop * rise.draws - ratio * mean.draws) / centre
    return effect(values, draws), np.nanmean(draws, axis=0)
