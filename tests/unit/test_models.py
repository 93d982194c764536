from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

from junkdna import exporting, models, state
from junkdna.catalog import Model, Task
from junkdna.files import DataError, read_json
from support import MIRROR, needs_mirror

CLASSIFY = tiny.task("classification")


def compressed(manifest: Path, level: str = "0.50") -> Path:
    named = {"method": "random", "module": "pruning.random", "params": {"seed": 0}}
    (made,) = state.create(*state.base_of(manifest, tiny.MODEL), levels=[level], **named)
    state.save(made, manifest.parent / "state.safetensors")
    return manifest.parent / "state.safetensors"


def masks_of(manifest: Path, path: Path) -> dict[str, torch.Tensor]:
    return {weight.name: weight.mask for weight in models.restored(manifest, tiny.MODEL, state.load(path))}


def classifier(manifest: Path, seed: int = 0, weights: Path | None = None, task: Task = CLASSIFY):
    folder = models.model_folder(manifest)
    return models.load_model(folder, tiny.MODEL, task, models.load_tokenizer(folder), seed, weights)


@pytest.mark.parametrize("encoder", [True, False])
def test_classifier_has_the_pretrained_body_and_a_seeded_head(tmp_path: Path, encoder: bool) -> None:
    manifest = tiny.save_model(tmp_path, encoder)
    first, again, other = (classifier(manifest, seed).cpu().state_dict() for seed in (0, 0, 1))
    auto = AutoModelForMaskedLM if encoder else AutoModelForCausalLM
    body = auto.from_pretrained(tmp_path / "files").state_dict()
    heads = {name for name in first if name not in body}
    assert heads and all(name.startswith(("classifier.", "score.")) for name in heads)
    assert all(torch.equal(first[name], body[name]) for name in first if name in body)
    assert all(torch.equal(first[name], again[name]) for name in heads)
    assert any(not torch.equal(first[name], other[name]) for name in heads)


def test_tied_embeddings_saved_as_the_head_alone_reach_the_classifier(tmp_path: Path) -> None:
    manifest = tiny.save_model(tmp_path, encoder=False, tie=True)
    file = tmp_path / "files/model.safetensors"
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "files")
    tensors = {n: t.clone() for n, t in whole.state_dict().items() if n != "model.embed_tokens.weight"}
    models.save_file(tensors, file, metadata={"format": "pt"})
    found = classifier(manifest).cpu().model.embed_tokens.weight
    assert torch.equal(found, whole.model.embed_tokens.weight)


def test_a_lost_weight_of_the_body_is_an_error(tmp_path: Path) -> None:
    manifest = tiny.save_model(tmp_path, encoder=False)
    file = tmp_path / "files/model.safetensors"
    tensors = models.load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    models.save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"weights of the body are missing: model.layers.1.mlp.up_proj.weight"):
        classifier(manifest)


@pytest.mark.parametrize("encoder", [True, False])
def test_masks_reach_the_classifier_by_the_checkpoints_names(tmp_path: Path, encoder: bool) -> None:
    manifest = tiny.save_model(tmp_path, encoder)
    loaded = state.load(compressed(manifest))
    weights = list(models.restored(manifest, tiny.MODEL, loaded))
    masks, digest = {weight.name: weight.mask for weight in weights}, loaded.manifest["mask_sha256"]
    model = classifier(manifest)
    dense = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    models.apply_state(model, weights)
    assert len(masks) >= 12 and len(digest) == 64
    for name, parameter in model.named_parameters():
        expected = dense[name] * masks[name].to(dense[name].device) if name in masks else dense[name]
        assert torch.equal(parameter, expected), name
    bare = {name.removeprefix(f"{model.base_model_prefix}."): mask for name, mask in masks.items()}
    assert len(models.matched(model, bare)) == len(masks)
    with pytest.raises(DataError, match="compressed weight other.weight of shape .*: no such weight"):
        models.matched(model, {"other.weight": torch.ones(2, 2, dtype=torch.bool)})


def test_fine_tuned_weights_are_saved_and_read_whole(tmp_path: Path) -> None:
    manifest = tiny.save_model(tmp_path, encoder=True)
    model = classifier(manifest, seed=5)
    models.save_weights(model, tmp_path / "a.safetensors")
    models.save_weights(model, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    again = classifier(manifest, weights=tmp_path / "a.safetensors")
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in model.state_dict().items())
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-10])
    with pytest.raises(DataError, match=r"a.safetensors: not the weights of this model"):
        classifier(manifest, weights=tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fine_tuned_weights_are_read_into_a_model_without_drawn_ones(tmp_path: Path, monkeypatch, dtype: str) -> None:
    manifest = tiny.save_model(tmp_path, encoder=False, tie=True)
    model = classifier(manifest)
    models.save_weights(model, tmp_path / "w.safetensors")
    monkeypatch.setattr(torch.nn.init, "normal_", lambda *_, **__: pytest.fail("drawn"))
    entry = tiny.MODEL.model_copy(update={"dtype": dtype})
    again, _ = models.open_state(manifest, entry, CLASSIFY, weights=tmp_path / "w.safetensors")
    for name, weight in again.named_parameters():
        assert torch.equal(weight, model.get_parameter(name).to(getattr(torch, dtype)))


def test_longest_inputs(tmp_path: Path) -> None:
    for encoder, expected in ((True, 40), (False, 64)):
        manifest = tiny.save_model(tmp_path / str(encoder), encoder)
        folder = models.model_folder(manifest)
        tokenizer = models.load_tokenizer(folder)
        model = models.load_model(folder, tiny.MODEL, CLASSIFY, tokenizer)
        assert models.max_tokens(model.config, tokenizer) == expected
        ids = torch.full((1, expected), 9, device=model.device)
        assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all()


@pytest.mark.parametrize("encoder", [True, False])
def test_exported_cells_are_ordinary_folders(tmp_path: Path, encoder: bool) -> None:
    manifest, ids = tiny.save_model(tmp_path, encoder), torch.tensor([[0, 9, 12, 30, 2]])
    exporting.export(manifest, tiny.MODEL, tmp_path / "compressed", state=compressed(manifest))
    auto = AutoModelForMaskedLM if encoder else AutoModelForCausalLM
    expected = auto.from_pretrained(tmp_path / "files").eval()
    models.apply_state(expected, models.restored(manifest, tiny.MODEL, state.load(tmp_path / "state.safetensors")))
    found = auto.from_pretrained(tmp_path / "compressed").eval()
    assert torch.equal(found(ids).logits, expected(ids).logits)

    model = classifier(manifest, seed=3)
    models.save_weights(model, tmp_path / "w.safetensors")
    exporting.export(manifest, tiny.MODEL, tmp_path / "tuned", weights=tmp_path / "w.safetensors", task=CLASSIFY)
    found = AutoModelForSequenceClassification.from_pretrained(tmp_path / "tuned").eval()
    assert torch.equal(found(ids).logits, model.cpu()(ids).logits)
    names = {file.name for file in (tmp_path / "tuned").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names and ".export" not in names


@needs_mirror
def test_the_real_model_becomes_a_classifier_with_its_embeddings() -> None:
    folder = MIRROR / "models/raincandy-u/TinyStories-656K"
    tokenizer = models.load_tokenizer(folder)
    model = Model.model_validate({"source": {"type": "local", "path": str(folder)}})
    found = models.load_model(folder, model, CLASSIFY, tokenizer)
    saved = models.load_file(folder / "model.safetensors")
    assert torch.equal(found.model.embed_tokens.weight, saved["lm_head.weight"])
    assert found.config.pad_token_id == tokenizer.pad_token_id == 0
    assert read_json(folder / "config.json")["max_position_embeddings"] == models.max_tokens(found.config, tokenizer)
