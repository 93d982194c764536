"""Verdicts of several scales side by side, and by fixed rules a paragraph that says what they show together.

A scale is a configuration with models and tasks of its own. Effects of two scales are compared by whether their 95 %
intervals meet, and never pooled: two scales are two observations.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from junkdna.markdown import joined
from junkdna.verdicts import NOT_SUPPORTED, SUPPORTED, UNDECIDED

ALIKE, OPPOSITE, SOME, NONE = "decided alike", "in opposite ways", "at some scales only", "at none"


def side_by_side(own: pd.DataFrame, others: list[pd.DataFrame]) -> pd.DataFrame:
    """The claims of ``own`` with the verdicts of every scale: claim by claim, the own scale first.

    Args:
        own: table of verdicts of this run.
        others: those of other scales.
    """
    both = pd.concat([own, *others], ignore_index=True)
    order = {key: place for place, key in enumerate(own["claim"])}
    both = both[both["claim"].isin(order)]
    return both.sort_values("claim", key=lambda claim: claim.map(order), kind="stable", ignore_index=True)


def together(both: pd.DataFrame) -> str:
    """What the scales of :func:`side_by_side` show together, in one paragraph."""
    scales = list(dict.fromkeys(both["scale"]))
    if len(scales) < 2:
        return f"Only one scale, {scales[0]}, has been judged; whether another would agree is open."
    found = [_claim(list(rows.itertuples())) for _, rows in both.groupby("claim", sort=False)]
    kinds = [kind for kind, _ in found]
    shares = ", ".join(f"{kinds.count(kind)} {kind}" for kind in (ALIKE, OPPOSITE, SOME, NONE))
    text = [f"Judged by the same rules at {joined(scales)}: of {len(found)} claims, {shares}."]
    text += [sentence for wanted in (OPPOSITE, ALIKE, SOME, NONE) for kind, sentence in found if kind == wanted]
    if OPPOSITE in kinds:
        text.append("What is decided in opposite ways depends on models and tasks: it does not carry over.")
    elif set(kinds) != {NONE}:
        text.append("No verdict of one scale is contradicted at another.")
    return " ".join(text)


def _claim(rows: list[Any]) -> tuple[str, str]:
    """How the scales stand to each other on one claim, and that as a sentence or two."""
    claim = f'{rows[0].claim} ("{rows[0].statement.rstrip(".")}")'
    told = [row for row in rows if pd.notna(row.effect)]
    if not told:
        return NONE, f"No scale has data on {claim}."
    at = {verdict: [row.scale for row in told if row.verdict == verdict] for verdict in (SUPPORTED, NOT_SUPPORTED)}
    decided = {verdict: scales for verdict, scales in at.items() if scales}
    unsure = [row.scale for row in told if row.verdict == UNDECIDED]
    kind = OPPOSITE if len(decided) > 1 else NONE if not decided else SOME if unsure or len(told) < 2 else ALIKE
    parts = [f"{verdict} at {joined(scales)}" for verdict, scales in decided.items()]
    parts += [f"undecided at {joined(unsure)}"] if unsure else []
    silent = [row.scale for row in rows if pd.isna(row.effect)]
    parts += [f"without data at {joined(silent)}"] if silent else []
    return kind, f"{claim} is {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}{_effects(told)}."


def _effects(rows: list[Any]) -> str:
    if len(rows) < 2:
        return ""
    if max(row.ci_low for row in rows) > min(row.ci_high for row in rows):
        return "; the intervals do not meet, so that the effect differs between the scales"
    same = len({row.effect > 0 for row in rows}) == 1
    return f"; the effects point {'the same way' if same else 'in opposite directions'}, and the intervals meet"
