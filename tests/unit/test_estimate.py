"""The estimate counts each job once and multiplies what the unit costs say; each of these says where it is from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import estimate
from junkdna.config import PROJECT, calibrated, read_all, read_yaml
from junkdna.estimate import Prices, jobs_of
from junkdna.files import DataError
from junkdna.grid import Cell, expand_all

UNITS = PROJECT / "resources/unit_costs.yaml"
PAPER = PROJECT / "config/paper.yaml"
README = (PROJECT / "README.md").read_text()


@pytest.fixture(scope="module")
def catalog():
    return read_all([PAPER])[1]


def priced(catalog, cell: Cell, rule: str) -> Any:
    (job,) = [job for job in jobs_of([cell], catalog, calibrated(catalog)) if job.rule == rule]
    return Prices(read_yaml(UNITS), catalog).cost(job)


def test_shared_jobs_are_counted_once(catalog) -> None:
    cells = [Cell("roberta-large", "magnitude", "0.50", "sparse", "cola", "1.00", seed) for seed in ("41", "42")]
    cells += [Cell("roberta-large", "gptq", "4bit", "zero_shot", "cola", "1.00", "41")]
    cells += [Cell("roberta-large", "dense", "dense", "dense", "cola", "1.00", "41")]
    jobs = jobs_of(cells, catalog, calibrated(catalog))
    found = {rule: sorted(job.path for job in jobs if job.rule == rule) for rule in {job.rule for job in jobs}}
    dense = "roberta-large/dense/dense/dense/cola/1.00/41"
    assert found["finetune"] == [dense, *(f"roberta-large/magnitude/0.50/sparse/cola/1.00/{seed}" for seed in (41, 42))]
    gptq = "roberta-large/gptq/4bit/zero_shot/cola/1.00/41"
    assert found["compress"] == [gptq, "roberta-large/magnitude/0.50"] and len(found["evaluate"]) == 4
    assert found["index"] == ["roberta-large"] and found["fetch_dataset"] == ["c4", "glue"]


def test_seconds_and_bytes_follow_parameters_tokens_and_data(catalog) -> None:
    whole, tenth = (
        priced(catalog, Cell("roberta-large", "magnitude", "0.50", "sparse", "qnli", f, "41"), "finetune")
        for f in ("1.00", "0.10")
    )
    # 6 FLOP for each weight and token, three epochs, on 0.4 of 19.5 TFLOP/s; starting costs the same.
    expected = 6 * 302.0e6 * 3 * 104743 * 56 / (0.4 * 19.5e12)
    assert (whole.seconds - tenth.seconds) / 0.9 == pytest.approx(expected)
    assert whole.bytes == 4 * 355.4e6 and whole.extrapolated
    states = {m: priced(catalog, Cell("vicuna-7b", m, "0.50", "none", "mmlu", calibration="0"), "compress")
              for m in ("magnitude_layerwise", "wanda", "sparsegpt")}  # fmt: skip
    sizes = [states[m].bytes / 6.476e9 for m in states]
    assert sizes == pytest.approx([0, 1 / 8, 1 / 8 + 2 * 0.5])
    packed = priced(catalog, Cell("vicuna-7b", "gptq", "4bit", "none", "mmlu", calibration="0"), "compress")
    assert packed.bytes / 6.476e9 == pytest.approx(4 / 8 + 3 / 128)
    assert states["sparsegpt"].seconds > states["wanda"].seconds


def test_measured_models_take_measured_seconds(catalog) -> None:
    cell = Cell("organism-encoder", "magnitude", "0.50", "sparse", "agreement", "1.00", "0")
    assert (priced(catalog, cell, "finetune").seconds, priced(catalog, cell, "finetune").extrapolated) == (3.6, False)
    unknown = Cell("organism-encoder", "magnitude", "0.50", "sparse", "cola", "1.00", "0")
    assert (priced(catalog, unknown, "finetune").seconds, priced(catalog, unknown, "finetune").extrapolated) == (
        3.5,
        True,
    )


def test_a_model_without_unit_costs_is_named(catalog) -> None:
    changed = catalog.model_copy(update={"models": {**catalog.models, "other": catalog.models["roberta-base"]}})
    with pytest.raises(DataError, match=r"unit costs: models\.other: missing; there are .*roberta-large"):
        priced(changed, Cell("other", "dense", "dense", "dense", "cola", "1.00", "0"), "finetune")


def test_the_demo_costs_what_it_was_measured_to_cost() -> None:
    """1,216 jobs took 1613 s in all; two tasks came after that measurement."""
    _, catalog, experiments = read_all([])
    drawing = calibrated(catalog)
    grids = expand_all(experiments, drawing)
    prices = Prices(read_yaml(UNITS), catalog)
    cells = {cell for cells in grids.values() for cell in cells if cell.task not in ("two_people", "five_values")}
    jobs = jobs_of(sorted(cells), catalog, drawing)
    assert len(jobs) == 1216
    assert sum(prices.cost(job).seconds for job in jobs) / len(jobs) == pytest.approx(1613 / 1216, rel=0.1)


def test_every_unit_cost_has_a_source_and_says_whether_it_was_measured() -> None:
    def numbers(node: Any, path: str = "") -> list[str]:
        if isinstance(node, dict) and "value" in node:
            return [] if node.get("source") and isinstance(node.get("extrapolated"), bool) else [path]
        entries = node.items() if isinstance(node, dict) else []
        return [found for key, value in entries for found in numbers(value, f"{path}.{key}")]

    units = read_yaml(UNITS)
    assert not numbers(units["computed"])
    assert all(entry["source"] and entry["extrapolated"] is False for entry in units["measured"])


def test_the_readme_has_the_table_that_the_command_prints() -> None:
    printed = estimate.table([PAPER], Path(UNITS)).splitlines()
    shown = re.search(r"(\| experiment \| protocol \|.*?)\n\n", README, re.DOTALL)[1].splitlines()
    assert shown == printed
