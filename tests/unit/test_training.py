from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import tiny
import torch
from test_models import classifier, compressed, masks_of

from junkdna import models, training, transfers
from junkdna.catalog import Task
from junkdna.files import DataError
from junkdna.tasks import Question

PAD_RIGHT = training.pad_right
TASK = tiny.task("classification")
QUESTIONS = [Question(str(i), (f"w{i % 40} w{i * 7 % 40} w{i % 3}",), target=float(i % 2)) for i in range(24)]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tiny.save_model(tmp_path, encoder=True)


def tuned(manifest: Path, transfer: str, task: Task = TASK, seed: int = 0, **options):
    """A fine-tuned model, its masks, and its weights before."""
    model = classifier(manifest, seed, task=task)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    masks = None
    if transfer != "dense":
        masks = masks_of(manifest, compressed(manifest))
    tokenizer = models.load_tokenizer(models.model_folder(manifest))
    options = {"resume": manifest.parent / "resume", **options}
    done = training.fine_tune(model, tokenizer, task, QUESTIONS, transfer=transfer, masks=masks, seed=seed, **options)
    return model, masks, before, done


def decayed(**changes) -> Task:
    return TASK.model_copy(update={"training": TASK.training.model_copy(update={"weight_decay": 0.1, **changes})})


def test_dense_trains_everything_and_is_deterministic(manifest: Path) -> None:
    model, _, before, done = tuned(manifest, "dense")
    assert all(not torch.equal(w, before[n]) for n, w in model.named_parameters() if n.endswith("dense.weight"))
    again = tuned(manifest, "dense")[0].state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())
    other = tuned(manifest, "dense", seed=1)[0].state_dict()
    assert any(not torch.equal(weight, other[name]) for name, weight in model.state_dict().items())
    assert (done.steps, done.examples) == (12, 24)
    assert [point["step"] for point in done.curve] == list(range(1, 13))
    assert not list((manifest.parent / "resume").glob("*")), "a short run saves nothing"


def test_sparse_keeps_exactly_the_mask(manifest: Path) -> None:
    model, masks, before, _ = tuned(manifest, "sparse", decayed())
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        assert not weight[~mask].any()
        assert not torch.equal(weight[mask], before[name][mask])


def test_sparse_to_dense_lets_zeros_move(manifest: Path) -> None:
    model, masks, before, _ = tuned(manifest, "sparse_to_dense")
    name, mask = next(iter(masks.items()))
    weight = model.get_parameter(name)
    assert weight[~mask].any()
    # It started from zero: a dozen steps of 0.01 do not bring back the pre-trained values.
    assert (weight[~mask] - before[name][~mask]).abs().mean() > weight[~mask].abs().mean()


def test_dense_frozen_keeps_pretrained_values_bit_for_bit(manifest: Path) -> None:
    model, masks, before, _ = tuned(manifest, "dense_frozen", decayed())
    for name, mask in masks.items():
        weight = model.get_parameter(name).detach()
        assert torch.equal(weight[~mask].view(torch.int32), before[name][~mask].view(torch.int32))
        assert not torch.equal(weight[mask], before[name][mask])


@pytest.mark.parametrize(
    ("transfer", "keeper", "method", "message"),
    [
        ("sparse", "KeepZero", "on_optimizer_step", "a pruned weight is not zero"),
        ("dense_frozen", "KeepFrozen", "on_optimizer_step", "differs from the pre-trained one"),
    ],
)
def test_a_broken_callback_is_caught(manifest, monkeypatch, transfer, keeper, method, message) -> None:
    monkeypatch.setattr(getattr(transfers, keeper), method, lambda *_, **__: None)
    with pytest.raises(AssertionError, match=message):
        tuned(manifest, transfer)


@pytest.mark.parametrize("transfer", ["sparse", "dense_frozen"])
def test_weights_side_by_side_as_on_a_gpu_end_the_same(manifest, monkeypatch, transfer) -> None:
    apart = tuned(manifest, transfer)[0].state_dict()
    monkeypatch.setattr(transfers, "is_on_gpu", lambda weight: True)
    model, masks, _, _ = tuned(manifest, transfer, save_every=5)  # with checkpoints
    assert all(torch.equal(weight, apart[name]) for name, weight in model.state_dict().items())
    assert len({model.get_parameter(name).untyped_storage().data_ptr() for name in masks}) == 1


def test_missing_the_last_step_is_caught(manifest, monkeypatch) -> None:
    class SkipsLast(transfers.KeepZero):
        def on_optimizer_step(self, args, state, control, **_):
            if state.global_step + 1 < state.max_steps:
                super().on_optimizer_step()

    monkeypatch.setattr(transfers, "KeepZero", SkipsLast)
    with pytest.raises(AssertionError, match="a pruned weight is not zero"):
        tuned(manifest, "sparse")


def test_zeros_that_stay_are_caught(manifest, monkeypatch) -> None:
    class Sparse(transfers.ZeroOnce):
        def __init__(self, pairs):
            super().__init__(pairs)
            self.other = transfers.KeepZero(pairs)

        def on_optimizer_step(self, *_, **__):
            self.other.on_optimizer_step()

    monkeypatch.setattr(transfers, "ZeroOnce", Sparse)
    with pytest.raises(AssertionError, match="no pruned weight moved"):
        tuned(manifest, "sparse_to_dense")


class Stopped(Exception):  # noqa: N818 - an event, not an error
    pass


@pytest.mark.parametrize("transfer", ["sparse", "dense_frozen"])
def test_an_interrupted_training_ends_with_the_same_weights(manifest, monkeypatch, transfer) -> None:
    whole, _, _, expected = tuned(manifest, transfer, resume=manifest.parent / "whole", save_every=5)

    def interrupt(self, args, state, control, **_):
        if state.global_step == 8:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(training.StopAtNaN, "on_step_end", interrupt)
        with pytest.raises(Stopped):
            tuned(manifest, transfer, save_every=5)
    assert (manifest.parent / "resume/checkpoint-5/model.safetensors").exists()
    steps = []
    monkeypatch.setattr(
        training.StopAtNaN, "on_step_end", lambda self, args, state, *_, **__: steps.append(state.global_step)
    )
    resumed, _, _, done = tuned(manifest, transfer, save_every=5)
    assert steps[0] == 6, "it starts where the checkpoint ends"
    assert done == expected
    assert all(torch.equal(weight, resumed.state_dict()[name]) for name, weight in whole.state_dict().items())


def test_sigterm_saves_and_the_next_run_ends_the_same(manifest, monkeypatch) -> None:
    monkeypatch.setattr(training, "LOGGED", 3)  # a point of the curve for every four steps
    whole, _, _, expected = tuned(manifest, "sparse", resume=manifest.parent / "whole")
    assert [point["step"] for point in expected.curve] == [4, 8, 12]

    def terminate(self, args, state, control, **_):
        if state.global_step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(training.StopAtNaN, "on_step_end", terminate)
        with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
            tuned(manifest, "sparse")
    assert signal.getsignal(signal.SIGTERM) is before
    assert [file.name for file in (manifest.parent / "resume").iterdir()] == ["checkpoint-6"]
    steps = []
    monkeypatch.setattr(
        training.StopAtNaN, "on_step_end", lambda self, args, state, *_, **__: steps.append(state.global_step)
    )
    resumed, _, _, done = tuned(manifest, "sparse")
    assert steps == [7, 8, 9, 10, 11, 12]
    assert done == expected, "the mean loss of steps 5 to 8 is over both runs"
    assert all(torch.equal(weight, resumed.state_dict()[name]) for name, weight in whole.state_dict().items())
    # A save that was itself cut short does not count.
    state = manifest.parent / "resume/checkpoint-6/trainer_state.json"
    state.write_text(state.read_text()[:100])
    steps.clear()
    assert tuned(manifest, "sparse")[3] == expected and steps[0] == 1


def test_sigterm_in_the_last_step_is_too_late(manifest, monkeypatch) -> None:
    def terminate(self, args, state, control, **_):
        if state.global_step == state.max_steps:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training.StopAtNaN, "on_step_end", terminate)
    assert tuned(manifest, "dense")[3].steps == 12


def test_regression_learns_values(manifest: Path) -> None:
    task = tiny.task("regression", training={"learning_rate": 1e-2, "batch_size": 8, "epochs": 2.0, "max_length": 16})
    model, _, _, done = tuned(manifest, "dense", task)
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")
    assert done.steps == 6 and done.curve[-1]["loss"] < done.curve[0]["loss"]


def test_autocast_multiplies_in_bfloat16_and_keeps_float32_weights(manifest: Path, monkeypatch) -> None:
    plain = tuned(manifest, "sparse")[0].state_dict()
    seen = []
    linear = torch.nn.functional.linear

    def spy(*args):
        seen.append(linear(*args).dtype)
        return linear(*args)

    monkeypatch.setattr(torch.nn.functional, "linear", spy)
    model, masks, _, _ = tuned(manifest, "sparse", decayed(autocast=True, weight_decay=0.0))
    assert set(seen) == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert not any(model.get_parameter(name)[~mask].any() for name, mask in masks.items())
    differences = [float((w - plain[n]).abs().max()) for n, w in model.state_dict().items()]
    assert 0 < max(differences) < 0.1


def test_of_several_gpus_one_is_used_as_else_batches_would_be_larger(tmp_path: Path, monkeypatch) -> None:
    class Two(training.TrainingArguments):
        def __post_init__(self) -> None:
            super().__post_init__()
            self._n_gpu = 2

    monkeypatch.setattr(training, "TrainingArguments", Two)
    asked = training.arguments(TASK, 10, 0, tmp_path, 500)
    assert (asked.n_gpu, asked.train_batch_size) == (1, TASK.training.batch_size)


def test_group_by_length_pads_less(manifest: Path, monkeypatch) -> None:
    lengths = [(f"{'w1 ' * (1 + 20 * (i % 2))}",) for i in range(192)]
    monkeypatch.setattr(
        f"{__name__}.QUESTIONS", [Question(str(i), text, target=float(i % 2)) for i, text in enumerate(lengths)]
    )
    padded = []
    monkeypatch.setattr(training, "pad_right", lambda s, pad, n: padded.append(len(s) * n) or PAD_RIGHT(s, pad, n))
    tuned(manifest, "dense")
    by_chance, padded[:] = sum(padded), []
    tuned(manifest, "dense", decayed(group_by_length=True, weight_decay=0.0))
    assert sum(padded) < 0.8 * by_chance


@pytest.mark.parametrize("transfer", ["dense", "sparse", "dense_frozen"])
def test_a_loss_that_is_not_finite_ends_the_training(manifest: Path, transfer: str) -> None:
    with pytest.raises(training.Diverged, match=r"the loss is (nan|inf) at step \d+: diverged") as found:
        tuned(manifest, transfer, decayed(learning_rate=1e30, weight_decay=0.0, steps=30))
    assert 0 < found.value.step < 30


def test_weights_that_are_not_finite_after_the_last_logged_step_are_seen(manifest: Path, monkeypatch) -> None:
    monkeypatch.setattr(training.StopAtNaN, "on_log", lambda *_, **__: None)
    with pytest.raises(training.Diverged, match="a weight is not finite at step 30"):
        tuned(manifest, "sparse", decayed(learning_rate=1e30, weight_decay=0.0, steps=30))


@pytest.mark.parametrize("second", [(), ("w1 w2 w3",)])
def test_long_texts_are_cut_as_the_tokenizer_does_and_the_others_are_read_once(manifest, caplog, second) -> None:
    tokenizer, read = models.load_tokenizer(models.model_folder(manifest)), []
    asked = [Question(str(n), (" ".join(f"w{i}" for i in range(n)), *second), target=0.0) for n in (1, 12, 2, 20)]
    pairs = [list(column) for column in zip(*(question.texts for question in asked), strict=True)]

    def counted(*columns, **options):
        read.append(len(columns[0]))
        return tokenizer(*columns, **options)

    found = training.encode(asked, counted, 9)
    assert found == tokenizer(*pairs, truncation=True, max_length=9)["input_ids"]
    assert read == [4, 2] and "2 of 4 inputs are longer than 9 tokens and were cut" in caplog.text


def test_errors(manifest: Path, caplog) -> None:
    with pytest.raises(DataError, match="needs a compressed state"):
        model = classifier(manifest)
        tokenizer = models.load_tokenizer(models.model_folder(manifest))
        training.fine_tune(
            model, tokenizer, TASK, QUESTIONS, transfer="sparse", masks=None, seed=0, resume=manifest.parent / "r"
        )
    with pytest.raises(DataError, match="transfer: 'frozen'; allowed: dense, sparse"):
        transfers.start("frozen", [])
    tuned(manifest, "dense", decayed(max_length=4))
    assert "24 of 24 inputs are longer than 4 tokens and were cut" in caplog.text
