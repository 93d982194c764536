"""Quantized models in compressed-tensors' format, read back by its own library."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
import transformers
from calibrated import METHODS
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from safetensors.torch import load_file

from junkdna import exporting
from junkdna import state as states
from junkdna.checkpoint import Calibration
from junkdna.files import DataError


def read_back(folder: Path) -> transformers.PreTrainedModel:
    """A packed folder as a dense model, by compressed-tensors alone."""
    config = transformers.AutoConfig.from_pretrained(folder)
    quantized = QuantizationConfig.model_validate(config.quantization_config)
    del config.quantization_config
    model = getattr(transformers, config.architectures[0])(config).eval()
    apply_quantization_config(model, quantized)
    compressor = ModelCompressor(quantization_config=quantized)
    compressor.compress_model(model)
    found = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert not found.unexpected_keys and set(found.missing_keys) <= set(model.all_tied_weights_keys)
    model.tie_weights()
    compressor.decompress_model(model)
    return model


def saved(folder: Path, method: str, level: str, encoder: bool = False) -> tuple[Path, Path]:
    """Manifest and compressed state of a tiny model; a group of 16 inputs is a whole row in all but one layer kind."""
    manifest = tiny.save_model(folder, encoder)
    source, base = states.base_of(manifest, tiny.MODEL)
    module, params = METHODS[method]
    params = params | ({"group": 16} if "group" in params else {})
    calibration = Calibration([[3 + i, 9, 20 + i, 5, 11, 30 - i] for i in range(12)])
    given = {"method": method, "module": module, "levels": [level], "params": params}
    (state,) = states.create(source, replace(base, calibration=calibration), **given)
    states.save(state, folder / "state.safetensors")
    return manifest, folder / "state.safetensors"


@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize(
    ("method", "level"), [("rtn", "2bit"), ("rtn", "3bit"), ("gptq", "4bit"), ("gptq", "6bit"), ("rtn", "8bit")]
)
def test_packed_models_load_back_with_equal_logits(tmp_path: Path, method: str, level: str, encoder: bool) -> None:
    manifest, state = saved(tmp_path, method, level, encoder)
    exporting.export_packed(manifest, tiny.MODEL, tmp_path / "packed", state)
    exporting.export(manifest, tiny.MODEL, tmp_path / "plain", state=state)
    model, config = read_back(tmp_path / "packed"), transformers.AutoConfig.from_pretrained(tmp_path / "plain")
    plain = getattr(transformers, config.architectures[0]).from_pretrained(tmp_path / "plain").eval()
    ids = torch.tensor([[0, 7, 12, 31, 8, 2]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, plain(ids).logits)
    strategies = {group["weights"]["strategy"] for group in groups_of(tmp_path / "packed")}
    assert strategies == {"channel", "group"}
    assert not list((tmp_path / "packed").glob(".export*"))


def groups_of(folder: Path) -> list[dict]:
    return list(json.loads((folder / "config.json").read_text())["quantization_config"]["config_groups"].values())


def test_only_quantized_models_are_packed(tmp_path: Path) -> None:
    manifest, state = saved(tmp_path, "wanda", "0.50")
    with pytest.raises(DataError, match="wanda 0.50: the packed form is for quantized Linear layers"):
        exporting.export_packed(manifest, tiny.MODEL, tmp_path / "packed", state)
    assert not (tmp_path / "packed").exists()
