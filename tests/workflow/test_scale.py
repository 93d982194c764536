"""What the bench of scale relies on: its configuration, its made-up outputs, its plan of evaluated cells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from support import PROJECT

sys.path.insert(0, str(PROJECT / "tests" / "bench"))
import scale


def snakemake(root: Path, *program: object) -> str:
    command = [sys.executable, *map(str, program), "all_figures", "--configfile", "config/scale.yaml", "-n"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def test_outputs_that_are_recorded_without_a_job_leave_nothing_to_do_until_a_level_is_added(tmp_path: Path) -> None:
    scale.write_project(tmp_path, 160, each=80)
    planned = scale.counted(snakemake(tmp_path, "-m", "snakemake"))
    assert planned["evaluate_compressed"] == planned["finetune"] == planned["evaluate_finetuned"] == 80
    snakemake(tmp_path, scale.__file__, "record", "--")
    assert "Nothing to be done" in snakemake(tmp_path, "-m", "snakemake")
    file = tmp_path / "config/experiments/generated/0.yaml"
    file.write_text(file.read_text().replace("0.015", "0.016"))
    again = scale.counted(snakemake(tmp_path, "-m", "snakemake"))
    assert again["evaluate_compressed"] == 5 and "finetune" not in again


def test_two_processes_aggregate_a_large_experiment(tmp_path: Path) -> None:
    scale.write_project(tmp_path, 160, each=80)
    asked = ("-m", "snakemake", "--cores", "2", "--printshellcmds")
    assert "--threads 1 " in snakemake(tmp_path, *asked)
    rules = tmp_path / "workflow/rules/inputs.smk"
    rules.write_text(rules.read_text().replace(">= 10_000", ">= 80"))
    text = snakemake(tmp_path, *asked)
    assert text.count("--threads 2 ") == 2 and "--threads 1 " not in text


def test_the_generated_cells_are_as_many_as_asked_for_and_can_be_aggregated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "QUESTIONS", 20)
    monkeypatch.setattr(scale, "POOL", 5)
    row = scale.tables("aggregate", 300, tmp_path)
    table = pd.read_csv(tmp_path / "table.csv", dtype={"level": str, "fraction": str})
    assert row.split()[0] == "300" and len(table) == 300 / 3 and set(table["n_examples"]) == {20}
    shares = table.groupby("level")["percent_of_dense"].mean()
    assert shares["dense"] == 100 and shares["0.003"] < 100
    scale.tables("score_difficulty", 300, tmp_path / "again")
    flips = pd.read_csv(tmp_path / "again/flips.csv")
    whole = flips[flips["task"] == "all"].set_index("method")["n_answers"]
    parts = flips[flips["task"] != "all"].groupby("method")["n_answers"].sum()
    assert set(flips["learnt_from"]) == {"other methods"} and set(whole.index) == set(scale.METHODS)
    assert whole.to_dict() == parts.to_dict() and 0 < whole.max() <= 5 * 2 * 3 * 3 * 20
