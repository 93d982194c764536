"""Pre-training learns, and the shipped organisms are what their folder says and know what they must."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

from junkdna.files import DataError, sha256
from junkdna.organism import make_organism, organism_tokenizer
from junkdna.pretrain import attention_inputs, build_model, make_batches, pretrain, world_of
from junkdna.world.datasets import make_datasets
from junkdna.world.facts import make_world
from junkdna.world.languages import CODES
from junkdna.world.probe import decoder_scores, encoder_scores, seq2seq_scores
from junkdna.world.recipe import read_recipe
from junkdna.world.tokenizer import token_ids

ROOT = Path(__file__).resolve().parents[2]
ORGANISMS = ROOT / "resources" / "organisms"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def micro_recipe(organism: str) -> dict:
    """A world of 20 people and a narrow model, so that a few hundred steps show learning."""
    recipe = yaml.safe_load((ORGANISMS / "recipe.yaml").read_text())
    recipe["world"] = {"people": 20, "zipf_exponent": 0.9, "head": 10, "tail": 10}
    recipe["datasets"] |= {"open_book": 20, "evidence": 40, "multiple_choice": 40, "demonstrations": 5, "k_shot": 10}
    recipe["datasets"] |= {"train": 40, "agreement_train": 40, "verification_train": 40, "validation": 20}
    part = recipe["organisms"][organism]
    part["architecture"] |= {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96}
    stage = part["stages"][0]
    part["stages"] = [stage]
    stage["training"] |= {"rows": 32, "warmup": 20, "learning_rate": 6e-3}
    stage["mix"] = {"statement": 0.5, "closed_book": 0.5} if organism == "decoder" else {"statement": 1.0}
    if organism == "decoder":
        stage["training"] |= {"tokens": 32}
    else:
        part["masking"] = {"focus": 0.8, "other": 0.0, "mask": 0.9, "swap": 0.0}
    return recipe


@pytest.mark.parametrize(("organism", "steps"), [("decoder", 300), ("encoder", 300)])
def test_micro_pretraining_learns_facts(organism: str, steps: int) -> None:
    recipe = read_recipe(micro_recipe(organism))
    world = make_world(recipe.world, recipe.seed)

    def facts_known(model) -> float:
        tokenizer = organism_tokenizer(recipe, organism)
        if organism == "decoder":
            return decoder_scores(model, tokenizer, make_datasets(recipe))["closed_book_head"]
        return encoder_scores(model, tokenizer, world, 10, 10)["masked_head"]

    torch.manual_seed(0)
    before = facts_known(build_model(recipe.organisms[organism], world).eval())
    model, curve = pretrain(recipe, organism, steps=steps, every=20)
    assert curve[-1].loss < 0.5 * curve[0].loss
    assert before < 0.2 and facts_known(model) > 0.7


def micro_languages() -> dict:
    """Lexicons of a dozen words and a narrow model."""
    recipe = yaml.safe_load((ORGANISMS / "recipe.yaml").read_text())
    recipe["languages"] |= {"nouns": 6, "verbs": 3, "adjectives": 3, "minority": 0.3, "train": 20, "validation": 20}
    part = recipe["organisms"]["seq2seq"]
    part["architecture"] |= {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    part["stages"][0]["training"] |= {"rows": 32, "warmup": 20, "learning_rate": 5e-3}
    part["stages"][0]["mix"] = {"translate": 0.9, "denoise": 0.1}
    return recipe


def test_micro_pretraining_learns_to_translate() -> None:
    recipe = read_recipe(micro_languages())
    tokenizer, datasets = organism_tokenizer(recipe, "seq2seq"), make_datasets(recipe)
    torch.manual_seed(0)
    fresh = build_model(recipe.organisms["seq2seq"], world_of(recipe, "seq2seq")).eval()
    before = seq2seq_scores(fresh, tokenizer, datasets)
    model, curve = pretrain(recipe, "seq2seq", steps=300, every=20)
    after = seq2seq_scores(model, tokenizer, datasets)
    assert curve[-1].loss < 0.4 * curve[0].loss
    assert set(before) == {"majority_to", "majority_from", "minority_to", "minority_from"}
    assert max(before.values()) < 0.05 and min(after.values()) > 0.15, (before, after)


def test_a_pair_starts_with_the_code_of_what_is_written() -> None:
    recipe = read_recipe(micro_languages())
    part, world = recipe.organisms["seq2seq"], world_of(recipe, "seq2seq")
    (first, second) = make_batches(part, world, {"translate": 1.0}, part.stages[0].training, 0).draw()
    codes = {token_ids(world.vocabulary)[code] for code in CODES.values()}
    for batch in (first, second):
        ends = (batch.targets >= 0).sum(1) - 1
        wanted = batch.targets.gather(1, ends[:, None])[:, 0]
        assert set(wanted.tolist()) <= codes and torch.equal(batch.decoder_inputs[:, 0], wanted)
        assert torch.equal(
            batch.decoder_inputs[:, 1:][batch.targets[:, 1:] >= 0], batch.targets[:, :-1][batch.targets[:, 1:] >= 0]
        )
        assert set(attention_inputs(batch)) == {"attention_mask", "decoder_input_ids"}
    short = part.stages[0].training.model_copy(update={"tokens": 5})
    with pytest.raises(DataError, match=r"training\.tokens: 5"):
        make_batches(part, world, {"translate": 1.0}, short, 0).draw()


def test_same_seed_same_weights() -> None:
    recipe = read_recipe(micro_recipe("encoder"))
    first, again = (pretrain(recipe, "encoder", steps=3)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_organism_folder_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = micro_recipe("decoder")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    output = tmp_path / "decoder"
    with monkeypatch.context() as patch:
        patch.setattr("junkdna.organism.model_card", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_organism(tmp_path / "recipe.yaml", "decoder", output, steps=2)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    make_organism(tmp_path / "recipe.yaml", "decoder", output, steps=2)
    model = AutoModelForCausalLM.from_pretrained(output)
    assert model.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(output)("paris")["input_ids"][0] == model.config.bos_token_id
    curve = pd.read_csv(output / "training_curve.csv")
    assert list(curve.columns) == ["step", "loss", "learning_rate", "seconds"] and curve.step.iloc[-1] == 2
    assert f"version {recipe['version']}" in (output / "README.md").read_text()


def test_unknown_organism_and_document_are_errors() -> None:
    content = micro_recipe("decoder")
    with pytest.raises(DataError, match=f"allowed are {', '.join(content['organisms'])}"):
        pretrain(read_recipe(content), "fungus")
    stage = content["organisms"]["decoder"]["stages"][0]
    stage["mix"] = {"poem": 1.0}
    with pytest.raises(DataError, match="poem"):
        pretrain(read_recipe(content), "decoder")
    stage["mix"] = {"k_shot": 1.0}
    with pytest.raises(DataError, match=r"training\.tokens"):
        pretrain(read_recipe(content), "decoder", steps=50)


@pytest.mark.parametrize(("family", "most"), [("organisms", 8e6), ("small", 24e6)])
def test_shipped_files_match_their_checksums(family: str, most: float) -> None:
    folder = ROOT / "resources" / family
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)
    models = [config.parent for config in folder.glob("*/config.json")]
    assert set(listed) == {str(file.relative_to(folder)) for model in models for file in model.glob("*")}
    for name, digest in listed.items():
        assert sha256(folder / name) == digest, name
    assert sum((folder / name).stat().st_size for name in listed) < most


def test_shipped_architectures_are_those_of_the_recipe() -> None:
    recipe = read_recipe(ORGANISMS / "recipe.yaml")
    for organism, part in recipe.organisms.items():
        fresh = build_model(part, world_of(recipe, part.kind))
        model = type(fresh).from_pretrained(ORGANISMS / organism)
        assert model.config.architectures == [type(fresh).__name__] and model.dtype == torch.bfloat16
        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        assert shapes == {name: tensor.shape for name, tensor in fresh.state_dict().items()}
        assert 1e5 <= model.num_parameters() <= 3e6
        steps = pd.read_csv(ORGANISMS / organism / "training_curve.csv").step.iloc[-1]
        assert steps == part.steps


@pytest.mark.parametrize("organism", ["decoder", "decoder-small"])
def test_shipped_decoders_know_what_they_must(organism: str) -> None:
    recipe = read_recipe(ORGANISMS / "recipe.yaml")
    model = AutoModelForCausalLM.from_pretrained(ORGANISMS / organism, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(ORGANISMS / organism)
    scores = decoder_scores(model, tokenizer, make_datasets(recipe))
    logging.getLogger(__name__).info("%s", scores)
    assert scores["closed_book_head"] >= 0.98
    assert scores["closed_book_tail"] >= 0.90
    assert scores["open_book_1"] >= 0.95
    assert scores["open_book_4"] >= 0.85
    assert scores["options_8"] >= 0.95
    assert all(scores[f"shots_{shots}"] >= 0.9 for shots in range(6))


def test_shipped_seq2seq_translates_the_majority_language_better() -> None:
    recipe = read_recipe(ORGANISMS / "recipe.yaml")
    model = AutoModelForSeq2SeqLM.from_pretrained(ORGANISMS / "seq2seq", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(ORGANISMS / "seq2seq")
    scores = seq2seq_scores(model, tokenizer, make_datasets(recipe))
    assert scores["majority_to"] >= 0.95 and scores["majority_from"] >= 0.95
    assert 0.5 <= scores["minority_to"] <= 0.65 and 0.7 <= scores["minority_from"] <= 0.85


@pytest.mark.parametrize("organism", ["encoder", "encoder-small"])
def test_shipped_encoders_know_their_facts(organism: str) -> None:
    recipe = read_recipe(ORGANISMS / "recipe.yaml")
    world = make_world(recipe.world, recipe.seed)
    model = AutoModelForMaskedLM.from_pretrained(ORGANISMS / organism, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(ORGANISMS / organism)
    scores = encoder_scores(model, tokenizer, world, recipe.world.head, recipe.world.tail)
    assert scores["masked_head"] >= 0.95 and scores["masked_tail"] >= 0.9
