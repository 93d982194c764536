"""Verdicts: right where the truth is known, rarely wrong, and explained."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from simulated import options_plan, trained, write_cells
from simulated_claims import Design, judged
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from test_difficulty import scored

import aggregate
import judge
import power
from junkdna import drops, telling
from junkdna.claims import Claims, Rules, read_claims
from junkdna.config import ConfigError
from junkdna.drops import CORRECTED, RELATIVE, Drop
from junkdna.effects import Effect, detectable, effect, mean_of, pooled
from junkdna.evidence import Evidence, arrange, gather
from junkdna.files import DataError, write_json
from junkdna.outcomes import Point
from junkdna.power import lines, needed, with_seeds
from junkdna.telling import Telling
from junkdna.tidy import read_csv, write_csv
from junkdna.trends import holm
from junkdna.verdicts import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Finding, verdict
from support import PROJECT

FILE = PROJECT / "config/claims.yaml"
CLAIMS = read_claims(FILE)


def only(key: str, **changes: Any) -> Claims:
    """One claim of the file, decided by E1."""
    claim = CLAIMS.claims[key].model_copy(update={"experiments": ["E1"], "needs": None} | changes)
    return CLAIMS.model_copy(update={"claims": {key: claim}})


# --- The verdict on simulated studies ---------------------------------------------------------------------------------


def test_supported_where_the_claim_holds_by_construction() -> None:
    found = judged(only("C1"), Design(effect=0.25), 40)
    assert (found["verdict"] == SUPPORTED).mean() >= 0.95
    assert found["effect"].mean() == pytest.approx(0.25, abs=0.02)


def test_not_supported_where_difficulty_does_not_matter() -> None:
    found = judged(only("C1"), Design(examples=600), 30)
    assert (found["verdict"] == NOT_SUPPORTED).mean() >= 0.9


def test_undecided_with_two_seeds_and_few_examples() -> None:
    for size in (0.0, 0.2):
        found = judged(only("C1"), Design(experiments=2, seeds=2, examples=25, effect=size), 40)
        assert (found["verdict"] == UNDECIDED).mean() >= 0.75


@pytest.mark.parametrize(
    "design",
    [Design(), Design(seeds=1), Design(experiments=2, between=0.15, seeds=1), Design(experiments=1, spread=0.05)],
    ids=["seeds", "examples", "differing experiments", "one experiment"],
)
def test_seldom_supported_where_there_is_nothing(design: Design) -> None:
    found = judged(only("C1"), design, 300)
    # 300 studies: the standard error of 5 % is 1.3 points.
    assert (found["p"] < 0.05).mean() <= 0.05 + 0.025
    assert (found["verdict"] == SUPPORTED).mean() <= 0.05


@pytest.mark.parametrize("design", [Design(effect=0.10), Design(effect=0.10, seeds=1)], ids=["seeds", "examples"])
def test_an_effect_of_interest_is_seldom_excluded(design: Design) -> None:
    found, absent = (judged(only(key), design, 100) for key in ("C1", "C3"))
    assert (found["verdict"] == NOT_SUPPORTED).mean() <= 0.05 + 0.04
    assert (absent["verdict"] == SUPPORTED).mean() <= 0.05 + 0.04


def test_the_stated_power_is_the_power() -> None:
    size = judged(only("C1"), Design(), 40)["detectable_effect"].median()
    found = judged(only("C1"), Design(effect=size), 80, seed=1)
    assert 0.65 <= (found["p"] < 0.05).mean() <= 0.95


# --- The rule ---------------------------------------------------------------------------------------------------------


def finding(key: str, *values: float, error: float = 0.01) -> Finding:
    """A claim whose sets of tasks have these effects."""
    generator = np.random.default_rng(0)
    parts = [Effect(value, 0.0, error**2, 0) for value in values]
    drawn = [value + error * generator.standard_normal(2000) for value in values]
    evidence = [
        Evidence(str(i), part, draws, ["0.50"], 0.3, 1.0, 0.1, 1, 100)
        for i, (part, draws) in enumerate(zip(parts, drawn, strict=True))
    ]
    mean = pooled(parts, np.stack(drawn))
    return Finding(CLAIMS.claims[key], evidence, [], mean, mean)


@pytest.mark.parametrize(
    ("key", "values", "there", "excluded", "needed_is_there", "expected"),
    [
        ("C1", (0.2, 0.3, 0.25), True, False, True, SUPPORTED),
        ("C1", (0.2, 0.3, 0.25), False, False, True, UNDECIDED),
        ("C1", (0.0, 0.01, 0.02), False, True, True, NOT_SUPPORTED),
        ("C1", (0.9, 0.9, -0.2), True, False, True, UNDECIDED),  # one set of tasks shows the opposite
        ("C3", (0.0, 0.01, 0.02), False, True, True, SUPPORTED),
        ("C3", (0.0, 0.01, 0.02), False, True, False, UNDECIDED),  # no separation under pruning either
        ("C3", (-0.3, 0.2, 0.0), False, True, True, UNDECIDED),  # one set of tasks separates
        ("C3", (0.2, 0.3, 0.25), True, False, True, NOT_SUPPORTED),
        ("C5", (0.2, 0.3, 0.25, 0.2), True, False, True, SUPPORTED),
        ("C5", (0.4, 0.5, 0.4, -0.01), True, False, True, UNDECIDED),  # three of four are less than 80 %
        ("C5", (0.2,), True, False, True, UNDECIDED),  # one way says nothing of others
        ("C5", (0.0,), False, True, True, UNDECIDED),
    ],
)
def test_verdict(
    key: str, values: tuple[float, ...], there: bool, excluded: bool, needed_is_there: bool, expected: str
) -> None:
    assert verdict(finding(key, *values), there, excluded, needed_is_there, 0.05) == expected


def test_the_file_is_checked(tmp_path: Path) -> None:
    read_claims(FILE, ["magnitude", "random"])
    content = yaml.safe_load(FILE.read_text())
    file = tmp_path / "claims.yaml"

    def message(**changes: Any) -> str:
        file.write_text(yaml.safe_dump(content | {"claims": {"C1": content["claims"]["C1"] | changes}}))
        with pytest.raises(ConfigError) as error:
            read_claims(file, ["magnitude", "random"])
        return str(error.value)

    assert "claims.C1.needs: 'C9': allowed: C1" in message(needs="C9")
    assert "claims.C1.except_methods: 'rondam'" in message(except_methods=["rondam"])
    assert "`statistic: drop`" in message(of={"transfer": "sparse"})
    assert "smallest_effect" in message(smallest_effect=-1)
    assert "did you mean 'absent'" in message(absend=True)


# --- The statistics ---------------------------------------------------------------------------------------------------


def test_pooled_is_the_knapp_hartung_interval_of_a_meta_analysis() -> None:
    values, error = np.array([0.1, 0.4, 0.15, 0.3]), 0.05
    parts = [Effect(value, 0.0, error**2, 0) for value in values]
    drawn = values[:, None] + error * np.random.default_rng(1).standard_normal((4, 200_000))
    found = pooled(parts, drawn)
    expected = combine_effects(values, np.full(4, error**2), method_re="iterated", use_t=True)
    assert found.value == pytest.approx(expected.mean_effect_re)
    assert found.error == pytest.approx(expected.sd_eff_w_re_hksj, rel=0.02)
    alike = pooled(parts[:1] * 4, drawn - values[:, None] + 0.1)  # no narrower than the parts' own errors
    assert alike.error == pytest.approx(expected.sd_eff_w_fe, rel=0.02)
    both, _ = mean_of([Effect(0.1, 0.01, 0.0, 2), Effect(0.3, 0.01, 0.0, 2)], np.zeros((2, 10)))
    assert (both.value, both.between, both.df) == pytest.approx((0.2, 0.005, 4.0))


def test_shared_examples_do_not_average_out() -> None:
    """Four methods on the same questions are wrong together."""
    shared = np.random.default_rng(2).standard_normal(5000)
    drawn = 0.2 + 0.05 * np.tile(shared, (4, 1))
    found = pooled([Effect(0.2, 0.0, 0.05**2, 0)] * 4, drawn)
    assert found.error == pytest.approx(0.05, rel=0.03)


@pytest.mark.parametrize("seeds", [3, 5, 20])
def test_detectable_effect_is_the_power_of_the_t_test(seeds: int) -> None:
    found = detectable(Effect(0.0, 1 / seeds, 0.0, seeds - 1), 0.05)
    # statsmodels: standardised by the spread of one seed, which is 1 here.
    expected = TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8, alternative="two-sided")
    assert found == pytest.approx(expected, rel=0.03)
    assert detectable(Effect(0.0, 0.0, 1.0, 0), 0.05) == pytest.approx(
        stats.norm.isf(0.025) + stats.norm.isf(0.2), 0.02
    )


def test_holm_is_statsmodels() -> None:
    p = np.random.default_rng(3).random(20) ** 4
    assert holm(pd.Series(p)).to_numpy() == pytest.approx(multipletests(p, method="holm")[1])


def test_drop_without_and_with_chance() -> None:
    value, dense = np.array([0.5, 0.25]), np.array([0.9, 0.9])
    assert 1 - drops.left(value, dense, True) == pytest.approx([4 / 9, 13 / 18])
    assert 1 - drops.left(value, dense, True, 0.25) == pytest.approx([0.4 / 0.65, 1.0])
    assert np.isnan(drops.left(value, np.array([0.25, 0.2]), True, 0.25)).all()
    one = Drop(np.array([0.1]), np.array([[0.1, 0.2]]), (None,))
    finer = one.like(((None, 0), (None, 1)))
    assert finer.values.tolist() == [0.1, 0.1] and finer.seeds == ((None, 0), (None, 1))
    with pytest.raises(DataError, match="seeds"):
        Drop(np.zeros(2), np.zeros((2, 3)), (0, 1)).like((0, 2))


def test_drops_survive_their_file(tmp_path: Path) -> None:
    point = Point("m", "wanda", "0.50", "none", "t", "v", "1.00")
    one = Drop(np.array([0.1, 0.25]), np.array([[0.5, 0.25, 1.0], [0.125, 0.0, 0.0]]), ((None, 0), (None, 1)))
    drops.write(tmp_path / "d.parquet", {RELATIVE: {point: one}, CORRECTED: {point: one}})
    found = drops.read(tmp_path / "d.parquet")[CORRECTED][point]
    assert found.seeds == one.seeds and (found.values == one.values).all() and (found.draws == one.draws).all()
    with pytest.raises(DataError, match="d2.parquet"):
        drops.read(tmp_path / "d2.parquet")


# --- From cells to verdicts -------------------------------------------------------------------------------------------


def probability(cell: dict[str, Any], variant: str) -> float:
    """Guessing at 1/2 and 1/8; a loss above chance of 10, 30 or 60 % on average, three times as large for eight."""
    chance = 0.5 if variant == "two" else 0.125
    if cell["control"]:
        return chance
    loss = {"dense": 0.0, "0.30": 0.1, "0.50": 0.3, "0.70": 0.6}[cell["level"]] * (1.5 if variant == "eight" else 0.5)
    return chance + (0.95 - chance) * (1 - loss)


def run(root: Path, plan: dict[str, Any], right: Callable[..., float] = probability) -> pd.DataFrame:
    """Cells, tables, difficulty and claims of one experiment."""
    write_cells(plan, right, examples=400)
    write_json(root / "plan.json", plan)
    names = ("table", "contrasts", "trends", "curves", "against-dense", "markdown", "latex")
    options = [part for name in names for part in (f"--{name}", f"{root}/{name}")]
    aggregate.main(["--plan", f"{root}/plan.json", "--drops", f"{root}/drops", *options])
    (root / "difficulty").mkdir()
    scored(root / "difficulty", plan)
    given = {"claims": FILE, "plans": root / "plan.json", "tables": root / "table", "drops": root / "drops"}
    given |= {f: root / f"difficulty/{name}" for f, name in (("difficulty", "table"), ("pretraining", "pretraining"))}
    write_csv(root / "kept.csv", pd.DataFrame([OTHER]))
    given |= {"table": root / "claims.csv", "scale": "organism", "others": root / "kept.csv"}
    given |= {"sets": root / "sets.csv", "markdown": root / "claims.md"}
    judge.main([part for name, path in given.items() for part in (f"--{name}", str(path))])
    return read_csv(root / "claims.csv").set_index("claim")


LEVELS = ("0.30", "0.50", "0.70")
OTHER = {"scale": "small", "claim": "C1", "statement": "Known.", "verdict": SUPPORTED, "effect": 0.2, "ci_low": 0.1}
OTHER |= {"ci_high": 0.4, "p_corrected": 0.01, "n_seeds": 5}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("claims")
    run(root, trained(options_plan(root, LEVELS)))
    return root


def test_tables_of_the_claims(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, sets = read_csv(done / "claims.csv").set_index("claim"), read_csv(done / "sets.csv")
    first = found.loc["C1"]
    # The level nearest to a mean drop of 30 %: 45 % against 15 %.
    assert first["effect"] == pytest.approx(0.30, abs=0.08) and first["ci_low"] < 0.30 < first["ci_high"]
    assert first["verdict"] == SUPPORTED and first["n_seeds"] == 3 and first["n_examples"] == 400
    assert first["relative_effect"] > first["effect"]  # guessing keeps more of two options than of eight
    assert sets.loc[0, "levels"] == "0.50" and sets.loc[0, "tau"] == 1 and sets.loc[0, "set"] == "E5 Number of options"
    assert sets.loc[0, "mean_drop"] == pytest.approx(0.3, abs=0.05)
    others = found.drop("C1")
    assert (others["verdict"] == UNDECIDED).all() and (others["n_sets"] == 0).all() and others["effect"].isna().all()
    assert first["left_out"].startswith("E1: not in this configuration; E2:")
    power.main(["--table", f"{done}/claims.csv", "--sets", f"{done}/sets.csv"])
    assert "C1" in capsys.readouterr().out


def test_the_text_explains_every_verdict(done: Path) -> None:
    text = (done / "claims.md").read_text()
    for row in read_csv(done / "claims.csv").itertuples():
        section = text.split(f"\n## {row.claim}: ")[1].split("\n## ")[0]
        assert section.startswith(row.statement) and f"**{row.verdict.capitalize()}.**" in section
        assert row.rule in section
    assert "| small | supported | 20.0 [10.0, 40.0] | 0.010 | 5 |" in text
    assert "Judged by the same rules at organism and small: of 5 claims, 1 decided alike" in text
    assert "| E5 Number of options | 50 % |" in text and "- E1: not in this configuration" in text
    assert "This configuration has nothing that could decide it." in text and "nan" not in text.replace("nance", "")


def test_what_says_nothing_is_left_out_and_named(tmp_path: Path) -> None:
    def flat(cell: dict[str, Any], variant: str) -> float:
        return 0.2 if cell["control"] else 0.9

    def guessing(cell: dict[str, Any], variant: str) -> float:
        return 0.125 if variant == "eight" and cell["method"] == "dense" else probability(cell, variant)

    for right, reason in (
        (flat, "no level at which 5 % to 95 % are lost"),
        (guessing, "options/eight: pre-training does not"),
    ):
        root = tmp_path / right.__name__
        root.mkdir()
        found = run(root, options_plan(root, ("0.30",)), right)
        assert reason in found.loc["C1", "left_out"] and found.loc["C1", "n_sets"] == 0


def test_a_series_tells_if_better_than_chance_and_than_the_twin_wherever_it_was_run() -> None:
    row = {"model": "m", "task": "t", "variant": "v", "fraction": "1.00", "dense_error": 0.1, "chance": 0.5}
    row |= {"dense_metric": 0.7, "dense_ci_low": 0.6, "dense_ci_high": 0.9, "metric": "accuracy"}
    rows = [row, row | {"task": "u", "dense_ci_low": 0.4}, row | {"task": "w"}, row | {"task": "w", "fraction": "0.10"}]
    rows += [row | {"task": "p", "dense_error": np.nan}, row | {"task": "q", "dense_error": np.nan, "chance": 1.0}]
    rows += [row | {"task": "r", "dense_error": np.nan, "chance": np.nan}]
    twin = {"model": "m", "variant": "v", "fraction": "1.00", "metric": "accuracy", "value": 0.7, "twin_value": 0.6}
    twin |= {"difference": 0.1, "difference_ci_low": -0.1, "difference_ci_high": 0.3}
    beside = pd.DataFrame([twin | {"task": "t", "matters": 1}, twin | {"task": "w", "matters": 0}])
    found = telling.find(Rules(), pd.DataFrame(rows), beside)
    assert {key[1] for key in found.errors} == {"t", "q"} and found.untested == [f"m on {task}" for task in "upqr"]
    reasons = {key[1]: reason for key, reason in found.reasons.items()}
    assert reasons["u"] == "the dense model is not better than chance (accuracy 0.700 [0.400, 0.900], chance 0.5)"
    values = "accuracy 0.700, untrained 0.600, difference 0.100 [-0.100, 0.300]"
    assert reasons["w"] == f"pre-training does not matter ({values})" and "no chance level" in reasons["r"]
    free = telling.find(Rules(needs_pretraining=False), pd.DataFrame(rows), beside)
    assert {key[1:] for key in free.errors} - {key[1:] for key in found.errors} == {
        ("w", "v", "1.00"),
        ("w", "v", "0.10"),
    }


def test_series_that_say_nothing_are_named_though_the_others_count() -> None:
    rows = [{"method": "magnitude", "level": "0.50", "task": "t", "variant": v} for v in "abc"]
    experiment = {
        **{"id": "E5", "name": "e", "title": "T", "ordered": True, "series_title": "D"},
        "panels": [{"label": "P", "where": {}}],
        "series": [{"label": v, "where": {"variant": v}} for v in "abc"],
    }
    told = Telling({("m", "t", v, "1.00"): 0.2 for v in "ac"}, {("m", "t", "b", "1.00"): "it rained"}, [])
    sets, left_out = arrange(CLAIMS.claims["C1"], [({"experiment": experiment}, table(rows))], told)
    assert [len(points) for points in sets[0].levels.values()] == [2] and left_out[0] == "E5 T: t/b: it rained"


def test_without_the_twin_the_text_says_that_the_rule_does_not_apply(tmp_path: Path) -> None:
    plan = trained(options_plan(tmp_path, LEVELS))
    plan["cells"] = [cell for cell in plan["cells"] if not cell["control"]]
    assert run(tmp_path, plan).loc["C1", "n_sets"] == 1
    assert "so that this rule does not apply: small on options." in (tmp_path / "claims.md").read_text()


def table(rows: list[dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": "m", "fraction": "1.00", "control": 0, "n_examples": 9, "n_seeds": 1, "transfer": "none"} | row
            for row in rows
        ]
    )


def constant(values: dict[Point, float]) -> dict[Point, Drop]:
    return {point: Drop(np.array([v]), np.full((1, 50), v), (None,)) for point, v in values.items()}


def test_panels_of_the_same_tasks_are_one_set_and_controls_do_not_count() -> None:
    methods, variants = ("magnitude", "layerwise", "random"), ("a", "b")
    rows = [
        {"method": m, "level": level, "task": "t", "variant": v}
        for m in methods
        for level in ("0.50", "0.70")
        for v in variants
    ]
    experiment = {
        **{"id": "E3", "name": "e", "title": "T", "ordered": True, "series_title": "D"},
        "panels": [{"label": m, "where": {"method": m}} for m in methods],
        "series": [{"label": v, "where": {"variant": v}} for v in variants],
    }
    told = Telling({("m", "t", v, "1.00"): 0.2 for v in variants}, {}, [])
    drop = {("magnitude", "0.50"): (0.1, 0.5), ("layerwise", "0.70"): (0.3, 0.4), ("random", "0.50"): (0.9, 0.0)}
    values = {
        Point("m", row["method"], row["level"], "none", "t", row["variant"], "1.00"): drop.get(
            (row["method"], row["level"]), (0.9, 0.96)
        )[row["variant"] == "b"]
        for row in rows
    }
    studies = [({"experiment": experiment}, table(rows))]
    sets, left_out = arrange(CLAIMS.claims["C1"], studies, told)
    found, silent = gather(CLAIMS.claims["C1"], CLAIMS.rules, sets, [constant(values)])
    assert [one.name for one in found] == ["E3 T"] and found[0].levels == ["0.50", "0.70"] and not silent
    # Rises of 0.4 and 0.1 at mean drops of 0.30 and 0.35: their means' ratio, at 0.30.
    assert found[0].effect.value == pytest.approx(0.30 * 0.25 / 0.325)
    claim = CLAIMS.claims["C5"].model_copy(update={"experiments": ["E3"]})
    ways, _ = gather(claim, CLAIMS.rules, arrange(claim, studies, told)[0], [constant(values)])
    assert [one.name for one in ways] == ["m, magnitude", "m, layerwise"]
    assert [one.effect.value for one in ways] == pytest.approx([0.4, 0.30 * 0.1 / 0.35])
    assert "E1: not in this configuration" in left_out
    none, why = arrange(CLAIMS.claims["C1"], studies, Telling({}, dict.fromkeys(told.errors, "it rained"), []))
    assert none == [] and why[0] == "E3 T, magnitude: t/a, t/b: it rained, which leaves nothing to compare"


def test_drop_claims_compare_transfers() -> None:
    transfers = {"sparse": 0.5, "sparse_to_dense": 0.4, "dense_frozen": 0.1}
    rows = [
        {"method": "magnitude", "level": "0.50", "task": "t", "variant": "v", "transfer": transfer}
        for transfer in transfers
    ]
    experiment = {
        **{"id": "E9", "name": "e", "title": "T", "ordered": False, "series_title": "D"},
        "panels": [{"label": "P", "where": {}}],
        "series": [{"label": name, "where": {"transfer": name}} for name in transfers],
    }
    values = {
        Point("m", "magnitude", "0.50", transfer, "t", "v", "1.00"): value for transfer, value in transfers.items()
    }
    told = Telling({("m", "t", "v", "1.00"): 0.3}, {}, [])
    for key, expected in (("C2", 0.4), ("C4", 0.3)):
        sets, _ = arrange(CLAIMS.claims[key], [({"experiment": experiment}, table(rows))], told)
        found, _ = gather(CLAIMS.claims[key], CLAIMS.rules, sets, [constant(values)])
        assert found[0].effect.value == pytest.approx(expected) and math.isnan(found[0].tau)
        assert found[0].dense_error == 0.3
    part = table([row for row in rows if row["transfer"] != "dense_frozen"])
    experiment["series"] = experiment["series"][:2]
    _, why = arrange(CLAIMS.claims["C4"], [({"experiment": experiment}, part)], told)
    assert why == ["E9 T: no series with transfer dense_frozen"]


# --- Power ------------------------------------------------------------------------------------------------------------


def sets_of(seeds: int, between: float, examples: float, count: int) -> pd.DataFrame:
    row = {"claim": "C1", "over": "tasks", "n_seeds": seeds, "variance_seeds": between, "variance_examples": examples}
    return pd.DataFrame([row] * count)


def test_more_seeds_take_away_what_differs_between_seeds() -> None:
    """A study of 3 seeds, planned for 12, has the errors of a study of 12."""
    generator = np.random.default_rng(4)
    spread, apart, count = 0.2, 0.1, 4000
    truth = apart * generator.standard_normal((count, 1))
    few, many = (truth + spread * generator.standard_normal((count, n)) for n in (3, 12))
    parts = [effect(row, np.tile(row[:, None], 2)) for row in few]
    claim = pd.Series({"effect": 0.0, "n_sets": count, "variance_examples": 0.0, "degrees_of_freedom": count - 1})
    claim["variance_between"] = few.mean(1).var(ddof=1) / count
    planned = with_seeds(claim, sets_of(3, np.mean([part.between for part in parts]), 0.0, count), 12)
    assert planned.between == pytest.approx(many.mean(1).var(ddof=1) / count, rel=0.08)


def test_seeds_needed_and_what_seeds_cannot_do() -> None:
    claim = pd.Series({"effect": 0.0, "n_sets": 1, "variance_examples": 0.0, "degrees_of_freedom": 2})
    claim["variance_between"] = 0.2**2 / 3
    own = sets_of(3, 0.2**2 / 3, 0.0, 1)
    n = needed(claim, own, 0.1, 0.05)
    expected = TTestPower().solve_power(effect_size=0.5, alpha=0.05, power=0.8, alternative="two-sided")
    assert n == pytest.approx(expected, abs=2)
    row = {"claim": "C1", "detectable_effect": 0.5, "smallest_effect": 0.1, **claim}
    assert "seeds for 10 points" in lines(pd.DataFrame([row]), own, 0.05)[-1]
    apart = row | {"n_sets": 5, "variance_between": 0.1**2 / 5, "degrees_of_freedom": 4}
    text = lines(pd.DataFrame([apart]), sets_of(1, 0.0, 0.0001, 5), 0.05)[-1]
    assert "sets of tasks for 10 points; more seeds alone do not do" in text
