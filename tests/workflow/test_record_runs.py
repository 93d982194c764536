"""A run from a record: the tables of the run that was recorded, without torch, models, data sets and evaluations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from micro import ASKED, SETTINGS, Project

# The only columns that rest on the scores of options, which are rounded.
ROUNDED = {"asked_against_dense.csv": "kl", "trained_against_dense.csv": "kl", "difficulty.csv": "description_length"}


@pytest.fixture(scope="module")
def recorded(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of the finished run, with its page."""
    root = tmp_path_factory.mktemp("recorded") / "project"
    shutil.copytree(finished.root, root, symlinks=True)
    Project(root).snakemake("page")
    return root / "results/record"


def settle(project: Project, record: Path, **changes: object) -> None:
    shutil.copytree(record, project.root / "resources/kept")
    project.configure(recorded="resources/kept", **changes)


def test_tables_come_from_a_record_without_torch_and_models(
    finished: Project, recorded: Path, fresh: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(fresh, recorded)
    for weights in fresh.root.glob("resources/*/*/*.safetensors"):
        weights.unlink()
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not there')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert {job.rule for job in fresh.plan()} >= {"unpack_record", "aggregate", "claims"}
    assert not {job.rule for job in fresh.plan()} & {"evaluate_compressed", "finetune", "fetch_model", "compress"}
    fresh.snakemake("all_figures", timeout=900)
    was, now = finished.tables(), fresh.tables()
    assert {name for name in was if was[name] != now[name]} <= set(ROUNDED)
    assert was.keys() == now.keys()
    for name, prefix in ROUNDED.items():
        old, new = (pd.read_csv(p.root / "results/tables" / name) for p in (finished, fresh))
        close = [column for column in old if column.startswith(prefix)]
        assert close
        pd.testing.assert_frame_equal(old.drop(columns=close), new.drop(columns=close), check_exact=True)
        pd.testing.assert_frame_equal(old[close], new[close], rtol=0, atol=1e-4)
    assert fresh.plan() == []
    fresh.snakemake("page")
    pages = [folder / "page/organism.md" for folder in (recorded.parent, fresh.root / "results")]
    assert pages[0].read_text() == pages[1].read_text()
    assert {image.stem for image in (pages[1].parent / "organism").iterdir()} == {"asked", "trained"}


def test_a_cell_that_is_not_recorded_is_named(recorded: Path, fresh: Project) -> None:
    settle(fresh, recorded, levels={"few": ["0.30", "0.70"]})
    done = fresh.snakemake("-n", "all_figures", check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "resources/kept/cells.csv.xz: no cell organism-decoder/magnitude/0.70/none/" in said
    fresh.configure(recorded="resources/kept", limits={**SETTINGS["limits"], "options": {"evaluate": 20}})
    done = fresh.snakemake("-n", "all_figures", check=False)
    assert (
        "tasks.options.evaluate.evaluate_limit: 24 in the record, 20 in the configuration" in done.stdout + done.stderr
    )


def test_a_record_does_not_replace_a_run(recorded: Path, done: Project) -> None:
    settle(done, recorded)
    refused = done.snakemake("-n", "all_figures", check=False)
    assert refused.returncode != 0
    assert "results/evaluate: holds the cells of a run" in refused.stdout + refused.stderr
    done.configure(recorded="resources/kept", pathvars={"results": "results/again"})
    assert {job.rule for job in done.plan()} >= {"unpack_record"}


def test_the_record_follows_its_cells_and_their_definitions(recorded: Path) -> None:
    project = Project(recorded.parent.parent)
    assert project.plan("record") == []
    manifest = json.loads((recorded / "manifest.json").read_text())
    assert manifest["definitions"]["models"]["organism-decoder-untrained"] == {"untrained_twin_of": "organism-decoder"}
    assert manifest["cells"] == len(list(project.root.glob("results/evaluate/**/metrics.json"))) > len(ASKED["tasks"])
