"""prune_head: body and fresh head are compressed together, whatever the method, as the reference code does."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from test_models import classifier

import finetune
from junkdna import state as states
from junkdna.config import ConfigError, read_all
from junkdna.files import write_json

HEAD = ("classifier.dense.weight", "classifier.out_proj.weight")
METHODS = {
    "magnitude": ("pruning.magnitude", "0.60", {"scope": "global"}),
    "magnitude_layerwise": ("pruning.magnitude", "0.60", {"scope": "layer"}),
    "magnitude_nm": ("pruning.magnitude_nm", "2of8", {}),
    "random": ("pruning.random", "0.60", {"seed": 0}),
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tiny.save_model(tmp_path, encoder=True)


def started(manifest: Path, method: str, seed: int, prune_head: bool = True) -> tuple[dict, dict, torch.nn.Module, str]:
    """Masks and the weights before, from the state of a method; the model that a fine-tuning would start from."""
    module, level, params = METHODS[method]
    source, base = states.base_of(manifest, tiny.MODEL)
    base = states.replace(base, index=states.index_magnitudes(base))
    (state,) = states.create(source, base, method=method, module=module, levels=[level], params=params)
    path = manifest.parent / f"{method}.safetensors"
    states.save(state, path)
    task, entry = tiny.task("classification"), tiny.MODEL.model_copy(update={"prune_head": prune_head})
    model = classifier(manifest, seed, task=task)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    out = manifest.parent / "out/model.safetensors"
    args = Namespace(state=path, model=entry, model_manifest=manifest, task=task, transfer="sparse", output_weights=out)
    masks, digest = finetune.start_state(args, model)
    assert not list(out.parent.glob("*")) if out.parent.exists() else not prune_head
    return masks, before, model, digest


@pytest.mark.parametrize("method", METHODS)
def test_head_and_body_are_one(manifest: Path, method: str) -> None:
    masks, before, model, _ = started(manifest, method, seed=1)
    assert set(HEAD) <= set(masks)
    for name, mask in masks.items():
        assert torch.equal(model.get_parameter(name).detach(), before[name] * mask.to(model.device))
        assert 0 < int(mask.sum()) < mask.numel()
    count = sum(mask.numel() for mask in masks.values())
    removed = count - sum(int(mask.sum()) for mask in masks.values())
    if method == "magnitude":
        assert removed == round(0.6 * count)
        kept = min(float(before[name][mask].abs().min()) for name, mask in masks.items())
        gone = max(float(before[name][~mask].abs().max()) for name, mask in masks.items())
        assert gone <= kept, "one threshold for body and head"


def test_each_fresh_head_has_its_own_mask_and_no_head_is_pruned_by_default(manifest: Path) -> None:
    found = {seed: started(manifest, "magnitude", seed) for seed in (1, 2)}
    again = started(manifest, "magnitude", 1)
    assert any(not torch.equal(found[1][0][name], found[2][0][name]) for name in HEAD)
    assert found[1][3] == again[3] != found[2][3]
    masks, before, model, digest = started(manifest, "magnitude", 1, prune_head=False)
    assert not set(HEAD) & set(masks)
    assert all(torch.equal(model.get_parameter(name), before[name]) for name in HEAD)
    assert digest == states.load(manifest.parent / "magnitude.safetensors").manifest["mask_sha256"]


def test_a_method_that_needs_data_cannot_prune_a_fresh_head(tmp_path: Path) -> None:
    experiment = {"name": "x", "id": "E4", "title": "t", "question": "q", "models": ["roberta-base"]}
    experiment |= {"methods": {"wanda": ["0.50"]}, "transfers": ["sparse"], "tasks": ["cola"]}
    experiment |= {"panels": [{"label": "p"}], "series": [{"label": "s"}]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(experiment))
    settings = {"experiments": [str(tmp_path / "x.yaml")], "catalog": ["config/catalog", "config/catalog/paper"]}
    write_json(tmp_path / "settings.json", settings)
    with pytest.raises(ConfigError, match=r"x\.yaml: models: 'roberta-base' has `prune_head`, and 'wanda'"):
        read_all([tmp_path / "settings.json"])
