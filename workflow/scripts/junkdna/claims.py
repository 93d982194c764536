"""The claims under test and the rules of their verdicts, as pydantic models, and the reader of config/claims.yaml.

Imported while Snakemake parses the Snakefile, so nothing heavy is imported here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from junkdna.catalog import TRANSFERS, Name, Strict
from junkdna.config import ConfigError, Settings, locate, read_yaml, validated

ClaimId = Annotated[str, Field(pattern=r"^C\d+$")]
Share = Annotated[float, Field(gt=0, lt=1)]
TransferIs = dict[Literal["transfer"], Literal[TRANSFERS]]
# What is shown of another scale's verdicts, and what tells that they are comparable.
KEPT = ("scale", "claim", "statement", "verdict", "effect", "ci_low", "ci_high", "p_corrected", "n_seeds")
KEPT += ("smallest_effect",)


class Rules(Strict):
    """What holds for every claim."""

    alpha: Share = Field(0.05, description="Error that the verdicts of all claims together may have.")
    at_drop: Share = Field(0.30, description="Each curve set is taken at the level whose mean drop is nearest to this.")
    lost: list[Share] = Field(
        [0.05, 0.95],
        min_length=2,
        max_length=2,
        description="Levels whose mean drop lies outside this range say nothing and are left out.",
    )
    needs_pretraining: bool = Field(
        True, description="A task counts only if pre-training matters wherever its untrained twin was run on it."
    )


class Claim(Strict):
    """One claim: what decides it, by which statistic, and how large an effect has to be."""

    statement: str
    experiments: list[Annotated[str, Field(pattern=r"^E\d+$")]] = Field(
        min_length=1, description="Numbers in the protocol; what a configuration does not run is left out."
    )
    statistic: Literal["rise", "drop"] = Field(
        description="rise: drop of the hardest minus the easiest series, by the slope over all of them, in proportion "
        "to a mean drop of `at_drop`. drop: drop of the series `of`, less that of `minus`."
    )
    of: TransferIs = Field({}, description="drop: the series whose drop is taken.")
    minus: TransferIs = Field({}, description="drop: the series whose drop is taken off; none, then the drop itself.")
    smallest_effect: Annotated[float, Field(gt=0)] = Field(
        description="Smallest effect of interest, as a share: 0.10 is 10 points of drop."
    )
    absent: bool = Field(False, description="The claim is that there is no such effect.")
    needs: ClaimId | None = Field(None, description="Supported only if the effect of that claim is there.")
    over: Literal["tasks", "ways"] = Field(
        "tasks", description="What the claim generalises over: sets of tasks, or ways of pruning (model and method)."
    )
    least_share: Share | None = Field(
        None, description="Supported only if this share of the tasks or ways has an effect above 0."
    )
    except_methods: list[Name] = Field([], description="Methods that do not count: controls.")

    @model_validator(mode="after")
    def _check(self) -> Claim:
        if (self.statistic == "drop") != bool(self.of) or (self.minus and not self.of):
            raise ValueError("of: needed with `statistic: drop`, and of and minus allowed with it alone")
        return self


class Claims(Strict):
    """The claims under test (config/claims.yaml)."""

    rules: Rules = Rules()
    claims: dict[ClaimId, Claim] = Field(min_length=1)

    def decided_by(self, experiment: str) -> list[str]:
        """The claims that an experiment with this number bears on."""
        return [key for key, claim in self.claims.items() if experiment in claim.experiments]


def kept_verdicts(settings: Settings, claims: Claims) -> list[Path]:
    """The kept verdicts of the other scales, checked: they hold beside ours if they were judged by the same claims.

    Raises:
        ConfigError: one line per problem.
    """
    others = {s: path for s, path in settings.other_scales.items() if path is not None and s != settings.scale}
    problems = [
        f"other_scales.{scale}: {path}: {problem}; allowed: claims.csv of a run with `scale: {scale}`, or null"
        for scale, path in others.items()
        for problem in _kept_problems(scale, locate(path), claims)
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return [locate(path) for path in others.values()]


def _kept_problems(scale: str, path: Path, claims: Claims) -> Iterable[str]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        yield f"cannot be read ({getattr(error, 'strerror', error)})"
        return
    if not rows or (missing := [column for column in KEPT if column not in rows[0]]):
        yield f"no table of verdicts (missing: {', '.join(missing if rows else KEPT)})"
        return
    for row in rows:
        claim = claims.claims.get(row["claim"])
        if row["scale"] != scale:
            yield f"{row['claim']}: is of the scale {row['scale']!r}"
        elif claim and (row["statement"], row["smallest_effect"]) != (claim.statement, f"{claim.smallest_effect:.6f}"):
            yield f"{row['claim']}: judged by another statement or smallest effect than the claims have now"


def read_claims(path: Path, methods: Iterable[str] | None = None) -> Claims:
    """Read and check the file of claims.

    Args:
        methods: names of the catalog; None leaves `except_methods` unchecked.

    Raises:
        ConfigError: one line per problem.
    """
    found = validated(Claims, read_yaml(path), str(path))
    problems = []
    for key, claim in found.claims.items():
        if claim.needs and claim.needs not in found.claims:
            problems.append(f"{path}: claims.{key}.needs: {claim.needs!r}: allowed: {', '.join(found.claims)}")
        unknown = [] if methods is None else sorted(set(claim.except_methods) - set(methods))
        problems += [
            f"{path}: claims.{key}.except_methods: {name!r}: no method of the catalog; allowed: {', '.join(methods)}"
            for name in unknown
        ]
    if problems:
        raise ConfigError("\n".join(problems))
    return found
