"""Calibrated methods, quantization and compression after fine-tuning in the workflow: what runs, what reruns."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from safetensors import safe_open

from micro import ASKED, TRAINED, Project, copy_project

AGGREGATES = {"plan", "aggregate", "plot", "score_difficulty", "plot_difficulty", "claims", "all_figures"}
METHODS = {"magnitude": ["0.30"], "wanda": ["0.50"], "wanda_dense": ["0.30", "0.60"], "gptq": ["3bit"]}
TUNED = {
    "methods": {"gptq": ["2bit"], "magnitude": ["0.50"]},
    "transfers": ["zero_shot"],
    "seeds": [0],
    "series": [{"label": "all"}],
}


def jobs(project: Project) -> Counter[str]:
    return Counter(job.rule for job in project.plan() if job.rule not in AGGREGATES)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run; the tests below only plan on it, and undo what they change."""
    project = copy_project(tmp_path_factory.mktemp("calibrated") / "project")
    project.experiment(
        ASKED, methods=METHODS, tasks=["closed_book"], panels=[{"label": "Memory"}], calibration_seeds=[0, 1]
    )
    project.experiment(TRAINED, **TUNED)
    assert jobs(project) == Counter(
        fetch_model=3,
        fetch_dataset=1,
        index_magnitudes=1,
        index_magnitudes_zero_shot=1,
        compress=5,  # one of magnitude, two draws of wanda and of gptq
        compress_wanda_dense=1,
        **{"compress_wanda_dense_calibration1": 1},
        compress_zero_shot=2,
        finetune=1,
        evaluate_compressed=1 + 2 + 4 + 2 + 2,  # the dense model and its untrained twin too
        evaluate_finetuned=1,
        evaluate_zero_shot=2,
    )
    done = project.snakemake("--verbose", "all_figures")
    (project.root / "run.log").write_text(done.stdout + done.stderr)
    return project


def test_a_finished_run_has_nothing_to_do_and_its_tables_are_whole(calibrated: Project) -> None:
    time.sleep(1.1)
    assert calibrated.plan() == []
    table = pd.read_csv(calibrated.root / "results/tables/asked.csv")
    assert not table[["value", "ci_low", "ci_high", "percent_of_dense"]].isna().any(axis=None)
    draws = table.groupby("method")["n_seeds"].unique().map(list).to_dict()
    assert draws == {"dense": [1], "magnitude": [1], "wanda": [2], "wanda_dense": [2], "gptq": [2]}
    tuned = pd.read_csv(calibrated.root / "results/tables/trained.csv")
    assert set(tuned["transfer"]) == {"dense", "zero_shot"}


def test_the_scheduler_plans_once_per_job_not_once_per_second(calibrated: Project) -> None:
    text = (calibrated.root / "run.log").read_text()
    steps = int(re.findall(r"(\d+) of \d+ steps", text)[-1])
    assert 0 < text.count("Resources before job selection") <= 2 * steps


def test_two_draws_of_calibration_data_give_two_states(calibrated: Project) -> None:
    states = [
        calibrated.root / f"results/compress/organism-decoder/{name}/0.50/state.safetensors"
        for name in ("wanda", "wanda-calibration1")
    ]
    masks = []
    for state in states:
        with safe_open(state, framework="np") as handle:
            masks.append(handle.get_tensor("model.layers.0.mlp.down_proj.weight.mask"))
    assert (masks[0] != masks[1]).any()


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        (
            "pruning/wanda.py",
            {
                "compress": 2,
                "compress_wanda_dense": 1,
                "compress_wanda_dense_calibration1": 1,
                "evaluate_compressed": 6,
            },
        ),
        (
            "quantization/gptq.py",
            {"compress": 2, "evaluate_compressed": 2, "compress_zero_shot": 1, "evaluate_zero_shot": 1},
        ),
    ],
)
def test_editing_a_calibrated_method_reruns_its_cells_alone(calibrated: Project, file: str, rules: dict) -> None:
    path = calibrated.root / "workflow/scripts/junkdna" / file
    text = path.read_text()
    path.write_text(f"{text}\n_EDITED = True\n")
    try:
        assert jobs(calibrated) == Counter(rules)
    finally:
        path.write_text(text)


def test_editing_the_streaming_leaves_the_other_methods_alone(calibrated: Project) -> None:
    path = calibrated.root / "workflow/scripts/junkdna/streaming.py"
    text = path.read_text()
    path.write_text(f"{text}\n_EDITED = True\n")
    try:
        assert not any("/magnitude/" in job.output for job in calibrated.plan() if job.rule not in AGGREGATES)
    finally:
        path.write_text(text)


def test_one_more_draw_adds_just_its_cells(calibrated: Project) -> None:
    path = calibrated.root / "config/experiments/micro/asked.yaml"
    text = path.read_text()
    path.write_text(text.replace("calibration_seeds:\n- 0\n- 1\n", "calibration_seeds:\n- 0\n- 1\n- 2\n"))
    try:
        assert path.read_text() != text
        assert jobs(calibrated) == Counter(
            {"compress": 2, "compress_wanda_dense_calibration2": 1, "evaluate_compressed": 4}
        )
    finally:
        path.write_text(text)


def test_cells_are_exported(calibrated: Project) -> None:
    folder = Path("results/export")
    wanted = [
        folder / "organism-decoder/gptq/3bit/packed/model.safetensors",
        folder / "organism-decoder/gptq/3bit/model.safetensors",
        folder / "organism-encoder/gptq/2bit/zero_shot/lexical/0.50/0/model.safetensors",
    ]
    calibrated.snakemake(*map(str, wanted))
    sizes = [(calibrated.root / path).stat().st_size for path in wanted]
    assert sizes[0] < sizes[1]


def refused(project: Project) -> str:
    """What a dry run says that stops before any job."""
    done = project.snakemake("-n", "all_figures", check=False)
    assert done.returncode
    return done.stdout + done.stderr


def test_a_group_that_divides_no_width_stops_before_any_job(fresh: Project) -> None:
    fresh.experiment(ASKED, methods={"gptq": ["4bit"]}, tasks=["closed_book"], panels=[{"label": "Memory"}])
    fresh.edit(
        "config/catalog/methods.yaml",
        "params: &gptq {propagate: compressed, damping: 0.01, group: 128",
        "params: &gptq {propagate: compressed, damping: 0.01, group: 80",
    )
    text = refused(fresh)
    assert "width 256" in text and "group of 80" in text and "prunable_exclude" in text


def test_a_model_without_calibration_data_is_named(fresh: Project) -> None:
    fresh.experiment(ASKED, methods={"wanda": ["0.50"]}, tasks=["closed_book"], panels=[{"label": "Memory"}])
    fresh.edit(
        "config/catalog/organism.yaml",
        "    calibration: {dataset: world, config: corpus_decoder, n_samples: 512, seq_len: 64, sampling: whole}\n",
        "",
    )
    text = refused(fresh)
    assert "'organism-decoder' has no `calibration`" in text and "'wanda'" in text


def test_quantization_with_a_mask_keeping_transfer_is_named(fresh: Project) -> None:
    fresh.experiment(TRAINED, **{**TUNED, "transfers": ["sparse"], "methods": {"rtn": ["4bit"]}})
    text = refused(fresh)
    assert "transfers: 'sparse'" in text and "zero_shot" in text
