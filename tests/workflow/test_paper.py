"""The paper's grid is the protocol's, and plans without weights, data or a network."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from junkdna.catalog import Catalog
from junkdna.config import PROJECT, Experiment, calibrated, read_all
from junkdna.estimate import jobs_of
from junkdna.grid import expand_all
from micro import Project

SPARSITIES = [f"0.{tenth}0" for tenth in range(1, 10)]
PATTERNS = [f"{n}of8" for n in range(7, 0, -1)]
BITS = ["8bit", "6bit", "4bit", "3bit", "2bit"]
BANDS = [f"0.{tenth}0to0.{tenth + 1}0" for tenth in range(9)]
ENCODER = {"magnitude": SPARSITIES, "magnitude_nm": PATTERNS}
DECODER = {"magnitude_layerwise": SPARSITIES, "magnitude_nm": PATTERNS}
QUANTIZED = {"rtn": BITS, "gptq": BITS}
# Experiment, its models, its methods and levels, as the protocol has them.
GRID = {
    "data_adequacy": ("E1", ["roberta-base", "roberta-large"], ENCODER),
    "multilingual": ("E2", ["mbart-large-cc25"], ENCODER),
    "external_information": ("E3", ["vicuna-7b", "vicuna-13b"], DECODER),
    "human_gap": ("E4", ["roberta-large"], ENCODER),
    "option_count": ("E5", ["vicuna-7b"], DECODER),
    "context_length": ("E6", ["vicuna-7b"], DECODER),
    "k_shot": ("E7", ["vicuna-7b"], DECODER),
    "factoid": ("E8", ["vicuna-7b"], DECODER),
    "true_gem": ("E9", ["roberta-large"], ENCODER),
    "quantization": ("E10", ["vicuna-7b"], QUANTIZED),
    "quantization_finetuned": ("E10", ["roberta-large"], QUANTIZED),
    "pruning_methods": (
        "E11",
        ["vicuna-7b"],
        DECODER | {"random": SPARSITIES, **dict.fromkeys(("wanda", "sparsegpt"), SPARSITIES + PATTERNS)},
    ),
    "model_size": ("E12", ["vicuna-7b", "vicuna-13b"], DECODER),
    "model_size_finetuned": ("E12", ["roberta-base", "roberta-large"], ENCODER),
    "magnitude_bands": ("E13", ["vicuna-7b"], {"magnitude_slice": BANDS}),
}


@pytest.fixture(scope="module")
def paper() -> tuple[Catalog, dict[str, Experiment]]:
    return read_all([PROJECT / "config/paper.yaml"])[1:]


def test_models_methods_and_levels_are_those_of_the_protocol(paper: tuple[Catalog, dict[str, Experiment]]) -> None:
    found = {name: (e.id, e.models, dict(e.methods)) for name, e in paper[1].items()}
    assert found == GRID and {i for i, _, _ in GRID.values()} == {f"E{number}" for number in range(1, 14)}


def test_training_is_that_of_the_protocol(paper: tuple[Catalog, dict[str, Experiment]]) -> None:
    catalog, experiments = paper
    assert experiments["data_adequacy"].fractions == ["1.00", "0.70", "0.50", "0.25", "0.10"]
    assert experiments["true_gem"].transfers == ["sparse", "sparse_to_dense", "dense_frozen"]
    assert all(experiments[name].seeds == [41, 42, 43] for name in ("human_gap", "true_gem"))
    assert experiments["multilingual"].transfers == ["zero_shot", "sparse"]
    translation = catalog.tasks["en_gu"].training
    assert (translation.learning_rate, translation.steps, translation.warmup_steps) == (3e-5, 40000, 2500)
    assert (translation.batch_tokens, translation.accumulate, translation.schedule) == (1024, 2, "inverse_sqrt")
    assert (translation.label_smoothing, translation.dropout) == (0.2, 0.3)
    for name, experiment in experiments.items():
        if name == "multilingual":
            continue
        for task in experiment.tasks if set(experiment.transfers) != {"none"} else []:
            t = catalog.tasks[task].training
            short = name in ("data_adequacy", "model_size_finetuned")
            assert (t.max_length, t.batch_size) == ((128, 32) if short else (512, 16)), task
            epochs = 50 if task in ("mawps", "svamp") else 3  # their decoder starts from nothing
            assert (t.learning_rate, t.epochs, t.warmup_fraction, t.weight_decay) == (2e-5, epochs, 0.06, 0), task
    assert len(catalog.tasks["mmlu"].configs) == 57


def test_everything_plans(fresh: Project, paper: tuple[Catalog, dict[str, Experiment]]) -> None:
    done = fresh.run_default("-n", "--quiet", "rules", "--configfile", "config/paper.yaml", "--", "all_figures")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)}
    cells = {cell for cells in expand_all(paper[1], calibrated(paper[0])).values() for cell in cells}
    assert sum(count for rule, count in jobs.items() if rule.startswith("evaluate")) == len(cells)
    assert jobs["finetune"] == len({c.state for c in cells if c.trained and c.transfer != "zero_shot"})
    costed = Counter(job.rule for job in jobs_of(sorted(cells), paper[0], calibrated(paper[0])))
    planned = {rule: sum(n for name, n in jobs.items() if name.startswith(rule)) for rule in costed}
    assert planned == costed, "`make estimate` counts the jobs of the plan"
    assert jobs["plot"] == jobs["aggregate"] == len(GRID)
    assert jobs["fetch_model"] == len({model for _, models, _ in GRID.values() for model in models})
