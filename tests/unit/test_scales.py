"""Verdicts of several scales: kept, checked before any job, shown side by side, and what they show together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from junkdna.claims import kept_verdicts, read_claims
from junkdna.config import ConfigError, Settings
from junkdna.scales import side_by_side, together
from junkdna.tidy import read_csv, write_csv
from junkdna.verdicts import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from support import PROJECT

CLAIMS = read_claims(PROJECT / "config/claims.yaml")


def row(claim: str, verdict: str, low: float, high: float, **more: Any) -> dict[str, Any]:
    """A claim's verdict with the interval of its effect."""
    found = {"claim": claim, "statement": f"Statement of {claim}.", "verdict": verdict, "n_seeds": 3}
    return found | {"effect": (low + high) / 2, "ci_low": low, "ci_high": high, "p_corrected": 0.01} | more


def scale(name: str, *rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([{"scale": name} | row for row in rows])


NOTHING = {"effect": float("nan"), "ci_low": float("nan"), "ci_high": float("nan"), "n_seeds": 0}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (
            row("C1", SUPPORTED, 0.2, 0.4),
            row("C1", SUPPORTED, 0.3, 0.5),
            "of 1 claims, 1 decided alike, 0 in opposite ways, 0 at some scales only, 0 at none. C1 "
            '("Statement of C1") is supported at organism and small; the effects point the same way, and the intervals '
            "meet. No verdict of one scale is contradicted at another.",
        ),
        (
            row("C1", SUPPORTED, 0.2, 0.4),
            row("C1", NOT_SUPPORTED, -0.1, 0.05),
            "0 decided alike, 1 in opposite ways, 0 at some scales only, 0 at none. C1 "
            '("Statement of C1") is supported at organism and not supported at small; the intervals do not meet, so '
            "that the effect differs between the scales. What is decided in opposite ways depends on models and tasks: "
            "it does not carry over.",
        ),
        (
            row("C1", UNDECIDED, -0.5, 0.3),
            row("C1", SUPPORTED, 0.2, 0.4),
            "0 in opposite ways, 1 at some scales only, 0 at none. C1 "
            '("Statement of C1") is supported at small and undecided at organism; the effects point in opposite '
            "directions, and the intervals meet. No verdict of one scale is contradicted at another.",
        ),
        (
            row("C1", UNDECIDED, -0.1, 0.3),
            row("C1", UNDECIDED, 0.0, 0.4),
            '1 at none. C1 ("Statement of C1") is undecided at organism and small; the effects point the same way, and '
            "the intervals meet.",
        ),
        (
            row("C1", SUPPORTED, 0.2, 0.4),
            row("C1", UNDECIDED, 0.0, 0.0, **NOTHING),
            '1 at some scales only, 0 at none. C1 ("Statement of C1") is supported at organism and without data at '
            "small. No verdict of one scale is contradicted at another.",
        ),
        (
            row("C1", UNDECIDED, 0.0, 0.0, **NOTHING),
            row("C1", UNDECIDED, 0.0, 0.0, **NOTHING),
            '1 at none. No scale has data on C1 ("Statement of C1").',
        ),
    ],
    ids=["agree", "contradict", "one undecided", "both undecided", "one without data", "no data"],
)
def test_what_two_scales_show_together(one: dict[str, Any], other: dict[str, Any], expected: str) -> None:
    text = together(side_by_side(scale("organism", one), [scale("small", other)]))
    assert text.startswith("Judged by the same rules at organism and small: ") and text.endswith(expected)


def test_claims_in_their_order_the_own_scale_first_and_three_scales() -> None:
    own = scale("small", row("C1", SUPPORTED, 0.1, 0.3), row("C2", SUPPORTED, 0.1, 0.3))
    others = [
        scale("organism", row("C2", SUPPORTED, 0.1, 0.3), row("C1", UNDECIDED, 0.0, 0.3), row("C9", SUPPORTED, 0, 1)),
        scale("real", row("C1", UNDECIDED, 0.0, 0.3)),
    ]
    both = side_by_side(own, others)
    assert (both["claim"] + both["scale"]).tolist() == ["C1small", "C1organism", "C1real", "C2small", "C2organism"]
    text = together(both)
    assert "1 decided alike, 0 in opposite ways, 1 at some" in text
    assert "is supported at small and undecided at organism and real" in text
    assert text.index("C2 (") < text.index("C1 (")  # what is decided alike comes first


def test_one_scale_says_that_there_is_no_other() -> None:
    text = together(side_by_side(scale("organism", row("C1", SUPPORTED, 0.1, 0.3)), []))
    assert text == "Only one scale, organism, has been judged; whether another would agree is open."


def settings(**changes: Any) -> Settings:
    return Settings(experiments=["e.yaml"], **changes)


def kept(path: Path, **changes: Any) -> Path:
    claim = CLAIMS.claims["C1"]
    known = {"statement": claim.statement, "smallest_effect": claim.smallest_effect, "p_corrected": 0.1}
    write_csv(path, scale("small", row("C1", SUPPORTED, 0.1, 0.3, **known | changes)))
    return path


def test_kept_verdicts_are_checked(tmp_path: Path) -> None:
    file, others = tmp_path / "claims.csv", {"small": tmp_path / "claims.csv"}

    def message() -> str:
        with pytest.raises(ConfigError) as error:
            kept_verdicts(settings(other_scales=others), CLAIMS)
        return str(error.value)

    assert f"other_scales.small: {file}: cannot be read (No such file" in message()
    assert "claims.csv of a run with `scale: small`, or null" in message()
    for changes in ({"smallest_effect": 0.2}, {"statement": "Another."}):
        kept(file, **changes)
        assert "C1: judged by another statement or smallest effect" in message()
    kept(file, scale="tiny")
    assert "C1: is of the scale 'tiny'" in message()
    file.write_text("claim,verdict\nC1,supported\n")
    assert "no table of verdicts (missing: scale, statement, " in message()
    kept(file)
    assert kept_verdicts(settings(other_scales=others), CLAIMS) == [file]
    for left_out in (settings(other_scales={"small": None}), settings(scale="small", other_scales=others)):
        assert kept_verdicts(left_out, CLAIMS) == []


def test_the_shipped_verdicts_are_of_the_claims_as_they_stand() -> None:
    shipped = yaml.safe_load((PROJECT / "config/config.yaml").read_text())["other_scales"]
    files = kept_verdicts(settings(scale="none-of-them", other_scales=shipped), CLAIMS)
    assert files and all(set(read_csv(file)["claim"]) == set(CLAIMS.claims) for file in files)
