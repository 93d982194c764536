"""Packed masks and codes, and compressed states on disk and in models."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from calibrated import METHODS, SOURCE, base_of, compress, ragged, restored, save_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from test_models import classifier

import compress as compress_script
import finetune
from junkdna import calibration, exporting, models, packing, training
from junkdna import state as states
from junkdna.catalog import CalibrationData
from junkdna.checkpoint import Base, Calibration
from junkdna.files import DataError, write_json
from junkdna.tasks import Question
from support import MIRROR, needs_mirror

LEVELS = {"wanda": "0.50", "sparsegpt": "2of4", "rtn": "3bit", "gptq": "4bit"}
QUESTIONS = [Question(str(i), (f"w{i % 40} w{i * 7 % 40} w{i % 3}",), target=float(i % 2)) for i in range(24)]


@settings(max_examples=80, deadline=None)
@given(st.data(), st.integers(1, 8), st.integers(0, 5), st.integers(1, 9))
def test_codes_of_any_width_come_back(data: st.DataObject, bits: int, rows: int, columns: int) -> None:
    count = rows * columns
    values = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=count, max_size=count))
    codes = torch.tensor(values, dtype=torch.uint8).view(rows, columns)
    packed = packing.pack_codes(codes, bits)
    assert packed.dtype == torch.uint8 and len(packed) == -(-count * bits // 8)
    assert torch.equal(packing.unpack_codes(packed, bits, (rows, columns)), codes)
    # The same bits as text.
    text = "".join(f"{value:0{bits}b}" for value in values)
    assert "".join(f"{byte:08b}" for byte in packed.tolist()) == text.ljust(8 * len(packed), "0")


@pytest.mark.parametrize("bits", [1, 3, 4, 8])
def test_parts_do_not_show(bits: int) -> None:
    codes = torch.randint(1 << bits, (2 * packing.CHUNK + 5,), generator=torch.Generator().manual_seed(0)).byte()
    packed = packing.pack_codes(codes, bits)
    assert torch.equal(packing.unpack_codes(packed, bits, codes.shape), codes)
    values = codes[: 3 * packing.ROWS * 20].view(-1, 20)[:-7].T.contiguous().T  # rows in several parts, in columns
    assert torch.equal(packing.selected(values, values > 0), values.masked_select(values > 0))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 6), st.integers(1, 11))
def test_masks_come_back(data: st.DataObject, rows: int, columns: int) -> None:
    values = data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    mask = torch.tensor(values).view(rows, columns)
    packed = packing.pack_mask(mask)
    assert len(packed) == -(-mask.numel() // 8)
    assert torch.equal(packing.unpack_mask(packed, mask.shape), mask)


def create(source: dict[str, Any], base: Base, method: str) -> states.State:
    words = [[token % len(tiny.WORDS) + len(tiny.SPECIAL) for token in sequence] for sequence in ragged()]
    module, params = METHODS[method]
    named = {"method": method, "module": module, "params": params, "levels": [LEVELS[method]]}
    (state,) = states.create(source, replace(base, calibration=Calibration(words)), **named)
    return state


def saved(folder: Path, method: str) -> Path:
    """A state of the tiny model in the folder."""
    source, base = states.base_of(folder / "manifest.json", tiny.MODEL)
    states.save(create(source, base, method), folder / f"{method}.safetensors")
    return folder / f"{method}.safetensors"


def values_of(manifest: Path, path: Path) -> dict[str, states.Restored]:
    return {weight.name: weight for weight in models.restored(manifest, tiny.MODEL, states.load(path))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_states_round_trip_in_equal_bytes(tmp_path: Path, method: str, dtype: torch.dtype) -> None:
    base = base_of(save_model(tmp_path, "gpt2", dtype))
    for number in range(2):
        (state,) = compress(base, method, LEVELS[method])
        states.save(state, tmp_path / f"{number}.state")
    assert (tmp_path / "0.state").read_bytes() == (tmp_path / "1.state").read_bytes()
    loaded = states.load(tmp_path / "0.state")
    before, after = restored(state, base), restored(loaded, base)
    assert list(before) == list(after) == base.names
    for name, weight in after.items():
        # A grid's values are not rounded to the checkpoint's data type.
        assert torch.equal(weight, before[name]) and weight.dtype == (dtype if loaded.removes else torch.float32)
        assert weight.shape == base.checkpoint.infos[name].shape
    if loaded.removes:
        masks = [weight.mask for weight in states.restore(loaded, SOURCE, base)]
        assert loaded.manifest["zeros"] == [int((~mask).sum()) for mask in masks]
        assert loaded.manifest["sparsity"] == 0.5
    else:
        assert loaded.manifest["sparsity"] == 0 and loaded.manifest["mask_sha256"] is None


@pytest.mark.parametrize("method", METHODS)
def test_changed_tensors_are_noticed(tmp_path: Path, method: str) -> None:
    (state,) = compress(base_of(save_model(tmp_path, "llama")), method, LEVELS[method])
    path = tmp_path / "state.safetensors"
    states.save(state, path)
    content = bytearray(path.read_bytes())
    for place in (-1, -200):
        changed = content.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(
            DataError, match=r"state\.safetensors: its tensors are not those of its manifest; delete it"
        ):
            states.load(path)
    path.write_bytes(content)
    with safe_open(path, "pt") as handle:
        metadata = handle.metadata()
    name = sorted(state.tensors)[0]
    for tensors in (
        {n: t for n, t in state.tensors.items() if n != name},
        state.tensors | {"other": torch.zeros(1)},
    ):
        save_file(tensors, path, metadata)
        with pytest.raises(DataError, match="its tensors are not those of its manifest"):
            states.load(path)


@needs_mirror
def test_sizes_on_a_real_model(tmp_path: Path) -> None:
    base = base_of(MIRROR / "models/raincandy-u/TinyStories-656K", ragged((200, 200, 200)))
    size = {}
    for name, method, level, changes in (
        ("wanda", "wanda", "0.50", {}),
        ("sparsegpt", "sparsegpt", "0.50", {}),
        ("joint", "sparsegpt", "0.50", {"bits": 4}),
        ("rtn", "rtn", "4bit", {}),
        ("gptq", "gptq", "2bit", {}),
        ("magnitude", "magnitude", "0.50", {}),
    ):
        (state,) = compress(base, method, level, **changes)
        states.save(state, tmp_path / name)
        size[name] = (tmp_path / name).stat().st_size
    weights = base.checkpoint.numel(base.names)
    masks, grids, header = weights / 8, 5 * weights / 128, 7_000
    # A bit per weight: at most a sixteenth of the checkpoint in bfloat16 plus 1 %.
    assert size["wanda"] <= 2 * base.checkpoint.numel(base.checkpoint.infos) / 16 * 1.01
    assert size["wanda"] <= masks + 3_000
    assert size["sparsegpt"] <= masks + weights / 2 * 4 + header  # float32, as the checkpoint
    assert size["joint"] <= masks + weights / 2 * 4 / 8 + grids + header < size["sparsegpt"] / 4
    assert size["rtn"] <= weights * 4 / 8 + grids + header
    assert size["gptq"] <= weights * 2 / 8 + grids + header
    assert size["magnitude"] < 10_000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("encoder", [True, False])
def test_restored_weights_reach_the_model(tmp_path: Path, encoder: bool, method: str) -> None:
    manifest = tiny.save_model(tmp_path, encoder)
    path = saved(tmp_path, method)
    dense = dict(classifier(manifest).cpu().named_parameters())
    models_of = [classifier(manifest)]
    if not encoder:
        models_of.append(models.open_state(manifest, tiny.MODEL, tiny.task("perplexity"))[0])
    found = values_of(manifest, path)
    for model in models_of:
        models.apply_state(model, models.restored(manifest, tiny.MODEL, states.load(path)))
        for name, parameter in model.cpu().named_parameters():
            expected = dense.get(name, parameter)
            if name in found:
                weight = found[name]
                expected = expected * weight.mask if weight.values is None else weight.values
                assert not torch.equal(expected, dense[name])
            assert torch.equal(parameter, expected), name
    exporting.export(manifest, tiny.MODEL, tmp_path / "out", state=path)
    exported = models.load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(exported[name], dict(models_of[0].named_parameters())[name]) for name in found)


@pytest.mark.parametrize("method", METHODS)
def test_a_fine_tuned_model_is_compressed_and_evaluated(tmp_path: Path, method: str) -> None:
    manifest, task = tiny.save_model(tmp_path, encoder=True), tiny.task("classification")
    tuned = classifier(manifest, seed=1)
    with torch.no_grad():
        for weight in tuned.parameters():
            weight.mul_(0.5).add_(0.01)
    models.save_weights(tuned, tmp_path / "model.safetensors")
    source, base = states.base_of(manifest, tiny.MODEL, weights=tmp_path / "model.safetensors")
    assert base.names == states.base_of(manifest, tiny.MODEL)[1].names
    state = create(source, base, method)
    states.save(state, tmp_path / "state")
    opened, _ = models.open_state(manifest, tiny.MODEL, task, tmp_path / "state", tmp_path / "model.safetensors")
    found = {weight.name: weight for weight in states.restore(state, source, base)}
    own = dict(tuned.cpu().named_parameters())
    for name, parameter in opened.cpu().named_parameters():
        expected = own[name]
        if name in found:
            expected = expected * found[name].mask if found[name].values is None else found[name].values
        assert torch.equal(parameter, expected), name
    # The state is of the fine-tuned weights, not of the pre-trained ones.
    with pytest.raises(DataError, match="is not the base it was made from"):
        models.open_state(manifest, tiny.MODEL, task, tmp_path / "state")


def test_the_script_compresses_at_several_levels_in_one_sweep(tmp_path: Path) -> None:
    manifest, levels = tiny.save_model(tmp_path, encoder=False), ["0.50", "2of4"]
    texts = " ".join(tiny.WORDS[(7 * i) % 48] for i in range(400))
    data = tiny.save_rows(tmp_path / "data", "default", "train", [{"text": texts}])
    write_json(tmp_path / "data.json", {"name": "data", "path": str(data), "files": {}})
    model = tiny.MODEL.model_copy(update={"calibration": None}).model_dump_json(exclude_defaults=True)
    spec = CalibrationData(dataset="data", n_samples=8, seq_len=20)
    states_of = {}
    for seed in ("0", "0", "1"):
        outputs = [str(tmp_path / f"{level}.safetensors") for level in levels]
        given = ["--model-manifest", str(manifest), "--model", model, "--method", "wanda", "--module", "pruning.wanda"]
        given += ["--levels", *levels, "--params", '{"propagate": "dense"}', "--index", "--weights", "--calibration"]
        given += [spec.model_dump_json(), "--calibration-manifest", str(tmp_path / "data.json")]
        compress_script.main([*given, "--calibration-seed", seed, "--outputs", *outputs])
        found = [Path(path).read_bytes() for path in outputs]
        assert states_of.setdefault(seed, found) == found
    assert all(first != second for first, second in zip(states_of["0"], states_of["1"], strict=True))
    sequences = calibration.draw(models.model_folder(manifest), data, spec, 1)
    source, base = states.base_of(manifest, tiny.MODEL)
    base = replace(base, calibration=Calibration(sequences))
    named = {"method": "wanda", "module": "pruning.wanda", "params": {"propagate": "dense"}}
    for level, path, state in zip(levels, outputs, states.create(source, base, levels=levels, **named), strict=True):
        assert states.load(Path(path)).manifest == state.manifest and state.manifest["level"] == level


def started(manifest: Path, path: Path, transfer: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    model = classifier(manifest)
    args = argparse.Namespace(state=path, model_manifest=manifest, model=tiny.MODEL, transfer=transfer)
    masks, digest = finetune.start_state(args, model)
    assert digest == states.load(path).manifest["mask_sha256"]
    return model, masks


@pytest.mark.parametrize("transfer", ["sparse", "sparse_to_dense", "dense_frozen"])
def test_fine_tuning_starts_from_the_values_of_the_state(tmp_path: Path, transfer: str) -> None:
    manifest = tiny.save_model(tmp_path, encoder=True)
    path = saved(tmp_path, "sparsegpt")
    dense = {name: weight.detach().clone() for name, weight in classifier(manifest).named_parameters()}
    model, masks = started(manifest, path, transfer)
    found = values_of(manifest, path)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for name, weight in found.items():
        assert torch.equal(masks[name], weight.mask)
        expected = dense[name] if transfer == "dense_frozen" else weight.values
        assert torch.equal(before[name].cpu(), expected.cpu())
    tokenizer = models.load_tokenizer(models.model_folder(manifest))
    options = {"transfer": transfer, "masks": masks, "seed": 0, "resume": tmp_path / "resume"}
    training.fine_tune(model, tokenizer, tiny.task("classification"), QUESTIONS, **options)
    for name, mask in masks.items():
        weight = model.get_parameter(name).detach()
        assert not torch.equal(weight[mask], before[name][mask])
        if transfer == "sparse":
            assert not weight[~mask].any()
        elif transfer == "dense_frozen":
            assert torch.equal(weight[~mask], dense[name][~mask]) and bool(weight[~mask].any())
        else:
            assert bool(weight[~mask].any())


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_a_quantized_state_cannot_be_fine_tuned_sparsely(tmp_path: Path, method: str) -> None:
    manifest = tiny.save_model(tmp_path, encoder=True)
    path = saved(tmp_path, method)
    with pytest.raises(
        DataError, match=rf"{method}\.safetensors: {method} removes no weights; allowed as transfer: none"
    ):
        started(manifest, path, "sparse")
