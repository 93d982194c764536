"""How many seeds a claim would need: the power of its test with other numbers of seeds, from what was observed.

More seeds take away what differs between seeds; what differs between sets of tasks, and what the draw of the examples
causes, stays. So there is a size of effect that no number of seeds can show; then more sets of tasks are needed.
"""

from __future__ import annotations

import pandas as pd

from junkdna.effects import Effect, detectable

SHOWN = (3, 5, 10, 20, 50)
MOST = 100
MANY = 10**6


def with_seeds(claim: pd.Series, sets: pd.DataFrame, n: int) -> Effect:
    """The effect of a claim with the errors that ``n`` seeds would give it.

    Args:
        claim: its row of claims.csv.
        sets: its rows of claims_sets.csv.
    """
    seeded = sets["n_seeds"] > 1
    now = sets["variance_seeds"]
    then = now.where(~seeded, now * sets["n_seeds"] / n)
    count = len(sets)
    least = float((then if claim["variance_examples"] else then + sets["variance_examples"]).mean() / count)
    between = max(float(claim["variance_between"] - (now - then).mean() / count), min(least, claim["variance_between"]))
    df = n - 1 if count == 1 and seeded.any() else claim["degrees_of_freedom"]
    return Effect(float(claim["effect"]), between, float(claim["variance_examples"]), df)


def needed(claim: pd.Series, sets: pd.DataFrame, wanted: float, alpha: float) -> int | None:
    """Fewest seeds with which a true effect of this size is found with 80 % power; None if more than MOST."""
    return next((n for n in range(2, MOST + 1) if detectable(with_seeds(claim, sets, n), alpha) <= wanted), None)


def sets_needed(claim: pd.Series, wanted: float, alpha: float) -> int | None:
    """Fewest sets of tasks, as different as those there are, with which this effect is found; None if over MOST."""
    if claim["n_sets"] < 2:
        return None
    whole = float(claim["variance_between"] * claim["n_sets"])
    errors = ((n, Effect(0.0, whole / n, float(claim["variance_examples"]), n - 1)) for n in range(2, MOST + 1))
    return next((n for n, error in errors if detectable(error, alpha) <= wanted), None)


def lines(judged: pd.DataFrame, sets: pd.DataFrame, alpha: float, wanted: float | None = None) -> list[str]:
    """The printed table: per claim the smallest effect that 3, 5, ... seeds show, and the seeds that one needs.

    Args:
        wanted: the effect to plan for; None takes each claim's smallest effect of interest.
    """
    found = judged[judged["n_sets"] > 0]
    head = f"{'claim':6}{'seeds now':>10}{'shows':>8}" + "".join(f"{n:>8}" for n in SHOWN) + f"{'ever':>8}   needed"
    text = [f"Smallest effect (points of drop) shown with 80 % power at alpha {alpha:g} / {len(found)} claims,", head]
    for _, claim in found.iterrows():
        own = sets[sets["claim"] == claim["claim"]]
        corrected = alpha / len(found)
        shown = [detectable(with_seeds(claim, own, n), corrected) for n in (*SHOWN, MANY)]
        target = wanted if wanted is not None else float(claim["smallest_effect"])
        row = f"{claim['claim']:6}{int(own['n_seeds'].max()):>10}{100 * claim['detectable_effect']:>8.1f}"
        row += "".join(f"{100 * value:>8.1f}" for value in shown)
        kind = "ways of pruning" if own["over"].iloc[0] == "ways" else "sets of tasks"
        size = f"for {100 * target:g} points"
        if target >= shown[-1]:
            answer = f"{needed(claim, own, target, corrected) or f'more than {MOST}'} seeds {size}"
        elif found_sets := sets_needed(claim, target, corrected):
            answer = f"{found_sets} {kind} {size}; more seeds alone do not do"
        else:
            answer = f"neither {MOST} seeds nor {MOST} {kind} {size}"
        text.append(f"{row}   {answer}")
    return text
