"""The rules of pre-training: from shards of text to model folders, and what a change of them reruns."""

from __future__ import annotations

import yaml

from junkdna.files import sha256
from micro import Project


def test_from_text_to_models(fresh: Project) -> None:
    shard = fresh.root / "text/shard.txt"
    shard.parent.mkdir()
    shard.write_text("\n\n".join(f"Number {i} is followed by {i + 1}, and no other." for i in range(500)))
    listed = {"type": "corpus", "path": "text", "sha256": {"shard.txt": sha256(shard)}}
    (fresh.root / "config/catalog/corpus.yaml").write_text(yaml.safe_dump({"datasets": {"english": listed}}))
    path = fresh.root / "resources/small/recipe.yaml"
    recipe = yaml.safe_load(path.read_text()) | {"vocabulary": 300}
    for part in recipe["models"].values():
        part["architecture"] |= {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
        part["training"] |= {"sequence": 32, "batch_tokens": 256, "tokens": 1024}
    path.write_text(yaml.safe_dump(recipe))

    fresh.snakemake("pretrain_small")
    for name in recipe["models"]:
        made = {file.name for file in (fresh.root / "results/pretrain_small" / name).iterdir()}
        assert {"model.safetensors", "config.json", "tokenizer.json", "training_curve.csv", "README.md"} <= made
    assert fresh.plan("pretrain_small") == []
    recipe["models"]["encoder"]["masked"] = 0.15
    path.write_text(yaml.safe_dump(recipe))
    assert {job.rule for job in fresh.plan("pretrain_small")} == {
        "train_tokenizer",
        "pretrain_small_model",
        "pretrain_small",
    }
    shard.write_text("Something else.")
    failed = fresh.snakemake("pretrain_small", check=False)
    assert failed.returncode != 0
    log = (fresh.root / "results/logs/sources/datasets/english.log").read_text()
    assert "shard.txt: sha256 is" in log


def test_organisms_are_written_to_the_results(fresh: Project) -> None:
    commands = fresh.snakemake("-n", "-p", "pretrain").stdout
    for name in yaml.safe_load((fresh.root / "resources/organisms/recipe.yaml").read_text())["organisms"]:
        assert f"--output results/pretrain/{name} " in commands
