from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from junkdna import scoring, sharing

WORDS = 53
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": WORDS}
FURTHER = {
    "gpt2": {"bos_token_id": 0, "eos_token_id": 2},
    "gpt_neox": {"intermediate_size": 64},
    "llama": {"intermediate_size": 64, "num_key_value_heads": 1},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {},
}


def model_of(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES, **FURTHER[family])
    config.initializer_range = 0.2  # else every word is as likely as any other
    return AutoModelForCausalLM.from_config(config).eval()


def items() -> list[tuple[tuple[int, ...], int]]:
    """Two subjects, twelve questions after the same demonstrations in each, three options of one to twelve tokens."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(2):
        demonstrations = (0, *draw.integers(3, WORDS, 40).tolist())
        for _ in range(12):
            prompt = (*demonstrations, *draw.integers(3, WORDS, draw.integers(4, 12)).tolist())
            for size in (1, 9, 12):
                found.append(((*prompt, *draw.integers(3, WORDS, size).tolist()), len(prompt)))
    found += [((0, *draw.integers(3, WORDS, 30).tolist()), begin) for begin in (1, 20)]
    return [found[i] for i in draw.permutation(len(found))]


@cache
@torch.no_grad()
def expected(family: str) -> list[float]:
    """The scores of the items, each run by itself."""
    model, found = model_of(family), []
    for ids, begin in items():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        found.append(sum(float(logs[i - 1, ids[i]]) for i in range(begin, len(ids))))
    return found


@pytest.mark.parametrize("family", sharing.FAMILIES)
@pytest.mark.parametrize("size", [1, 8, 64])
@pytest.mark.parametrize(("pairs", "worth"), [(1, 5), (4, 100), (10**9, 10**9)])
def test_scores_are_those_of_one_sequence_at_a_time(family, size, pairs, worth, monkeypatch) -> None:
    """Prompts are cached too, the demonstrations alone are, or all is packed in one row."""
    monkeypatch.setattr(sharing, "PAIRS", pairs)
    monkeypatch.setattr(scoring, "BATCH_SEQUENCES", size)
    monkeypatch.setattr(sharing, "WORTH", worth)
    assert np.std(expected(family)) > 0.1
    assert scoring.sequence_scores(model_of(family), items()) == pytest.approx(expected(family), abs=1e-4)


@pytest.mark.parametrize("family", FURTHER)
@pytest.mark.parametrize(("size", "read"), [(1, 2048), (8, 2048), (64, 2048), (64, 40)])
def test_prompts_of_many_lengths_are_continued_as_one_at_a_time(family, size, read, monkeypatch) -> None:
    """Answers end by a line break or by the end of the text, at different steps; prompts are read in parts too."""
    monkeypatch.setattr(scoring, "BATCH_SEQUENCES", size)
    monkeypatch.setattr(scoring, "CPU_TOKENS", read)
    model, words = model_of(family), tiny.tokenizer(encoder=False)
    model.get_output_embeddings().weight.data[[words.eos_token_id, 7]] *= 2
    draw = np.random.default_rng(0)
    prompts = [" ".join(f"w{i}" for i in draw.integers(5, 40, draw.integers(6, 20))) for _ in range(12)]
    decode = type(words).decode
    monkeypatch.setattr(type(words), "decode", lambda *args, **keys: decode(*args, **keys).replace("w2", "\n"))
    wanted, lengths = [], set()
    for prompt in prompts:
        ids = words(prompt, return_tensors="pt", return_token_type_ids=False)
        out = model.generate(**ids, max_new_tokens=12, do_sample=False, pad_token_id=1)[0, ids["input_ids"].shape[1] :]
        wanted.append(words.decode(out, skip_special_tokens=True).split("\n")[0].strip())
        lengths.add(len(wanted[-1].split()))
    assert len(lengths) > 2
    assert scoring.generate(model, words, prompts, 12) == wanted


def test_prompts_are_read_in_parts_without_a_mask_and_written_together(monkeypatch) -> None:
    """Of each prompt the last token alone gets logits; what is written together may be more than is read at a time."""
    monkeypatch.setattr(scoring, "BATCH_TOKENS", 40)
    monkeypatch.setattr(scoring, "CPU_TOKENS", 40)
    model, words, calls, asked = model_of("llama"), tiny.tokenizer(encoder=False), [], []

    def heard(_, given: tuple[torch.Tensor, ...], keys: dict[str, torch.Tensor]) -> None:
        ids = given[0] if given else keys["input_ids"]
        calls.append((tuple(ids.shape), keys.get("attention_mask") is None))

    model.base_model.register_forward_pre_hook(heard, with_kwargs=True)
    model.get_output_embeddings().register_forward_pre_hook(lambda _, given: asked.append(given[0].shape[:-1].numel()))
    scoring.generate(model, words, [" ".join(["w5"] * n) for n in (9, 10, 12, 14, 15, 17, 18)], 6)
    assert calls[:3] == [((2, 19), True), ((2, 16), True), ((3, 13), True)] and asked[:3] == [2, 2, 3]
    assert calls[3] == ((7, 1), False) and len(calls) < 9


@pytest.mark.parametrize(("family", "least", "most"), [("llama", 0.1, 0.4), ("bloom", 0.9, 1.2)])
def test_what_is_shared_is_computed_once(family, least, most) -> None:
    """Bloom has no positions to be given, so it runs every sequence."""
    model, asked, seen = model_of(family), items(), []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel()))
    assert scoring.sequence_scores(model, asked) == pytest.approx(expected(family), abs=1e-4)
    assert least < sum(seen) / sum(len(ids) - 1 for ids, _ in asked) < most


def test_the_plan_of_demonstrations_questions_and_options(monkeypatch) -> None:
    monkeypatch.setattr(sharing, "PAIRS", 4)
    monkeypatch.setattr(sharing, "WORTH", 100)
    pairs = sorted({ids[:-1]: begin - 1 for ids, begin in items()}.items())
    inputs, needed = [ids for ids, _ in pairs], [place for _, place in pairs]
    tree = sharing.plan(inputs, needed)
    assert [(child.start, child.end) for child in tree.nodes] == [(0, 41), (0, 41)]
    # A question's options lie in one row, each after the prompt.
    for child in tree.nodes:
        assert not child.nodes and 6 <= len(child.rows) <= 12 and {len(row.slots) for row in child.rows} <= {3, 6}
    both = [i for node in (tree, *tree.nodes) for row in node.rows for i in row.slots]
    assert sorted(both) == list(range(len(inputs)))
    monkeypatch.setattr(sharing, "PAIRS", 1)
    monkeypatch.setattr(sharing, "WORTH", 5)
    assert any(child.nodes for child in sharing.plan(inputs, needed).nodes)
    row = sharing._row([0, 1], [(5, 6, 7), (5, 6, 8, 9)], np.array([0, 2]), 1)
    assert (row.tokens, row.positions, row.slots) == ([6, 7, 8, 9], [1, 2, 2, 3], {0: [0, 1], 1: [0, 2, 3]})
    assert row.visible.astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]


def test_questions_that_share_little_are_not_packed_together(monkeypatch) -> None:
    """The more questions there are, the more begin alike: the cost of each must not grow."""
    monkeypatch.setattr(sharing, "WORTH", 10**9)
    draw, sequences, apart = np.random.default_rng(0), [], 0.0
    for _ in range(300):
        prompt = (0, *draw.integers(3, 13, 20).tolist())
        sequences += [(*prompt, 20 + option, *draw.integers(3, 13, 3).tolist()) for option in range(3)]
        apart += sharing._cost(len(prompt) + 3 * 4, 0)
    tree = sharing.plan(sorted(sequences), [len(prompt) - 1] * len(sequences))
    assert sum(len(row.slots) for row in tree.rows) == len(sequences)
    assert sum(sharing._cost(len(row.tokens), 0) for row in tree.rows) <= apart


def test_a_tree_of_many_levels_and_no_item() -> None:
    assert scoring.sequence_scores(model_of("llama"), []) == []
    ladder = [tuple([3] * size + [4] * 300) for size in range(1, 40)]
    tree = sharing.plan(sorted(ladder), [0] * len(ladder))
    assert sum(len(row.slots) for row in tree.rows) == len(ladder) and not tree.nodes
