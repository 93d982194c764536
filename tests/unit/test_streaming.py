"""Streaming block by block against a plain loop over the whole model in memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from calibrated import (
    ARCHITECTURES,
    base_of,
    compress,
    compressed,
    forward_with_hooks,
    linears,
    plain,
    ragged,
    random_model,
    restored,
    save_model,
)
from safetensors.torch import load_file, save_file

from junkdna import skeleton, streaming
from junkdna.checkpoint import Base, Calibration
from junkdna.files import DataError
from junkdna.hessian import Gram, SquaredNorms
from junkdna.levels import parse
from junkdna.pruning import wanda
from junkdna.skeleton import Skeleton
from junkdna.streaming import Solution, stream

Weights = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skeleton, "BATCH_TOKENS", 30)
    monkeypatch.setattr(skeleton, "CUDA_BATCH_TOKENS", 30)


def assert_equal(found: Weights, expected: Weights) -> None:
    assert sorted(found) == sorted(expected)
    for name, weight in found.items():
        assert weight.dtype == expected[name].dtype
        if torch.cuda.is_available():  # where products of equal matrices may differ in the last digits
            assert torch.allclose(weight, expected[name], atol=1e-5), name
        else:
            assert torch.equal(weight, expected[name]), name


def rewrite(folder: Path, change: Any) -> Path:
    """Change the tensors of a checkpoint: a function from all tensors to all tensors."""
    tensors = change(load_file(folder / "model.safetensors"))
    save_file({name: t.clone() for name, t in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(("method", "level"), [("wanda", "0.50"), ("sparsegpt", "2of4"), ("gptq", "3bit")])
@pytest.mark.parametrize("kind", [kind for kind, (_, _, paths) in ARCHITECTURES.items() if paths])
def test_streaming_equals_a_plain_loop(tmp_path: Path, kind: str, method: str, level: str) -> None:
    base = base_of(save_model(tmp_path, kind))
    found = compressed(base, method, level)
    assert_equal(found, plain(base, kind, method, level))
    assert all(not torch.equal(weight, base.checkpoint.tensor(name)) for name, weight in found.items())
    # 7 linear layers to a block of Llama, 4 to one of GPT-2, 6 to an encoder's, 10 to a decoder's with cross-attention.
    assert len(found) == {"gpt2": 8, "llama": 14, "qwen2": 14, "bart": 32, "mbart": 32}.get(kind, 12)


@pytest.mark.parametrize("computed", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["wanda", "gptq"])
def test_bfloat16_checkpoints(tmp_path: Path, method: str, computed: str) -> None:
    base = base_of(save_model(tmp_path, "llama", torch.bfloat16), dtype=computed)
    level = {"wanda": "0.50", "gptq": "4bit"}[method]
    found = compressed(base, method, level)
    assert_equal(found, plain(base, "llama", method, level))
    # Pruned weights are stored as the checkpoint is; a grid's values are not rounded any further.
    stored = torch.bfloat16 if method == "wanda" else torch.float32
    assert {weight.dtype for weight in found.values()} == {stored}


def test_shards_give_the_same_as_one_file(tmp_path: Path) -> None:
    whole = base_of(save_model(tmp_path / "whole", "llama"))
    shards = base_of(save_model(tmp_path / "shards", "llama", shard="6KB"))
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 2
    for method, level in (("wanda", "0.50"), ("gptq", "3bit")):
        assert_equal(compressed(shards, method, level), compressed(whole, method, level))


@pytest.mark.parametrize("kind", ["llama", "roberta", "gpt2"])
def test_names_of_a_bare_body(tmp_path: Path, kind: str) -> None:
    whole = compressed(base_of(save_model(tmp_path / "whole", kind)), "wanda", "0.50")
    prefix = ARCHITECTURES[kind][2][0].split(".")[0] + "."
    folder = rewrite(
        save_model(tmp_path / "bare", kind),
        lambda tensors: {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)},
    )
    assert_equal(compressed(base_of(folder), "wanda", "0.50"), {n.removeprefix(prefix): t for n, t in whole.items()})


@pytest.mark.parametrize("stored", ["lm_head.weight", "model.embed_tokens.weight"])
def test_tied_embeddings_stored_once(tmp_path: Path, stored: str) -> None:
    base = base_of(save_model(tmp_path / "a", "llama", tie_word_embeddings=True))
    expected = compressed(base, "wanda", "0.50")
    folder = save_model(tmp_path / "b", "llama", tie_word_embeddings=True)

    def move(tensors: Weights) -> Weights:
        found = [tensors.pop(name) for name in ("lm_head.weight", "model.embed_tokens.weight") if name in tensors]
        return tensors | {stored: found[0]}

    assert_equal(compressed(base_of(rewrite(folder, move)), "wanda", "0.50"), expected)


def statistics(base: Base, measure: Any) -> Weights:
    """What a dense sweep gathers, by the layer that it is named after."""
    found: Weights = {}

    def prepare(gathered: Any, _: Any, name: str) -> None:
        found[name] = gathered.finish().clone()

    def keep(weight: torch.Tensor, *_: Any) -> Solution:
        return Solution(weight, {}, 0)

    stream(base, [parse("0.50")], {"propagate": "dense"}, measure, prepare, keep)
    return found


def test_the_last_layer_of_a_block_is_dropped_while_the_others_gather(tmp_path: Path, monkeypatch: Any) -> None:
    events: list[str] = []

    class Noting(SquaredNorms):
        def add(self, inputs: torch.Tensor) -> None:
            events.append("add")
            super().add(inputs)

    drop = Skeleton.drop
    monkeypatch.setattr(Skeleton, "drop", lambda self, name: (events.append(name), drop(self, name)))
    statistics(base_of(save_model(tmp_path, "llama")), Noting)
    dropped = next(number for number, event in enumerate(events) if event != "add" and "layers.1." in event)
    assert events[dropped].endswith("down_proj.weight") and "add" in events[dropped:]


@pytest.mark.parametrize("measure", [Gram, SquaredNorms])
@pytest.mark.parametrize("kind", ["llama", "roberta", "mbart"])
def test_no_padding_enters_a_statistic(tmp_path: Path, kind: str, measure: Any) -> None:
    base = base_of(save_model(tmp_path, kind))
    found = statistics(base, measure)
    model = random_model(kind)
    for path in [f"{path}.{number}" for path in ARCHITECTURES[kind][2] for number in range(2)]:
        layers = {n: part for n, part in linears(model.get_submodule(path), path).items() if n in found}
        sums = {name: measure(layer.in_features, torch.device("cpu")) for name, layer in layers.items()}
        one_by_one = [[sequence] for sequence in base.calibration.sequences]
        forward_with_hooks(model, layers, one_by_one, lambda name, x, into=sums: into[name].add(x))
        assert len(layers) >= 4
        for name, total in sums.items():
            expected = total.finish().double()
            scale = float(expected.abs().max())
            assert torch.allclose(found[name].cpu().double(), expected, rtol=1e-4, atol=1e-6 * scale), name


def test_batches_hold_sequences_of_one_length() -> None:
    sequences = ragged()
    batches = Calibration(sequences).batches(30)
    assert all(len({len(sequence) for sequence in batch}) == 1 for batch in batches)
    assert all(len(batch) == 1 or len(batch) * len(batch[0]) <= 30 for batch in batches)
    assert sorted(sequence for batch in batches for sequence in batch) == sorted(sequences)


@pytest.mark.parametrize(("kind", "expected"), [("llama", 8), ("gpt2", 8), ("roberta", 8), ("bart", 2 * 4 + 2 * 7)])
def test_layers_that_read_the_same_share_a_statistic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: int
) -> None:
    made = []

    class Counted(SquaredNorms):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(wanda, "SquaredNorms", Counted)
    compress(base_of(save_model(tmp_path, kind)), "wanda", "0.50")
    assert len(made) == expected


@pytest.mark.parametrize("propagate", ["compressed", "dense"])
def test_a_pass_stops_before_the_last_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, propagate: str) -> None:
    base, calls, forward = base_of(save_model(tmp_path, "llama")), Counter(), torch.nn.Linear.forward

    def counted(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        calls[layer.in_features, layer.out_features] += 1
        return forward(layer, x)

    monkeypatch.setattr(torch.nn.Linear, "forward", counted)
    compress(base, "wanda", "0.50", propagate=propagate)
    n = len(base.calibration.batches(30))
    gate, down = calls[16, 32] / 2, calls[32, 16]
    # The first batch of a block runs through, since only then the last layer is known. The second block is the last.
    assert (gate, down) == ((n + n + n, 1 + n + 1) if propagate == "compressed" else (n + n, n + 1))


@pytest.mark.parametrize("kind", ["llama", "bart"])
def test_one_block_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    seen: list[set[str]] = []
    fill = Skeleton.fill
    paths = [f"{path}.{number}." for path in ARCHITECTURES[kind][2] for number in range(2)]

    def watched(skeleton: Skeleton, name: str) -> None:
        fill(skeleton, name)
        real = [name for name, p in skeleton.model.named_parameters() if not p.is_meta]
        seen.append({next((path for path in paths if name.startswith(path)), "rest") for name in real})

    monkeypatch.setattr(Skeleton, "fill", watched)
    compress(base_of(save_model(tmp_path, kind)), "wanda", "0.50")
    assert all(len(found) == 1 for found in seen)
    assert set().union(*seen) == {*paths, "rest"}


@pytest.mark.parametrize(("method", "levels"), [("wanda", ["0.50", "2of4", "0.90"]), ("gptq", ["2bit", "4bit"])])
def test_one_dense_sweep_serves_every_level(tmp_path: Path, method: str, levels: list[str]) -> None:
    base = base_of(save_model(tmp_path, "llama"))
    together = compress(base, method, *levels, propagate="dense")
    assert [state.manifest["level"] for state in together] == levels
    for level, state in zip(levels, together, strict=True):
        found = restored(state, base)
        assert_equal(found, compressed(base, method, level, propagate="dense"))
        other = compressed(base, method, level)
        same = {name for name in found if torch.equal(found[name], other[name])}
        assert {name for name in found if name.startswith("model.layers.0.")} <= same
        if level != "4bit":  # so mild that few weights of the second block differ
            assert len(same) < len(found)
    with pytest.raises(DataError, match="several levels in one sweep need params.propagate 'dense'"):
        compress(base, method, *levels)


def test_weights_of_one_sweep_do_not_depend_on_others(tmp_path: Path) -> None:
    base = base_of(save_model(tmp_path, "llama"))
    first, again = (compressed(base, "sparsegpt", "0.50") for _ in range(2))
    assert_equal(first, again)
    other = compressed(base_of(base.checkpoint.folder, ragged(seed=1)), "sparsegpt", "0.50")
    assert any(not torch.equal(first[name], other[name]) for name in first)


def poisoned(tensors: Weights, name: str, value: float) -> Weights:
    tensors[name].view(-1)[3] = value
    return tensors


def test_errors_of_the_checkpoint(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "gpt2", "gpt2")
    with pytest.raises(
        DataError, match=r"gpt2: transformer\.wpe\.weight: lies outside the blocks .*`prunable_exclude`"
    ):
        compress(base_of(folder, exclude=None), "wanda", "0.50")
    with pytest.raises(DataError, match=r"gpt2: no prunable weight; see `prunable_include`"):
        compress(base_of(folder, include="nothing"), "wanda", "0.50")
    with pytest.raises(DataError, match=r"gpt2: this method needs calibration data; give the model `calibration`"):
        compress(base_of(folder, sequences=[]), "wanda", "0.50")
    broken = save_model(tmp_path / "nan", "llama")
    rewrite(broken, lambda tensors: poisoned(tensors, "model.layers.1.mlp.up_proj.weight", torch.nan))
    with pytest.raises(DataError, match=r"model\.safetensors: model\.layers\.1\.mlp\.up_proj\.weight: holds NaN"):
        compress(base_of(broken), "gptq", "3bit")
    lacking = save_model(tmp_path / "lacking", "llama")
    rewrite(lacking, lambda tensors: {n: t for n, t in tensors.items() if n != "model.layers.0.input_layernorm.weight"})
    with pytest.raises(DataError, match=r"lacking: model\.layers\.0\.input_layernorm\.weight: missing; fetch"):
        compress(base_of(lacking), "wanda", "0.50")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("GPT2LMHeadModel", "GPT2Wrong"))
    with pytest.raises(DataError, match=r"config\.json: architectures: 'GPT2Wrong' is not a class of transformers"):
        compress(base_of(folder), "wanda", "0.50")


def test_blocks_with_unlike_attention_are_refused(tmp_path: Path) -> None:
    kinds = ["full_attention", "sliding_attention"]
    folder = save_model(tmp_path, "qwen2", layer_types=kinds, use_sliding_window=True, sliding_window=8)
    with pytest.raises(DataError, match="attention of kinds full_attention, sliding_attention cannot be streamed"):
        compress(base_of(folder), "wanda", "0.50")


def test_blocks_that_run_more_than_once_are_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "albert")
    with pytest.raises(
        DataError, match="albert_layer_groups holds 1 blocks for 2 layers; blocks that run more than once"
    ):
        compress(base_of(folder, exclude="predictions"), "wanda", "0.50")


@pytest.mark.parametrize(("method", "level"), [("wanda", "0.50"), ("sparsegpt", "0.50"), ("gptq", "3bit")])
def test_activations_that_are_not_finite_name_the_layer(tmp_path: Path, method: str, level: str) -> None:
    folder = save_model(tmp_path, "llama")
    # Finite weights whose product overflows.
    huge = ("model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.gate_proj.weight")
    rewrite(folder, lambda tensors: {n: t * 1e30 if n in huge else t for n, t in tensors.items()})
    with pytest.raises(DataError, match=r"model\.layers\.1\.mlp\.down_proj.*NaN or infinite"):
        compress(base_of(folder), method, level)


def test_widths_that_do_not_divide(tmp_path: Path) -> None:
    base = base_of(save_model(tmp_path, "llama", intermediate_size=36))
    for method in ("wanda", "sparsegpt"):
        with pytest.raises(
            DataError, match=r"'3of8': width 36 of model\.layers\.0\.mlp\.down_proj.* by 8; choose an M"
        ):
            compress(base, method, "3of8")
    for method, changes in (("gptq", {"group": 16}), ("rtn", {"group": 16}), ("sparsegpt", {"group": 16, "bits": 4})):
        level = "0.50" if method == "sparsegpt" else "3bit"
        with pytest.raises(DataError, match=r"layers\.0\.mlp\.down_proj.*: width 36 .* group of 16; choose a `group`"):
            compress(base, method, level, **changes)
    # A weight that is narrower than the group has one grid for the whole row.
    assert_equal(compressed(base, "gptq", "3bit", group=36), compressed(base, "gptq", "3bit", group=1000))
    (state,) = compress(base, "rtn", "3bit", group=36)
    assert state.tensors["model.layers.0.self_attn.q_proj.weight.scale"].shape == (1, 16)


def test_a_shared_weight_is_refused(tmp_path: Path) -> None:
    twin = "model.layers.1.mlp.up_proj.weight"
    folder = rewrite(save_model(tmp_path, "llama"), lambda tensors: {n: t for n, t in tensors.items() if n != twin})

    class Tied(Skeleton):
        def __init__(self, base: Base, model: Any, device: torch.device) -> None:
            layers = model.model.layers
            layers[1].mlp.up_proj.weight = layers[0].mlp.up_proj.weight
            super().__init__(base, model, device)

    base = base_of(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "Skeleton", Tied)
        with pytest.raises(
            DataError, match=r"up_proj\.weight: shared by model\.layers\.0.* and model\.layers\.1.*exclude"
        ):
            compress(base, "wanda", "0.50")


def test_a_layer_that_no_token_reaches_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    monkeypatch.setattr(LlamaMLP, "forward", lambda mlp, x: mlp.down_proj(mlp.gate_proj(x)))
    with pytest.raises(DataError, match=r"layers\.0\.mlp\.up_proj\.weight: no calibration token reaches .*layers\.0; "):
        compress(base_of(save_model(tmp_path, "llama")), "wanda", "0.50")


def test_an_architecture_whose_blocks_hand_on_more_than_hidden_states_is_named(tmp_path: Path) -> None:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 60}
    config = transformers.T5Config(**sizes, decoder_start_token_id=1, pad_token_id=1)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="T5ForConditionalGeneration cannot be streamed"):
        compress(base_of(tmp_path, exclude="relative_attention_bias"), "wanda", "0.50")
