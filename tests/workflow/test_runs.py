"""Whole runs: cold and warm give the same bytes, every helper target works."""

from __future__ import annotations

import json

import yaml

from micro import ASKED, TRAINED, Project
from support import PROJECT


def test_cold_run_gives_the_bytes_of_the_warm_one(finished: Project, fresh: Project) -> None:
    fresh.configure(warm_start=False)
    fresh.snakemake("all_figures", timeout=900)
    assert fresh.tables() == finished.tables()
    for file in ("evaluate", "finetune"):
        for path in sorted((fresh.root / "results" / file).rglob("*")):
            if path.name in ("metrics.json", "manifest.json", "predictions.parquet", "model.safetensors"):
                assert path.read_bytes() == (finished.root / path.relative_to(fresh.root)).read_bytes(), path


def test_the_ilp_scheduler_runs_with_the_pinned_pulp(fresh: Project) -> None:
    path = "results/evaluate/organism-decoder/magnitude/0.60/none/closed_book/metrics.json"
    fresh.snakemake("--scheduler", "ilp", path)
    assert json.loads((fresh.root / path).read_text())["variants"]["head"]["metrics"]["exact_match"] >= 0


def test_status_counts_done_missing_and_stale(done: Project) -> None:
    cell = "results/evaluate/organism-decoder/random/0.50/none/options"
    for file in (done.root / cell).iterdir():
        file.unlink()
    module = done.root / "workflow/scripts/junkdna/pruning/magnitude_slice.py"
    module.write_text(module.read_text() + "\n_EDITED = True\n")
    lines = done.snakemake("status").stdout.splitlines()
    counts = {line.split()[0]: line.split()[1:] for line in lines if line.startswith(("asked", "trained"))}
    assert counts == {"asked": ["14", "11", "1", "2"], "trained": ["8", "8", "0", "0"]}
    assert f"  missing: {cell}/metrics.json" in lines
    assert any(line.startswith("  stale: ") and "magnitude_slice" in line for line in lines)


def test_exported_cells_load_as_ordinary_folders(done: Project) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    compressed = "results/export/organism-decoder/magnitude/0.60"
    finetuned = "results/export/organism-encoder/magnitude/0.50/sparse/lexical/0.50/0"
    done.snakemake(f"{compressed}/model.safetensors", f"{finetuned}/model.safetensors")
    decoder = AutoModelForCausalLM.from_pretrained(done.root / compressed)
    weights = [p for n, p in decoder.named_parameters() if "layers" in n and p.ndim == 2]
    zeros, total = sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)
    assert zeros == round(0.6 * total)
    encoder = AutoModelForSequenceClassification.from_pretrained(done.root / finetuned)
    tokens = AutoTokenizer.from_pretrained(done.root / finetuned)("the food is good", return_tensors="pt")
    assert encoder(**tokens).logits.shape == (1, 2)


def test_report_is_made_from_tables_and_tells_how_to_redo_a_cell(done: Project) -> None:
    done.snakemake("report")
    page = (done.root / "results/report/index.html").read_text()
    for experiment in (ASKED, TRAINED):
        assert experiment["question"] in page
    assert done.plan("report") == []
    done.edit("workflow/report/page/style.css", "font: 1rem/1.6", "font: 1rem/1.5")
    assert [job.rule for job in done.plan("report")] == ["report"]
    cell = "results/evaluate/organism-decoder/random/0.50/none/options"
    assert f'["{cell}", ' in page and '"options": "--configfile config/micro.yaml"' in page
    # The command that the page writes for this cell.
    assert [job.rule for job in done.plan("--force", f"{cell}/metrics.json")] == ["evaluate_compressed"]


def test_snakemakes_report_holds_every_figure(done: Project) -> None:
    done.snakemake("--report", "report.html", "all_figures")
    text = (done.root / "report.html").read_text()
    for experiment in (ASKED, TRAINED):
        assert experiment["question"] in text


def test_names_with_shell_syntax_are_refused(fresh: Project) -> None:
    entry = {"models": {"x; touch owned": {"source": {"type": "builtin", "path": "organisms/encoder"}}}}
    (fresh.root / "config/catalog/bad.yaml").write_text(yaml.safe_dump(entry))
    done = fresh.snakemake("-n", "all_figures", check=False)
    assert done.returncode != 0 and "bad.yaml" in done.stdout + done.stderr
    assert not (fresh.root / "owned").exists()


def test_mirror_path_with_spaces_and_quotes_is_one_argument(fresh: Project, tmp_path) -> None:
    mirror = tmp_path / "a 'mirror' $(touch owned)"
    folder = mirror / "models/someone/decoder"
    folder.mkdir(parents=True)
    for file in (PROJECT / "resources/organisms/decoder").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    catalog = {"models": {"mirrored": {"source": {"type": "hub", "id": "someone/decoder"}}}}
    (fresh.root / "config/catalog/mirrored.yaml").write_text(yaml.safe_dump(catalog))
    fresh.configure(mirror=str(mirror))
    fresh.snakemake("results/sources/models/mirrored/manifest.json")
    manifest = json.loads((fresh.root / "results/sources/models/mirrored/manifest.json").read_text())
    assert manifest["path"] == str(folder) and "model.safetensors" in manifest["files"]
    assert not (fresh.root / "owned").exists()
