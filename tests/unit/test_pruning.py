"""Pruning against plain re-implementations: a stable sort of all weights, torch.topk, a loop over blocks."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from junkdna import state as states
from junkdna.checkpoint import Base, Checkpoint, check_divisible, prunable, read_header
from junkdna.files import DataError, sha256
from junkdna.levels import parse
from junkdna.pruning import magnitude
from junkdna.pruning.ranks import indexed_threshold, rank_of, removed, thresholds

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
METHODS = {
    "magnitude": ("pruning.magnitude", {"scope": "global"}, "0.30"),
    "magnitude_layerwise": ("pruning.magnitude", {"scope": "layer"}, "0.70"),
    "magnitude_nm": ("pruning.magnitude_nm", {}, "2of4"),
    "magnitude_slice": ("pruning.magnitude_slice", {}, "0.30to0.40"),
    "random": ("pruning.random", {"seed": 3}, "0.50"),
}


def folder_of(path: Path, tensors: dict[str, torch.Tensor], shards: int = 1, **config: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    for shard in range(shards):
        part = {name: tensors[name].contiguous() for name in names[shard::shards]}
        save_file(part, path / ("model.safetensors" if shards == 1 else f"model-{shard}.safetensors"))
    if shards > 1:
        lies_in = {name: f"model-{place % shards}.safetensors" for place, name in enumerate(names)}
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": lies_in}))
    (path / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    return path


def random_model(dtype: torch.dtype, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"q_proj": (16, 24), "up_proj": (40, 16), "down_proj": (16, 40)}
    draws = {n: torch.randn(s, generator=generator).mul(0.05) for n, s in shapes.items()}
    model = {f"model.layers.0.{name}.weight": draw.to(dtype) for name, draw in draws.items()}
    model["model.embed_tokens.weight"] = torch.randn((30, 16), generator=generator).to(dtype)
    model["lm_head.weight"] = torch.randn((30, 16), generator=generator).to(dtype)
    model["model.norm.weight"] = torch.ones(16, dtype=dtype)
    return model


def base_of(folder: Path) -> Base:
    checkpoint = Checkpoint(folder)
    base = Base(checkpoint, prunable(checkpoint.infos, None, None))
    return replace(base, index=states.index_magnitudes(base))


def compress(folder: Path, method: str, level: str | None = None) -> tuple[states.State, dict[str, Any], Base]:
    base = base_of(folder)
    files = {file.name: sha256(file) for file in folder.glob("*.safetensors")}
    source = {"name": "m", "path": str(folder), "files": files}
    module, params, default = METHODS[method]
    named = {"method": method, "module": module, "params": params}
    (state,) = states.create(source, base, levels=[level or default], **named)
    return state, source, base


def masks_of(state: states.State, source: dict[str, Any], base: Base) -> dict[str, torch.Tensor]:
    return {weight.name: weight.mask for weight in states.restore(state, source, base)}


def keep(folder: Path, method: str, level: str | None = None) -> dict[str, torch.Tensor]:
    return masks_of(*compress(folder, method, level))


def sorted_oracle(tensors: list[torch.Tensor], count: int) -> list[torch.Tensor]:
    """Removed weights by a stable sort of all absolute values, in float64."""
    flat = torch.cat([t.double().abs().flatten() for t in tensors]).numpy()
    out = np.zeros(len(flat), dtype=bool)
    out[np.argsort(flat, kind="stable")[:count]] = True
    sizes = [t.numel() for t in tensors]
    return [
        torch.from_numpy(part).view(t.shape)
        for part, t in zip(np.split(out, np.cumsum(sizes)[:-1]), tensors, strict=True)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("level", ["0.10", "0.50", "0.90", "0.125", "0.001", "0.999"])
def test_global_magnitude(tmp_path: Path, dtype: torch.dtype, shards: int, level: str) -> None:
    model = random_model(dtype)
    found = keep(folder_of(tmp_path, model, shards), "magnitude", level)
    weights = [model[name] for name in sorted(found)]
    count = round(Fraction(level) * sum(w.numel() for w in weights))
    for mask, gone in zip([found[n] for n in sorted(found)], sorted_oracle(weights, count), strict=True):
        assert torch.equal(~mask, gone)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layerwise_magnitude(tmp_path: Path, dtype: torch.dtype) -> None:
    model = random_model(dtype)
    for name, mask in keep(folder_of(tmp_path, model), "magnitude_layerwise", "0.70").items():
        (gone,) = sorted_oracle([model[name]], round(Fraction("0.70") * model[name].numel()))
        assert torch.equal(~mask, gone)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("level", "n", "m"), [("2of4", 2, 4), ("7of8", 7, 8), ("1of8", 1, 8)])
def test_n_of_m_by_a_loop_over_blocks(tmp_path: Path, transposed: bool, level: str, n: int, m: int) -> None:
    model = random_model(torch.float32)
    for weight in model.values():
        weight.mul_(20).round_()  # many ties
    found = keep(folder_of(tmp_path, model, model_type="gpt2" if transposed else "llama"), "magnitude_nm", level)
    for name, mask in found.items():
        rows, kept = (model[name].T, mask.T) if transposed else (model[name], mask)
        for row, row_kept in zip(rows.tolist(), kept.tolist(), strict=True):
            for start in range(0, len(row), m):
                block = row[start : start + m]
                order = sorted(range(m), key=lambda i, block=block: (abs(block[i]), i))
                assert [i for i in range(m) if row_kept[start + i]] == sorted(order[m - n :])


@pytest.mark.parametrize("dtype", DTYPES)
def test_bands_tile_the_sparsity_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = folder_of(tmp_path, random_model(dtype))
    bands = [keep(folder, "magnitude_slice", f"{k / 10:.2f}to{(k + 1) / 10:.2f}") for k in range(10)]
    for name in bands[0]:
        removed_times = sum((~band[name]).int() for band in bands)
        assert torch.equal(removed_times, torch.ones_like(removed_times))
    up_to = keep(folder, "magnitude", "0.30")
    for name, mask in up_to.items():
        assert torch.equal(~mask, torch.stack([~band[name] for band in bands[:3]]).any(dim=0))


def test_random_is_exact_seeded_and_spread_over_all_weights(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, random_model(torch.float32))
    masks = keep(folder, "random")
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(Fraction(1, 2) * total)
    for mask in masks.values():
        share, n = float((~mask).double().mean()), mask.numel()
        assert abs(share - 0.5) < 4 * (0.25 / n) ** 0.5
    again = keep(folder, "random")
    assert all(torch.equal(mask, again[name]) for name, mask in masks.items())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -0.0, 1e-8, -1e-8, 0.5, -0.5, 2.0, 6e4]), min_size=1, max_size=40),
    st.integers(0, 1000),
    st.sampled_from(DTYPES),
)
def test_ranks_with_many_ties(values: list[float], permille: int, dtype: torch.dtype) -> None:
    tensor = torch.tensor(values).to(dtype)
    rank = rank_of(Fraction(permille, 1000), len(values))
    half = len(values) // 2
    parts = [("a", tensor[:half]), ("b", tensor[half:])]
    (found,) = thresholds(lambda: parts, [rank])
    gone = torch.cat([out for _, out in removed(parts, found)])
    (expected,) = sorted_oracle([tensor], rank)
    assert torch.equal(gone, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_thresholds_agree_with_topk(dtype: torch.dtype) -> None:
    weights = torch.randn(300_001, generator=torch.Generator().manual_seed(1)).to(dtype)
    ranks = [1, 2, 1000, 150_000, 299_999, 300_001]
    for rank, found in zip(ranks, thresholds(lambda: [("w", weights)], ranks), strict=True):
        largest = weights.float().abs().topk(rank, largest=False).values.max()
        (gone,) = (out for _, out in removed([("w", weights)], found))
        assert int(gone.sum()) == rank
        assert weights[gone].float().abs().max() == largest


@pytest.mark.parametrize("method", METHODS)
def test_states_are_small_and_round_trip(tmp_path: Path, method: str) -> None:
    state, source, base = compress(folder_of(tmp_path / "m", random_model(torch.bfloat16)), method)
    states.save(state, tmp_path / "one")
    states.save(state, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").stat().st_size < 10_000
    loaded = states.load(tmp_path / "one")
    before, after = (masks_of(s, source, base) for s in (state, loaded))
    assert list(before) == base.names and all(torch.equal(before[name], after[name]) for name in base.names)
    removed_weights = sum(int((~mask).sum()) for mask in before.values())
    assert loaded.manifest["sparsity"] == removed_weights / base.checkpoint.numel(base.names)
    assert loaded.manifest["zeros"] == [int((~before[name]).sum()) for name in base.names]


def test_a_missing_index_says_what_to_set() -> None:
    with pytest.raises(DataError, match="set `indexed: true`"):
        indexed_threshold(None, Fraction(1, 2))


def test_a_state_of_seven_billion_weights_stays_small(tmp_path: Path) -> None:
    from junkdna.state import State, save

    names = 32 * 7
    manifest = {"rule": {"thresholds": [[20_000_000, 30_000, 12_345]] * names}, "zeros": [20_000_000] * names}
    save(State(manifest, {}), tmp_path / "state")
    assert (tmp_path / "state").stat().st_size < 10_240


def test_another_base_and_a_garbled_state_are_refused(tmp_path: Path) -> None:
    state, source, base = compress(folder_of(tmp_path / "m", random_model(torch.float32)), "magnitude")
    other = source | {"files": {"model.safetensors": "0" * 64}}
    with pytest.raises(DataError, match="is not the base it was made from"):
        next(states.restore(state, other, base))
    with pytest.raises(DataError, match="is not the base it was made from"):
        next(states.restore(state, source, replace(base, names=base.names[:-1])))
    states.save(state, tmp_path / "state.safetensors")
    content = (tmp_path / "state.safetensors").read_bytes()
    for garbled in (content[:40], content.replace(b'\\"schema\\": 2', b'\\"schema\\": 9'), b""):
        (tmp_path / "state.safetensors").write_bytes(garbled)
        with pytest.raises(DataError, match=r"state\.safetensors"):
            states.load(tmp_path / "state.safetensors")
    changed = states.State(state.manifest | {"mask_sha256": "0" * 64}, {})
    with pytest.raises(DataError, match="differs from the recorded one"):
        list(states.restore(changed, source, base))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_name_the_tensor(tmp_path: Path, value: float) -> None:
    model = random_model(torch.float32)
    model["model.layers.0.up_proj.weight"][3, 3] = value
    with pytest.raises(DataError, match=r"up_proj\.weight: holds NaN or infinite"):
        compress(folder_of(tmp_path, model), "magnitude")


def test_an_unknown_scope_is_refused(tmp_path: Path) -> None:
    base = base_of(folder_of(tmp_path, random_model(torch.float32)))
    with pytest.raises(DataError, match="params.scope is 'layers'; allowed are 'global' and 'layer'"):
        magnitude.compress(base, parse("0.50"), {"scope": "layers"})


def test_mixed_types_cannot_share_a_threshold(tmp_path: Path) -> None:
    model = random_model(torch.float32)
    model["model.layers.0.up_proj.weight"] = model["model.layers.0.up_proj.weight"].half()
    with pytest.raises(DataError, match="one threshold needs one data type"):
        compress(folder_of(tmp_path, model), "magnitude")


def test_width_not_divisible_names_weight_width_and_m(tmp_path: Path) -> None:
    checkpoint = Checkpoint(folder_of(tmp_path, random_model(torch.float32)))
    names = prunable(checkpoint.infos, None, None)
    with pytest.raises(DataError, match=r"'4of7': width 40 of model\.layers\.0\.down_proj\.weight.* by 7"):
        check_divisible(checkpoint, parse("4of7"), names)
    check_divisible(checkpoint, parse("4of8"), names)


def test_prunable_weights(tmp_path: Path) -> None:
    encoder = {
        "roberta.embeddings.word_embeddings.weight": (9, 4),
        "roberta.encoder.layer.0.attention.self.query.weight": (4, 4),
        "roberta.encoder.layer.0.attention.self.query.bias": (4,),
        "roberta.encoder.layer.0.output.LayerNorm.weight": (4,),
        "roberta.pooler.dense.weight": (4, 4),
        "classifier.dense.weight": (4, 4),
        "lm_head.dense.weight": (4, 4),
    }
    checkpoint = Checkpoint(folder_of(tmp_path, {name: torch.ones(shape) for name, shape in encoder.items()}))
    query = "roberta.encoder.layer.0.attention.self.query.weight"
    assert prunable(checkpoint.infos, None, None) == [query]
    assert prunable(checkpoint.infos, "output", None) == []
    assert prunable(checkpoint.infos, None, "query") == []


@pytest.mark.parametrize("damage", ["short", "long", "header", "length", "empty"])
def test_damaged_files_name_the_file(tmp_path: Path, damage: str) -> None:
    path = folder_of(tmp_path, random_model(torch.float32)) / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(
        {
            "short": content[:-1],
            "long": content + b"x",
            "header": content[:8] + b"?" + content[9:],
            "length": b"\xff" * 8 + content[8:],
            "empty": b"",
        }[damage]
    )
    with pytest.raises(DataError, match=r"model\.safetensors: truncated or not safetensors"):
        read_header(path)


@pytest.mark.parametrize("shards", [1, 3])
def test_only_the_files_that_transformers_loads_are_read(tmp_path: Path, shards: int) -> None:
    model = random_model(torch.float32)
    folder = folder_of(tmp_path, model, shards)
    save_file({"layers.0.attention.wq.weight": torch.ones(4, 4)}, folder / "consolidated.safetensors")
    assert set(Checkpoint(folder).infos) == set(model)


def test_a_missing_shard_names_the_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, random_model(torch.float32), 3)
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(DataError, match=r"model-1\.safetensors: missing; model\.safetensors\.index\.json lists it"):
        Checkpoint(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(DataError, match=r"model\.safetensors\.index\.json: has no `weight_map`"):
        Checkpoint(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(DataError, match=r"holds neither model\.safetensors nor"):
        Checkpoint(folder)
