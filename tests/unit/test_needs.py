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


def cell(model: str, task: str = "qnli", method: str = "dense", level: str = "dense") -> Cell:
    return Cell(model, method, level, "sparse", task, "1.00", "41")


def test_memory_grows_with_the_model_and_its_data_type(paper, organisms) -> None:
    # 2 copies of float16 in an evaluation, 1.5 in a compression, and what torch takes.
    large = cell("vicuna-7b")
    assert paper.memory("evaluate", large) == pytest.approx(2000 + 2 * 2 * 6738, abs=1)
    assert paper.memory("compress", large) == pytest.approx(2000 + 1.5 * 2 * 6738, abs=1)
    assert paper.memory("evaluate", large, "gpu") - paper.memory("evaluate", large) == 4000
    assert 2000 < organisms.memory("finetune", cell("organism-encoder", "lexical")) < 2100


def test_a_fine_tuning_asks_for_what_its_batches_take(paper) -> None:
    # 6 copies of float32, and 20 values per token and width for texts padded to the 128 tokens of max_length.
    width = (2 * 355.4e6) ** 0.5
    asked = 2000 + 6 * 4 * 355.4 + 32 * 128 * 20 * 4 * width / 1e6
    assert paper.memory("finetune", cell("roberta-large", "qnli_128")) == pytest.approx(asked, abs=1)
    # A row of rte has 79 tokens on average, so that few reach its limit of 512; one of csqa 115 in all its options.
    body = 2000 + 6 * 4 * 355.4
    for task, tokens in (("rte", 79), ("csqa", 115)):
        extra = paper.memory("finetune", cell("roberta-large", task)) - body
        assert extra == pytest.approx(16 * 3 * tokens * 20 * 4 * width / 1e6, abs=1)


def test_a_sweep_over_levels_asks_for_each_level_s_state(paper) -> None:
    wanda, sparsegpt = (cell("vicuna-7b", "mmlu", name, "0.50") for name in ("wanda_dense", "sparsegpt_dense"))
    one = paper.memory("compress", wanda, levels=["0.50"])
    assert one == paper.memory("compress", cell("vicuna-7b", "mmlu", "wanda", "0.50"))
    assert paper.memory("compress", wanda, levels=["0.50", "0.60"]) - one == pytest.approx(6738 / 8, abs=1)
    more = paper.memory("compress", sparsegpt, levels=["0.50", "0.60"]) - one
    assert more == pytest.approx((1 / 8 + 0.4 * 2) * 6738, abs=1)


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
    assert unknown.memory("evaluate", cell("my-model", "x")) == 2000 + 8000
    assert unknown.minutes("evaluate", Cell("my-model", "dense", "dense", "none", "x")) == needs.UNKNOWN
