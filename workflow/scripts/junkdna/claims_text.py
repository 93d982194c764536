"""The verdicts as a text, for readers who know the hypothesis and not the code."""

from __future__ import annotations

from typing import Any

import pandas as pd

from junkdna.claims import Claim, Claims
from junkdna.curves import level_label
from junkdna.evidence import Evidence
from junkdna.markdown import points
from junkdna.scales import side_by_side, together
from junkdna.verdicts import NOT_SUPPORTED, SUPPORTED, Finding

HEAD = """# The claims

| claim | scale | verdict | effect | corrected p | seeds |
|---|---|---|---:|---:|---:|
{lines}

{together}

A drop is what compression takes of the score that the uncompressed model has above chance: 0 is nothing, 100 points are
all of it. Effects are in points of drop, with 95 % intervals that hold for other seeds, other examples, and other sets
of tasks (or ways of pruning) like these. Each curve is taken at the level nearest to where its panel has lost {at:g} %
on average. p-values are two-sided and corrected for the number of claims (Holm).
{counts}"""
COUNTED = """
A task counts only where the uncompressed model is better than chance, and where pre-training matters wherever the
untrained twin was run on it (`pretraining.csv`): else it cannot show what pre-trained weights do.
"""
ANY_COUNTED = """
A task counts only where the uncompressed model is better than chance; whether pre-training matters for it is not asked
(`needs_pretraining`).
"""
UNTESTED = "Without a run of the twin, so that this rule does not apply: {names}.\n"
SECTION = """
## {key}: {statement}

**{verdict}.** {because}

- Effect: {effect} points (corrected p {p}): {what}.
- Without the correction for chance, as the paper measures drops: {relative} points.
- {power}
- Rule: {rule}

{table}
{left_out}"""
KEY = (
    "Seeds: fine-tunings, or draws of calibration data; 1 where one compressed model was evaluated. Examples: of the\n"
)
KEY += "smallest series. "
KEY_ORDER = "Order: Kendall's tau of drop and difficulty over the series, 1 for a monotonic rise."
KEY_ERROR = "Dense error: share of what is above chance that the dense model does not reach."
MODELS = {
    "sparse": "models pruned and fine-tuned with the removed weights kept at zero",
    "sparse_to_dense": "models pruned and then fine-tuned with all weights",
    "dense_frozen": "models whose small weights kept their pre-trained values while the others were fine-tuned",
    "none": "models compressed and not trained again",
    "zero_shot": "models fine-tuned and then compressed",
    "dense": "dense models",
}


def render(
    claims: Claims, findings: dict[str, Finding], judged: pd.DataFrame, others: list[pd.DataFrame], untested: list[str]
) -> str:
    """The text of claims.md: an overview, then each claim with its evidence, rule and what was left out.

    Args:
        others: verdicts of other scales.
        untested: models and tasks whose untrained twin was not run.
    """
    at, both = 100 * claims.rules.at_drop, side_by_side(judged, others)
    counts = COUNTED if claims.rules.needs_pretraining else ANY_COUNTED
    counts += UNTESTED.format(names=", ".join(untested)) if untested else ""
    lines = [
        f"| {row.claim}: {row.statement} | {row.scale} | {row.verdict} "
        f"| {points(row.effect, row.ci_low, row.ci_high)} | {_p(row.p_corrected)} | {row.n_seeds or '-'} |"
        for row in both.itertuples()
    ]
    sections = [_section(claims, findings[row.claim], row) for row in judged.itertuples()]
    return HEAD.format(lines="\n".join(lines), together=together(both), at=at, counts=counts) + "".join(sections)


def _section(claims: Claims, found: Finding, row: Any) -> str:
    table = ["No evidence."]
    if found.evidence:
        last = "order" if found.claim.statistic == "rise" else "dense error"
        columns = (_many(found.claim)[0], "level", "mean drop", "effect", last, "seeds", "examples")
        table = [f"| {' | '.join(columns)} |", "|---|---|---:|---:|---:|---:|---:|"]
        table += [_row(one) for one in found.evidence]
        table += ["", KEY + (KEY_ORDER if last == "order" else KEY_ERROR)]
    reasons = "\n".join(f"- {reason}" for reason in found.left_out)
    return SECTION.format(
        key=row.claim,
        statement=row.statement,
        verdict=row.verdict.capitalize(),
        because=_because(claims, found, row),
        effect=points(row.effect, row.ci_low, row.ci_high),
        p=_p(row.p_corrected),
        what=_what(found.claim, 100 * claims.rules.at_drop),
        relative=points(row.relative_effect, row.relative_ci_low, row.relative_ci_high),
        power=_power(row),
        rule=row.rule,
        table="\n".join(table),
        left_out=f"\nLeft out:\n\n{reasons}\n" if reasons else "",
    )


def _because(claims: Claims, found: Finding, row: Any) -> str:
    """Why this verdict, in a sentence or two."""
    claim, alpha = found.claim, claims.rules.alpha
    if not found.evidence:
        return "This configuration has nothing that could decide it."
    some, several = _many(claim)
    there = row.p_corrected < alpha and row.effect >= claim.smallest_effect
    excluded = row.p_below_smallest_corrected < alpha
    least = f"{100 * claim.smallest_effect:g} points"
    if there:
        text = f"The effect is there: told from 0, and at least {least}."
    elif excluded:
        text = f"An effect of {least} or more is excluded."
    else:
        text = f"The data neither show an effect nor exclude one of {least} or more."
    count = len(found.evidence)
    above = round(row.share_above * count)
    text += f" {above} of {count} {several if count > 1 else some} {'lie' if above != 1 else 'lies'} above 0."
    against = [one for one, shown in zip(found.evidence, found.against(alpha), strict=True) if shown]
    if against:
        named = "; ".join(one.name for one in against)
        text += f" Against the claim by {'themselves' if len(against) > 1 else 'itself'}: {named}."
    if row.verdict not in (SUPPORTED, NOT_SUPPORTED) and excluded and claim.absent and claim.needs and not against:
        text += f" But the effect that it is the absence of, {claim.needs}, is not shown either."
    if row.verdict not in (SUPPORTED, NOT_SUPPORTED) and claim.over == "ways" and count < 2:
        text += " One way of pruning cannot tell whether it holds for others."
    return text


def _what(claim: Claim, at: float) -> str:
    if claim.statistic == "rise":
        return f"what the hardest series loses more than the easiest, by the slope over all, at a mean drop of {at:g} %"
    of, minus = MODELS[claim.of["transfer"]], claim.minus.get("transfer")
    if not minus:
        return f"the drop of {of}, against dense models with the same fine-tuning"
    return f"the drop of {of}, less that of {MODELS[minus]}"


def _power(row: Any) -> str:
    if pd.isna(row.detectable_effect):
        return "Power: none without evidence."
    given = "Power: with these seeds, examples and differences between sets"
    if row.detectable_effect > 1:
        return f"{given} no effect that a drop can have would be told from 0 four times in five."
    size = f"{100 * row.detectable_effect:.0f} points"
    return f"{given} a true effect of {size} would be told from 0 four times in five (`make power`: smaller ones)."


def _many(claim: Claim) -> tuple[str, str]:
    return ("way of pruning", "ways of pruning") if claim.over == "ways" else ("set of tasks", "sets of tasks")


def _row(one: Evidence) -> str:
    estimate = one.effect.interval()
    levels = ", ".join(map(level_label, one.levels))
    order = f"{100 * one.dense_error:.0f}" if pd.isna(one.tau) else f"{one.tau:.2f}"
    effect = points(estimate.value, estimate.low, estimate.high)
    return (
        f"| {one.name} | {levels} | {100 * one.mean_drop:.0f} | {effect} | {order} | {one.n_seeds} | {one.n_examples} |"
    )


def _p(p: float) -> str:
    return "-" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
