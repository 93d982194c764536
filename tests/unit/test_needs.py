"""What a job asks for follows from its model: from the unit costs, or from the headers of files at hand."""

from __future__ import annotations

import pytest

from junkdna import needs
from junkdna.config import PROJECT, read_all, read_yaml
from junkdna.grid import Cell
from junkdna.needs import Needs

UNITS = read_yaml(PROJECT / "resources/unit_costs.yaml")


@pytest.fixture(scope="module")
def paper() -> Needs:
    return Needs(UNITS, read_all([PROJECT / "config/paper.yaml"])[1], None)


@pytest.fixture(scope="module")
def organisms() -> Needs:
    return Needs(UNITS, read_all([])[1], None)


def test_parameters_are_those_of_the_unit_costs_or_of_the_files(paper, organisms) -> None:
    assert paper.parameters("roberta-large") == 355.4e6
    encoder = organisms.parameters("organism-encoder")
    assert 3e5 < encoder < 1e6 and organisms.parameters("organism-encoder-untrained") == encoder


def test_memory_grows_with_the_model_and_its_data_type(paper, organisms) -> None:
    # 6 copies of float32 in a fine-tuning, 2 of float16 in an evaluation, and what torch takes.
    assert paper.memory("finetune", "roberta-large") == pytest.approx(2000 + 6 * 4 * 355.4, abs=1)
    assert paper.memory("evaluate", "vicuna-7b") == pytest.approx(2000 + 2 * 2 * 6738, abs=1)
    assert paper.memory("evaluate", "vicuna-7b", "gpu") - paper.memory("evaluate", "vicuna-7b") == 4000
    assert 2000 < organisms.memory("finetune", "organism-encoder") < 2050


def test_minutes_are_three_times_the_estimate(paper, organisms) -> None:
    base, large = (
        Cell(m, "magnitude", "0.50", "sparse", "qnli", "1.00", "41") for m in ("roberta-base", "roberta-large")
    )
    seconds = paper.prices.cost(needs.Job("finetune", "", large)).seconds
    assert paper.minutes("finetune", large) == pytest.approx(20 + 3 * seconds / 60, abs=1)
    assert paper.minutes("finetune", large) > 2 * paper.minutes("finetune", base)
    assert organisms.minutes("evaluate", Cell("organism-decoder", "random", "0.50", "none", "options")) == 21


def test_what_nobody_measured_gets_a_guess() -> None:
    from junkdna.catalog import Catalog

    task = {"label": "x", "kind": "perplexity", "dataset": "x", "configs": ["x"], "text": ["x"], "metric": "perplexity"}
    model = {"source": {"type": "hub", "id": "me/my-model"}}
    catalog = Catalog.model_validate({"models": {"my-model": model}, "tasks": {"x": task}})
    unknown = Needs(UNITS, catalog, None)
    assert unknown.memory("finetune", "my-model") == 2000 + 24000
    assert unknown.minutes("evaluate", Cell("my-model", "dense", "dense", "none", "x")) == needs.UNKNOWN
