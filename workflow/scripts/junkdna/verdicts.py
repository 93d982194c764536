"""Verdicts on the claims, and the power behind them.

The rule, for a claim with effect e, smallest effect of interest m, and errors shared by all claims (Holm):
- `supported`: e differs from 0 (two-sided), is at least m, and no set of tasks shows the opposite (an effect of -m or
  beyond, below 0 after Holm's correction over the sets).
- `not supported`: e is below m (one-sided): the data exclude an effect of interest.
- `undecided`: neither.
A claim of absence has the first two the other way round: supported where e is below m and no set of tasks shows an
effect, not supported where e is there. A claim that an effect holds over ways of pruning also needs two ways or more,
and the share of them that has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from junkdna.claims import Claim, Claims
from junkdna.drops import CORRECTED, RELATIVE, Drop
from junkdna.effects import UNDEFINED, Effect, detectable, pooled
from junkdna.evidence import CurveSet, Evidence, arrange, gather
from junkdna.outcomes import Point
from junkdna.telling import Telling
from junkdna.trends import holm

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
COLUMNS = [
    *("scale", "claim", "statement", "experiments", "statistic", "effect", "ci_low", "ci_high"),
    *("p", "p_corrected", "p_below_smallest_corrected", "smallest_effect", "detectable_effect"),
    *("variance_between", "variance_examples", "degrees_of_freedom"),
    *("relative_effect", "relative_ci_low", "relative_ci_high"),
    *("n_sets", "share_above", "n_against", "n_seeds", "n_examples", "verdict", "rule", "left_out"),
]
SET_COLUMNS = [
    *(
        "claim",
        "over",
        "set",
        "effect",
        "ci_low",
        "ci_high",
        "p_above_holm",
        "p_below_holm",
        "tau",
        "dense_error",
        "mean_drop",
    ),
    *("levels", "n_seeds", "n_examples", "variance_seeds", "variance_examples", "degrees_of_freedom"),
]


@dataclass(frozen=True)
class Finding:
    """A claim, its evidence, and the mean effect over it."""

    claim: Claim
    evidence: list[Evidence]
    left_out: list[str]
    effect: Effect
    relative: Effect  # the same of the plain relative drop, as the paper measures it

    @property
    def p(self) -> float:
        """Two-sided p of the effect."""
        return 2 * min(self.effect.p_above(), self.effect.p_below(0.0))

    def sets_above(self) -> pd.Series:
        """Corrected one-sided p of each set of tasks that its effect is above 0."""
        return holm(pd.Series([one.effect.p_above() for one in self.evidence], dtype=float))

    def sets_below(self) -> pd.Series:
        return holm(pd.Series([one.effect.p_below(0.0) for one in self.evidence], dtype=float))

    def against(self, alpha: float) -> np.ndarray:
        """Which sets show the opposite of the claim: an effect of interest against it, told from 0."""
        p = self.sets_above() if self.claim.absent else self.sets_below()
        sign = 1 if self.claim.absent else -1
        values = np.array([sign * one.effect.value for one in self.evidence])
        return (p.to_numpy() < alpha) & (values >= self.claim.smallest_effect)

    @property
    def share_above(self) -> float:
        return float(np.mean([one.effect.value > 0 for one in self.evidence])) if self.evidence else math.nan


def arrange_all(
    claims: Claims, studies: list[tuple[dict[str, Any], pd.DataFrame]], telling: Telling
) -> dict[str, tuple[list[CurveSet], list[str]]]:
    """Claim to :func:`junkdna.evidence.arrange`."""
    return {key: arrange(claim, studies, telling) for key, claim in claims.claims.items()}


def find(
    claims: Claims,
    arranged: dict[str, tuple[list[CurveSet], list[str]]],
    drops: list[dict[str, dict[Point, Drop]]],
) -> dict[str, Finding]:
    """Claim to its evidence and effect.

    Args:
        drops: of each experiment, by measure and point.
    """
    findings = {}
    for key, claim in claims.claims.items():
        sets, left_out = arranged[key]
        found = {
            measure: gather(claim, claims.rules, sets, [one[measure] for one in drops])
            for measure in (CORRECTED, RELATIVE)
        }
        evidence, silent = found[CORRECTED]
        findings[key] = Finding(claim, evidence, silent + left_out, _mean(evidence), _mean(found[RELATIVE][0]))
    return findings


def _mean(evidence: list[Evidence]) -> Effect:
    if not evidence:
        return UNDEFINED
    return pooled([one.effect for one in evidence], np.stack([one.draws for one in evidence]))


def judge(claims: Claims, findings: dict[str, Finding], scale: str) -> pd.DataFrame:
    """One row per claim: effect, interval, corrected p, power, verdict and the rule that gave it."""
    alpha = claims.rules.alpha
    keys = list(findings)
    p = holm(pd.Series([found.p for found in findings.values()], index=keys))
    below = holm(
        pd.Series([f.effect.p_below(f.claim.smallest_effect) for f in findings.values()], index=keys, dtype=float)
    )
    there = {
        key: bool(p[key] < alpha and found.effect.value >= found.claim.smallest_effect)
        for key, found in findings.items()
    }
    judged = int(p.notna().sum())
    rows = []
    for key, found in findings.items():
        claim, estimate, relative = found.claim, found.effect.interval(), found.relative.interval()
        row = {
            **{"scale": scale, "claim": key},
            "statement": claim.statement,
            "experiments": ", ".join(claim.experiments),
            "statistic": claim.statistic,
            **{"effect": estimate.value, "ci_low": estimate.low, "ci_high": estimate.high},
            **{"p": found.p, "p_corrected": p[key], "p_below_smallest_corrected": below[key]},
            "smallest_effect": claim.smallest_effect,
            "detectable_effect": detectable(found.effect, alpha / judged) if judged else math.nan,
            "variance_between": found.effect.between,
            "variance_examples": found.effect.examples,
            "degrees_of_freedom": found.effect.df,
            "relative_effect": relative.value,
            **{"relative_ci_low": relative.low, "relative_ci_high": relative.high},
            "n_sets": len(found.evidence),
            "share_above": found.share_above,
            "n_against": int(found.against(alpha).sum()),
            "n_seeds": min((one.n_seeds for one in found.evidence), default=0),
            "n_examples": min((one.n_examples for one in found.evidence), default=0),
            "rule": rule(claim, alpha),
            "left_out": "; ".join(found.left_out),
        }
        needed = claim.needs is None or there[claim.needs]
        rows.append(row | {"verdict": verdict(found, there[key], bool(below[key] < alpha), needed, alpha)})
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict(found: Finding, there: bool, excluded: bool, needed: bool, alpha: float) -> str:
    """By the rule at the head of this module.

    Args:
        there: the effect is told from 0 and of interest.
        excluded: an effect of interest is excluded.
        needed: the effect that the claim presupposes is there.
    """
    claim = found.claim
    for_it, against = (excluded, there) if claim.absent else (there, excluded)
    enough = claim.least_share is None or (len(found.evidence) > 1 and found.share_above >= claim.least_share)
    if for_it and needed and enough and not found.against(alpha).any():
        return SUPPORTED
    return NOT_SUPPORTED if against and not (claim.over == "ways" and len(found.evidence) < 2) else UNDECIDED


def rule(claim: Claim, alpha: float) -> str:
    """The rule of a claim in words."""
    m, error = f"{100 * claim.smallest_effect:g} points", f"corrected p < {alpha:g}"
    many = "way of pruning" if claim.over == "ways" else "set of tasks"
    there = f"the mean effect differs from 0 ({error}) and is at least {m}"
    excluded = f"a mean effect of {m} or more is excluded (one-sided {error})"
    if claim.absent:
        needs = f", the effect of {claim.needs} is there," if claim.needs else ""
        return f"Supported if {excluded}{needs} and no {many} shows one; not supported if {there}; else undecided."
    share = f", at least {100 * claim.least_share:g} % of two or more have it," if claim.least_share else ""
    return f"Supported if {there}{share} and no {many} shows the opposite; not supported if {excluded}; else undecided."


def sets(findings: dict[str, Finding]) -> pd.DataFrame:
    """One row per claim and set of tasks, or way of pruning."""
    rows = []
    for key, found in findings.items():
        for one, above, below in zip(found.evidence, found.sets_above(), found.sets_below(), strict=True):
            estimate = one.effect.interval()
            rows.append(
                {
                    **{"claim": key, "over": found.claim.over, "set": one.name},
                    **{"effect": estimate.value, "ci_low": estimate.low, "ci_high": estimate.high},
                    **{"p_above_holm": above, "p_below_holm": below},
                    "levels": ", ".join(one.levels),
                    **{
                        name: getattr(one, name)
                        for name in ("tau", "dense_error", "mean_drop", "n_seeds", "n_examples")
                    },
                    "variance_seeds": one.effect.between,
                    "variance_examples": one.effect.examples,
                    "degrees_of_freedom": one.effect.df,
                }
            )
    return pd.DataFrame(rows, columns=SET_COLUMNS)
