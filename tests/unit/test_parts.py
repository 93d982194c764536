"""A step in parts of similar length learns what the step of the whole batch does, from fewer tokens."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random

import pytest
import tiny
import torch
from test_models import classifier

from junkdna import models, parts, training
from junkdna.tasks import Question

NEVER = 10**6
TASKS = {
    "classification": {},
    "regression": {},
    "multiple_choice": {"prompt": "{question}", "choices": "choices", "scoring": "head"},
}


def questions(kind: str) -> list[Question]:
    """Of many lengths."""
    draw, found = Random(0), []
    for i in range(24):
        texts = [f"w{i % 2} " * draw.randint(1, 28) for _ in range(3)]
        options = tuple(texts) if kind == "multiple_choice" else ()
        found.append(Question(str(i), () if options else (texts[0],), target=float(i % 2), options=options))
    return found


def trained(folder: Path, kind: str, **changes: object) -> tuple[list[float], dict[str, torch.Tensor], int]:
    """Losses, weights and the tokens that were run."""
    given = {"learning_rate": 1e-3, "batch_size": 12, "steps": 6, "max_length": 32}
    task = tiny.task(kind, training=given | changes, **TASKS[kind])
    model = classifier(folder / "manifest.json", task=task)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # draws depend on the shape
    seen = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel()))
    tokenizer = models.load_tokenizer(folder / "files")
    options = {"transfer": "dense", "masks": None, "seed": 0, "resume": folder / "resume"}
    done = training.fine_tune(model, tokenizer, task, questions(kind), **options)
    return [point["loss"] for point in done.curve], model.state_dict(), sum(seen)


@pytest.mark.parametrize(("kind", "encoder"), [*((kind, True) for kind in TASKS), ("classification", False)])
def test_parts_learn_what_the_whole_does(tmp_path: Path, monkeypatch, kind: str, encoder: bool) -> None:
    tiny.save_model(tmp_path, encoder)
    monkeypatch.setattr(parts, "COST", NEVER)
    losses, weights, tokens = trained(tmp_path, kind)
    monkeypatch.setattr(parts, "COST", 8)
    again, found, fewer = trained(tmp_path, kind)
    assert again == pytest.approx(losses, rel=1e-4) and len(set(losses)) == 6
    assert torch.cuda.is_available() or fewer < 0.9 * tokens  # on a GPU a step is made as a whole
    for name, weight in found.items():
        if weight.dim() == 1:
            continue  # a softmax takes some biases out: their gradient is rounding alone, which Adam makes large
        torch.testing.assert_close(weight, weights[name], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"label_smoothing": 0.1}])
def test_a_loss_that_is_no_mean_over_a_batch_is_left_whole(tmp_path: Path, monkeypatch, changes: dict) -> None:
    tiny.save_model(tmp_path, encoder=True)
    monkeypatch.setattr(parts, "COST", NEVER)
    whole = trained(tmp_path, "classification", **changes)
    monkeypatch.setattr(parts, "COST", 8)
    assert trained(tmp_path, "classification", **changes)[::2] == whole[::2]


@pytest.mark.parametrize("cost", [0, 5, 40])
def test_no_other_cut_is_cheaper(cost: int) -> None:
    draw = Random(cost)
    for _ in range(20):
        lengths = [draw.randint(1, 30) for _ in range(draw.randint(1, 8))]
        found = parts.cut(lengths, cost)
        assert sorted(itertools.chain(*found)) == list(range(len(lengths)))

        def price(some: list[list[int]]) -> int:
            return sum(len(part) * max(part) + cost for part in some)

        ordered = sorted(lengths)
        others = []
        for bits in itertools.product([False, True], repeat=len(ordered) - 1):
            ends = [0, *(i + 1 for i, bit in enumerate(bits) if bit), len(ordered)]
            others.append(price([ordered[a:b] for a, b in itertools.pairwise(ends)]))
        assert price([[lengths[i] for i in part] for part in found]) == min(others)
