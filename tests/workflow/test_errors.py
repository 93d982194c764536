"""Bad input is an error before any work, and names file, key, value and what is allowed."""

from __future__ import annotations

import pytest
import yaml

from micro import ASKED, SETTINGS, TRAINED, Project


def failure(project: Project, *arguments: str) -> str:
    done = project.snakemake("-n", *(arguments or ("all_figures",)), check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sedes": [1]}, ["micro.yaml", "sedes", "did you mean 'seeds'"]),
        ({"seeds": "many"}, ["micro.yaml", "seeds", "'many'"]),
        ({"levels": {"few": ["1.20"]}}, ["micro.yaml", "levels.few.0", "1.20"]),
        ({"levels": {"few": ["9of8"]}}, ["micro.yaml", "levels.few.0", "9of8"]),
        ({"limits": {"lexicla": {"train": 3}}}, ["limits", "lexicla", "did you mean 'lexical'"]),
        ({"other_scales": {"small": "none/claims.csv"}}, ["other_scales.small", "none/claims.csv", "cannot be read"]),
        ({"experiments": ["config/experiments/none.yaml"]}, ["config/experiments/none.yaml", "cannot be read"]),
    ],
)
def test_settings(fresh: Project, changes: dict, expected: list[str]) -> None:
    fresh.configure(**changes)
    text = failure(fresh)
    assert all(part in text for part in expected), text


@pytest.mark.parametrize(
    ("base", "changes", "expected"),
    [
        (ASKED, {"taks": []}, ["asked.yaml", "taks", "did you mean 'tasks'"]),
        (ASKED, {"models": ["organism-decodr"]}, ["asked.yaml", "models", "did you mean 'organism-decoder'"]),
        (ASKED, {"tasks": ["lexical"]}, ["asked.yaml", "tasks", "'lexical'", "needs fine-tuning"]),
        (ASKED, {"methods": {"magnitude": ["2of4"]}}, ["asked.yaml", "methods.magnitude", "'2of4'", "sparsity"]),
        (ASKED, {"methods": {"magnitude": "lots"}}, ["asked.yaml", "methods.magnitude", "'lots'", "few"]),
        (ASKED, {"methods": {"magnitude_nm": ["3of7"]}}, ["organism", "3of7", "7"]),
        (TRAINED, {"fractions": [0.5]}, ["trained.yaml", "fractions.0"]),
        (TRAINED, {"transfers": ["spares"]}, ["trained.yaml", "transfers.0", "'spares'", "sparse_to_dense"]),
        (TRAINED, {"tasks": ["closed_book"]}, ["trained.yaml", "tasks", "cannot be fine-tuned"]),
    ],
)
def test_experiment(fresh: Project, base: dict, changes: dict, expected: list[str]) -> None:
    fresh.experiment(base, **changes)
    text = failure(fresh)
    assert all(part in text for part in expected), text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("evaluate/organism-decoder/magnitude/0.55/none/closed_book/metrics.json", ["'0.55'", "0.30, 0.60"]),
        (
            "evaluate/organism-decodr/magnitude/0.60/none/closed_book/metrics.json",
            ["organism-decodr", "organism-decoder"],
        ),
        ("evaluate/organism-decoder/magnitude/0.60/none/lexical/metrics.json", ["'lexical'", "closed_book, options"]),
        ("finetune/organism-encoder/magnitude/0.50/sparse/lexical/0.50/7/manifest.json", ["'7'", "0, 1"]),
        ("tables/askd.csv", ["askd", "asked"]),
    ],
)
def test_misspelled_cell(fresh: Project, path: str, expected: list[str]) -> None:
    text = failure(fresh, f"results/{path}")
    assert all(part in text for part in expected), text


def test_catalog_entry_twice(fresh: Project) -> None:
    entry = {"methods": {"random": {"label": "Again", "module": "pruning.random", "levels": ["sparsity"]}}}
    (fresh.root / "config/catalog/extra.yaml").write_text(yaml.safe_dump(entry))
    text = failure(fresh)
    assert "extra.yaml" in text or "methods.yaml" in text
    assert "methods.random" in text and "already defined" in text


def test_truncated_and_altered_weights(fresh: Project) -> None:
    path = fresh.root / "resources/organisms/decoder/model.safetensors"
    whole = path.read_bytes()
    log = fresh.root / "results/logs/sources/models/organism-decoder.log"
    for content, expected in ((whole[:-1000], "model.safetensors"), (whole[:-1] + b"\x00\x01"[-1:], "sha256")):
        path.write_bytes(content)
        done = fresh.snakemake("all_figures", check=False)
        assert done.returncode != 0
        text = done.stdout + done.stderr + (log.read_text() if log.exists() else "")
        assert "model.safetensors" in text and expected in text
        assert not (fresh.root / "results/evaluate").exists() or not list(
            (fresh.root / "results/evaluate/organism-decoder").rglob("metrics.json")
        )


def test_hub_source_without_revision_or_network(fresh: Project) -> None:
    catalog = {"models": {"far": {"source": {"type": "hub", "id": "nobody/nothing"}}}}
    (fresh.root / "config/catalog/far.yaml").write_text(yaml.safe_dump(catalog))
    fresh.experiment(ASKED, models=["far"], controls=[])
    fresh.configure(experiments=SETTINGS["experiments"][:1])
    done = fresh.snakemake("all_figures", check=False)
    text = done.stdout + done.stderr + (fresh.root / "results/logs/sources/models/far.log").read_text()
    assert done.returncode != 0
    assert "far" in text and "revision" in text and "mirror" in text
