"""Pre-training learns, and the shipped organisms are what their folder says and know what they must."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from junkdna.files import DataError, sha256
from junkdna.organism import make_organism, organism_tokenizer
from junkdna.pretrain import build_model, pretrain
from junkdna.world.datasets import make_datasets
from junkdna.world.facts import make_world
from junkdna.world.probe import decoder_scores, encoder_scores
from junkdna.world.recipe import read_recipe

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
    with pytest.raises(DataError, match="allowed are encoder, decoder"):
        pretrain(read_recipe(content), "fungus")
    stage = content["organisms"]["decoder"]["stages"][0]
    stage["mix"] = {"poem": 1.0}
    with pytest.raises(DataError, match="poem"):
        pretrain(read_recipe(content), "decoder")
    stage["mix"] = {"k_shot": 1.0}
    with pytest.raises(DataError, match=r"training\.tokens"):
        pretrain(read_recipe(content), "decoder", steps=50)


def test_shipped_files_match_their_checksums() -> None:
    lines = (ORGANISMS / "SHA256SUMS").read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)
    shipped = {str(p.relative_to(ORGANISMS)) for p in ORGANISMS.glob("*/*")}
    assert set(listed) == shipped
    for name, digest in listed.items():
        assert sha256(ORGANISMS / name) == digest, name
    assert sum((ORGANISMS / name).stat().st_size for name in listed) < 8e6


def test_shipped_architectures_are_those_of_the_recipe() -> None:
    recipe = read_recipe(ORGANISMS / "recipe.yaml")
    world = make_world(recipe.world, recipe.seed)
    for organism, part in recipe.organisms.items():
        fresh = build_model(part, world)
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


def test_shipped_encoder_knows_its_facts() -> None:
    recipe = read_recipe(ORGANISMS / "recipe.yaml")
    world = make_world(recipe.world, recipe.seed)
    model = AutoModelForMaskedLM.from_pretrained(ORGANISMS / "encoder", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(ORGANISMS / "encoder")
    scores = encoder_scores(model, tokenizer, world, recipe.world.head, recipe.world.tail)
    assert scores["masked_head"] >= 0.95 and scores["masked_tail"] >= 0.9
