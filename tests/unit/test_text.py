"""Pre-training on real text: whole shards, each token once, the same masks, the same weights after an interruption."""

from __future__ import annotations

import gzip
import lzma
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from pydantic import ValidationError
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

import pretrain_small
import train_tokenizer as train_tokenizer_script
from junkdna.catalog import Corpus
from junkdna.config import PROJECT, read_catalog
from junkdna.files import DataError, read_json, sha256
from junkdna.models import max_tokens
from junkdna.sources import fetch_dataset
from junkdna.text import pretraining
from junkdna.text.corpus import IGNORED, Sequences, documents, encode, mask, pack
from junkdna.text.recipe import TextRecipe, read_part
from junkdna.text.tokenizer import train_tokenizer
from junkdna.world.recipe import read_recipe
from junkdna.world.tokenizer import BOS, EOS, MASK, SPECIAL, framed

RECIPE = PROJECT / "resources/small/recipe.yaml"
SHARED = PROJECT.parent / "shared/corpus"
ODD = "Naïve café — 3.5 €\n\ttabs and  spaces 🙂 "


def stories(count: int) -> list[str]:
    """Documents of a few sentences with much to learn: who does what."""
    pairs = [("farmer", "milks the cow"), ("baker", "sells warm bread"), ("sailor", "fears the storm")]
    rng = np.random.default_rng(0)
    return [
        "\n".join(f"In story {i} the {who} {does} every day." for who, does in rng.permutation(pairs))
        for i in range(count)
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The manifest of a corpus in the three forms of a shard."""
    folder = tmp_path / "shards"
    folder.mkdir()
    texts = ["\n\n".join(stories(240)[i::3]) + "\n" for i in range(3)]
    (folder / "a.txt").write_text(texts[0])
    (folder / "b.txt.gz").write_bytes(gzip.compress(texts[1].encode()))
    (folder / "c.txt.xz").write_bytes(lzma.compress(texts[2].encode()))
    (folder / "unlisted.txt").write_text("Not to be read.")
    fetch_dataset("tiny", source(folder), None, tmp_path / "manifest.json")
    return tmp_path / "manifest.json"


def source(folder: Path) -> Corpus:
    return Corpus(type="corpus", path=folder, sha256={f.name: sha256(f) for f in folder.glob("[abc].*")})


def tiny_recipe(folder: Path, steps: int = 40) -> Path:
    recipe = yaml.safe_load(RECIPE.read_text()) | {"vocabulary": 400}
    for part in recipe["models"].values():
        part["architecture"] |= {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
        part["training"] |= {"sequence": 32, "batch_tokens": 256, "tokens": 256 * steps, "learning_rate": 1e-2}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder / "recipe.yaml"


@pytest.fixture
def ready(corpus: Path, tmp_path: Path) -> list[str]:
    """Arguments of the pre-training script but for the model and the output."""
    recipe, tokenizer = tiny_recipe(tmp_path), tmp_path / "tokenizer.json"
    given = ["--recipe", str(recipe), "--corpus-manifest", str(corpus)]
    train_tokenizer_script.main([*given, "--output", str(tokenizer)])
    return [*given, "--tokenizer", str(tokenizer)]


def test_a_corpus_is_read_whole_and_nothing_else(corpus: Path, tmp_path: Path) -> None:
    assert sorted(documents(corpus)) == sorted(stories(240))
    folder = tmp_path / "shards"
    listed = source(folder)
    (folder / "a.txt").write_text("changed")
    with pytest.raises(DataError, match=r"a\.txt: sha256 is .*expected"):
        fetch_dataset("tiny", listed, None, tmp_path / "out.json")
    (folder / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.txt: missing"):
        fetch_dataset("tiny", listed, None, tmp_path / "out.json")
    (folder / "c.txt.xz").write_bytes((folder / "c.txt.xz").read_bytes()[:-40])
    (folder / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"c\.txt\.xz: unreadable"):
        list(documents(corpus))
    for wrong in ({}, {"a.parquet": "0" * 64}):
        with pytest.raises(ValidationError):
            Corpus(type="corpus", path=folder, sha256=wrong)


def test_tokenizer_round_trip(tmp_path: Path) -> None:
    trained = train_tokenizer(iter(stories(240)), 400)
    assert trained.to_str() == train_tokenizer(iter(stories(240)), 400).to_str()
    assert [trained.id_to_token(i) for i in range(5)] == list(SPECIAL)
    recipe, _ = read_part(tiny_recipe(tmp_path), "encoder")
    for kind, part in recipe.models.items():
        folder = tmp_path / kind
        pretraining.build_model(recipe, part).save_pretrained(folder)
        framed(trained, part.kind, part.longest).save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(ODD)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == ODD
        assert len(tokenizer) == 400 and ids[0] == BOS and (ids[-1] == EOS) is (kind == "encoder")
        assert len(tokenizer(" farmer", add_special_tokens=False)["input_ids"]) == 1
        assert max_tokens(AutoConfig.from_pretrained(folder), tokenizer) == part.longest
    with pytest.raises(DataError, match="vocabulary: 9000: the corpus gives"):
        train_tokenizer(iter(stories(240)), 9000)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_packing_covers_each_token_once(corpus: Path, tmp_path: Path, kind: str) -> None:
    _, part = read_part(tiny_recipe(tmp_path), kind)
    tokenizer = train_tokenizer(documents(corpus), 400)
    encoded = encode(documents(corpus), tokenizer, kind)
    frame = 2 if kind == "encoder" else 0
    content = part.training.sequence - frame
    total = sum(map(len, encoded))
    steps = total // (content * part.training.rows)
    part = part.model_copy(update={"training": part.training.model_copy(update={"tokens": 256 * steps})})
    rows = pack(encoded, part, 7)
    assert rows.shape == (steps * part.training.rows, part.training.sequence)
    assert np.array_equal(rows, pack(encoded, part, 7)) and not np.array_equal(rows, pack(encoded, part, 8))
    if frame:
        assert (rows[:, 0] == BOS).all() and (rows[:, -1] == EOS).all()
        rows = rows[:, 1:-1]
    # One pass, but for the last documents that no longer fill a batch: no token more often than the corpus has it.
    seen, there = (np.bincount(np.concatenate(list(ids)), minlength=400) for ids in (rows, encoded))
    assert (seen <= there).all() and total - seen.sum() == total % (content * part.training.rows)
    # Two passes and a bit.
    longer = part.training.model_copy(update={"tokens": 256 * (2 * steps + 1)})
    seen = np.bincount(pack(encoded, part.model_copy(update={"training": longer}), 7).ravel(), minlength=400)
    assert (seen[5:] >= there[5:]).all() and (seen[5:] <= 3 * there[5:]).all()
    with pytest.raises(DataError, match="no documents"):
        pack([], part, 7)


def test_special_tokens_in_the_text_are_text() -> None:
    tokenizer = train_tokenizer(iter(stories(240)), 400)
    (ids,) = encode(iter(["A <s> and a </s>."]), tokenizer, "encoder")
    assert (ids[:-1] >= len(SPECIAL)).all() and tokenizer.decode(ids[:-1].tolist()) == "A <s> and a </s>."


def test_masks_depend_on_seed_and_number_alone() -> None:
    row = np.concatenate([[BOS], np.tile(np.arange(5, 105), 100), [EOS]])
    inputs, labels = mask(row, 0.25, 400, 3, 11)
    again = mask(row, 0.25, 400, 3, 11)
    assert np.array_equal(inputs, again[0]) and np.array_equal(labels, again[1])
    for other in (mask(row, 0.25, 400, 3, 12), mask(row, 0.25, 400, 4, 11)):
        assert not np.array_equal(labels, other[1])
    chosen = labels != IGNORED
    assert not chosen[[0, -1]].any() and chosen.mean() == pytest.approx(0.25, abs=0.02)
    assert np.array_equal(labels[chosen], row[chosen]) and np.array_equal(inputs[~chosen], row[~chosen])
    assert (inputs[chosen] == MASK).mean() == pytest.approx(0.8, abs=0.03)
    assert (inputs[chosen] == row[chosen]).mean() == pytest.approx(0.1, abs=0.03)


def test_a_decoder_learns_the_next_token() -> None:
    _, part = read_part(RECIPE, "decoder")
    example = Sequences(np.array([[1, 7, 8, 9]], dtype=np.uint16), part, 10, 0)[0]
    assert example["input_ids"].tolist() == [1, 7, 8, 9] and example["labels"].tolist() == [7, 8, 9, IGNORED]


def test_the_loss_is_that_of_transformers(tmp_path: Path) -> None:
    """Where logits are computed for the labels only; in float32, where both are exact enough to compare."""
    recipe, _ = read_part(tiny_recipe(tmp_path), "encoder")
    rows = np.random.default_rng(0).integers(5, 400, (8, 32)).astype(np.uint16)
    for part in recipe.models.values():
        model = pretraining.build_model(recipe, part)
        part = part.model_copy(update={"causal": 0.0})
        data = Sequences(rows, part, 400, 0)
        trainer = pretraining.TextTrainer(model, pretraining.arguments(part, 0, tmp_path, False))
        rows_of = {key: torch.stack([data[i][key] for i in range(8)]) for key in ("input_ids", "labels")}
        batch = {key: tensor.to(model.device) for key, tensor in rows_of.items()}
        labels = batch["labels"]
        if part.kind == "decoder":  # transformers shifts them itself
            labels = torch.cat([batch["input_ids"][:, :1], labels[:, :-1]], 1)
        expected = model(input_ids=batch["input_ids"], labels=labels).loss
        assert trainer.compute_loss(model, batch).item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_first_steps_of_an_encoder_are_causal(tmp_path: Path) -> None:
    recipe, part = read_part(tiny_recipe(tmp_path), "encoder")
    part = part.model_copy(update={"causal": 0.1})
    rows = np.random.default_rng(0).integers(5, 400, (part.training.steps * part.training.rows, 32)).astype(np.uint16)
    data, first = Sequences(rows, part, 400, 0), part.causal_steps * part.training.rows
    assert part.causal_steps == 4 and MASK not in data[first - 1]["input_ids"] and MASK in data[first]["input_ids"]
    assert data[first - 1]["labels"].tolist() == [*rows[first - 1, 1:], IGNORED]
    model = pretraining.build_model(recipe, part).eval()
    trainer = pretraining.TextTrainer(model, pretraining.arguments(part, 0, tmp_path, False))
    trainer.causal_steps = part.causal_steps
    one = torch.from_numpy(rows[:2].astype(np.int64)).to(model.device)
    other = one.clone()
    other[:, 20] = 399  # a token that only those behind it may see
    labels = torch.where(torch.arange(32, device=model.device) < 19, one, IGNORED)
    for step, same in ((3, True), (4, False)):
        trainer.state.global_step = step
        losses = [trainer.compute_loss(model, {"input_ids": ids, "labels": labels}).item() for ids in (one, other)]
        assert (losses[0] == losses[1]) is same
    with pytest.raises(ValidationError, match="`causal` is an encoder's"):
        type(part).model_validate(part.model_dump() | {"kind": "decoder", "masked": None})


def test_positions_start_as_sinusoids_of_the_deviation_of_all_weights(tmp_path: Path) -> None:
    recipe, part = read_part(tiny_recipe(tmp_path), "encoder")
    model = pretraining.build_model(recipe, part)
    rows = model.roberta.embeddings.position_embeddings.weight.detach()[2:]  # RoBERTa counts from 2
    products = rows @ rows.T
    for offset in (0, 1, 5):  # how alike two positions are depends on their distance alone
        assert products.diagonal(offset).std() < 1e-5
    assert rows.square().mean().sqrt() == pytest.approx(model.config.initializer_range, rel=1e-4)


@pytest.mark.parametrize(("kind", "auto"), [("encoder", AutoModelForMaskedLM), ("decoder", AutoModelForCausalLM)])
def test_a_killed_pretraining_ends_with_the_same_weights(
    ready: list[str], tmp_path: Path, kind: str, auto: type, capfd: pytest.CaptureFixture
) -> None:
    pretrain_small.main([*ready, "--model", kind, "--output", str(tmp_path / "whole")])
    assert not list(tmp_path.glob("resume-*"))
    given = [*ready, "--model", kind, "--output", str(tmp_path / "killed"), "--save-seconds", "0"]
    job = subprocess.Popen([sys.executable, pretrain_small.__file__, *given])
    while job.poll() is None and not list(tmp_path.glob("resume-*/checkpoint-*/trainer_state.json")):
        time.sleep(0.002)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL, "it had ended before"
    checkpoints = sorted(tmp_path.glob("resume-*/checkpoint-*"))
    (checkpoints[0].parent / "checkpoint-39").mkdir()
    (checkpoints[0].parent / "checkpoint-39/trainer_state.json").write_text('{"global')  # as if killed while it saved
    capfd.readouterr()
    pretrain_small.main(given)
    assert not list(tmp_path.glob("resume-*"))
    assert sha256(tmp_path / "whole/model.safetensors") == sha256(tmp_path / "killed/model.safetensors")
    whole, killed = (pd.read_csv(tmp_path / name / "training_curve.csv") for name in ("whole", "killed"))
    assert whole.drop(columns="seconds").equals(killed.drop(columns="seconds"))
    assert list(whole.columns) == pretraining.COLUMNS and whole.tokens.iloc[-1] == 256 * 40
    assert whole.loss.iloc[-1] < 0.6 * whole.loss.iloc[0], "it learns"
    model = auto.from_pretrained(tmp_path / "whole")
    assert model.dtype == torch.bfloat16 and model.config.use_cache
    assert read_json(tmp_path / "whole/provenance.json")["params"]["model"] == kind
    assert f"{model.num_parameters():,}" in (tmp_path / "whole/README.md").read_text()


def test_a_resumed_training_starts_at_its_checkpoint(ready: list[str], tmp_path: Path, monkeypatch) -> None:
    class Stopped(Exception):  # noqa: N818 - an event, not an error
        pass

    steps = []

    def watch(self, args, state, control, **_):
        steps.append(state.global_step)
        if steps[-1] == 8 and steps.count(8) == 1:
            raise Stopped

    monkeypatch.setattr(pretraining.SaveAtLog, "on_step_end", watch)
    recipe, part = read_part(Path(ready[1]), "decoder")
    tokenizer = Tokenizer.from_file(ready[-1])
    rows = pack(encode(documents(Path(ready[3])), tokenizer, "decoder"), part, 0)
    with pytest.raises(Stopped):
        pretraining.pretrain_text(recipe, part, rows, tmp_path / "resume", 0)
    pretraining.pretrain_text(recipe, part, rows, tmp_path / "resume", 0)
    assert steps == [*range(1, 9), *range(8, 41)]


def test_sigterm_saves_between_points_and_the_next_run_ends_the_same(
    ready: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    once = pretraining.SaveAtLog.on_step_end

    def watch(self, args, state, control, **_):
        steps.append(state.global_step)
        if steps == [*range(1, 7)]:
            os.kill(os.getpid(), signal.SIGTERM)
        once(self, args, state, control)

    def main(name: str) -> None:
        pretrain_small.main([*ready, "--model", "decoder", "--output", str(tmp_path / name)])

    monkeypatch.setattr(pretraining, "LOGGED", 10)  # a point of the curve for every four steps
    monkeypatch.setattr(pretraining, "time", SimpleNamespace(monotonic=lambda: len(steps)))  # a second for each step
    monkeypatch.setattr(pretraining.SaveAtLog, "on_step_end", watch)
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        main("stopped")
    assert [file.name for file in tmp_path.glob("resume-*/*")] == ["checkpoint-6"]
    main("stopped")
    assert steps == [*range(1, 41)]
    main("whole")
    assert sha256(tmp_path / "whole/model.safetensors") == sha256(tmp_path / "stopped/model.safetensors")
    whole, stopped = (pd.read_csv(tmp_path / name / "training_curve.csv") for name in ("whole", "stopped"))
    assert whole.equals(stopped), "the mean loss and the seconds of steps 5 to 8 are over both runs"
    assert list(whole.seconds) == list(whole.step) == [*range(4, 41, 4)]


def test_errors_of_the_recipe(tmp_path: Path) -> None:
    path = tiny_recipe(tmp_path)
    with pytest.raises(DataError, match="models: no 'fungus'; there are encoder, decoder"):
        read_part(path, "fungus")
    content = yaml.safe_load(path.read_text())
    for name, key, wrong, message in (
        ("encoder", "batch_tokens", 250, "a multiple of sequence"),
        ("encoder", "sequence", 256, r"sequence: 256 tokens; max_position_embeddings leaves 128"),
    ):
        changed = yaml.safe_load(path.read_text())
        changed["models"][name]["training"][key] = wrong
        (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(DataError, match=message):
            read_part(tmp_path / "wrong.yaml", name)
    del content["models"]["encoder"]["masked"]
    with pytest.raises(DataError, match="an encoder needs `masked`"):
        read_recipe(content, TextRecipe)


def test_the_recipe_gives_models_of_the_size_that_is_told() -> None:
    recipe = read_recipe(RECIPE, TextRecipe)
    assert recipe.corpus in read_catalog([PROJECT / "config/catalog"]).datasets
    total = 0
    for name in recipe.models:
        _, part = read_part(RECIPE, name)
        model = pretraining.build_model(recipe, part)
        outside = model.num_parameters() - model.get_input_embeddings().weight.numel()
        assert 2.8e6 < outside < 3.5e6
        total += 2 * model.num_parameters()
    assert total < 24e6, "bytes of both in bfloat16"


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"REAL TEXT NOT TESTED: no corpus at {SHARED}")
def test_a_shard_of_the_real_corpus(tmp_path: Path) -> None:
    listed = read_catalog([PROJECT / "config/catalog"]).datasets["english"]
    shard = "storybooks-00.txt.xz"
    one = listed.model_copy(update={"path": SHARED, "sha256": {shard: listed.sha256[shard]}})
    fetch_dataset("one", one, None, tmp_path / "manifest.json")
    found = list(documents(tmp_path / "manifest.json"))
    assert len(found) == 681 and sum(len(text.split()) for text in found) == 236_923  # as its README says
    tokenizer = train_tokenizer(iter(found), 2000)
    (ids,) = encode(iter(found[:1]), tokenizer, "encoder")
    assert tokenizer.decode(ids[:-1].tolist()) == found[0]
