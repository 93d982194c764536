"""What a GPU does otherwise than a CPU: the results are the same. The other unit tests use a GPU where there is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from transformers import RobertaForSequenceClassification

from junkdna import graphs, models, training, warm
from junkdna.hessian import Gram, SquaredNorms
from junkdna.packing import pack_codes, pack_mask
from junkdna.pruning.selection import CUDA_ROWS, smallest
from junkdna.tasks import Question

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU: the CUDA path is not tested")


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_packed_alike(bits: int) -> None:
    codes = torch.randint(0, 1 << bits, (301, 77), dtype=torch.uint8)
    assert torch.equal(pack_codes(codes.cuda(), bits), pack_codes(codes, bits))
    mask = codes.bool()
    assert torch.equal(pack_mask(mask.cuda()), pack_mask(mask))


@pytest.mark.parametrize("rows", [1, CUDA_ROWS - 1, CUDA_ROWS, 300])
def test_selected_alike(rows: int) -> None:
    scores = torch.randint(0, 50, (rows, 400)).double()  # with many ties
    for count in (0, 1, 133, 400):
        assert torch.equal(smallest(scores.cuda(), count).cpu(), smallest(scores, count))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_alike(dtype: torch.dtype) -> None:
    inputs = torch.randn(5000, 300).to(dtype)
    for kind in (Gram, SquaredNorms):
        sums = {device: kind(300, torch.device(device)) for device in ("cpu", "cuda")}
        expected = inputs.double().T @ inputs.double()
        expected = expected if kind is Gram else expected.diagonal()
        scale = float(expected.abs().max())
        for device, one in sums.items():
            one.add(inputs.to(device))
            assert torch.allclose(one.finish().cpu().double(), expected, rtol=0, atol=1e-5 * scale)
    assert torch.backends.cuda.matmul.fp32_precision in ("none", "ieee")


def train(folder: Path, transfer: str = "dense", autocast: bool = False) -> dict[str, torch.Tensor]:
    """The weights of an encoder after 24 steps with dropout, in batches of 8 texts, 16 or 32 tokens long."""
    manifest = tiny.save_model(folder, encoder=True)
    keys = {"learning_rate": 1e-3, "batch_size": 8, "steps": 24, "max_length": 32}
    keys |= {"autocast": autocast, "group_by_length": True}
    task = tiny.task("classification", training=keys)
    texts = [" ".join(f"w{i * j % 40}" for j in range(1, 4 + i % 25)) for i in range(64)]
    questions = [Question(str(i), (text,), target=i % 2) for i, text in enumerate(texts)]
    model, tokenizer = models.open_state(manifest, tiny.MODEL, task)
    assert model.config.hidden_dropout_prob > 0
    masks = {n: w > w.median() for n, w in model.named_parameters() if w.dim() == 2 and "layer" in n}
    options = {"transfer": transfer, "masks": None if transfer == "dense" else masks, "seed": 0}
    training.fine_tune(model, tokenizer, task, questions, **options, resume=folder / "checkpoints")
    return {name: weight.cpu() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("transfer", ["dense", "sparse", "dense_frozen"])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("most", [graphs.MOST_TOKENS, 8 * 16, 0])
def test_a_training_repeats_to_the_bit_recorded_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transfer: str, autocast: bool, most: int
) -> None:
    record, recorded = graphs.GraphTrainer.record, []
    monkeypatch.setattr(graphs.GraphTrainer, "record", lambda *given: recorded.append(1) or record(*given))
    first = train(tmp_path / "one", transfer, autocast)
    assert len(recorded) == 2
    monkeypatch.setattr(graphs, "MOST_TOKENS", most)
    second = train(tmp_path / "other", transfer, autocast)
    assert len(recorded) - 2 == {graphs.MOST_TOKENS: 2, 8 * 16: 1, 0: 0}[most]
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_a_model_that_asks_the_gpu_for_numbers_is_trained_unrecorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = train(tmp_path / "one")
    forward = RobertaForSequenceClassification.forward
    monkeypatch.setattr(
        RobertaForSequenceClassification,
        "forward",
        lambda self, input_ids, **others: input_ids.sum().item() and forward(self, input_ids, **others),
    )
    found = train(tmp_path / "other")
    assert "RobertaForSequenceClassification: training goes on unrecorded" in caplog.text
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())


def test_a_warm_job_uses_the_gpu(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("import torch; print(float(torch.ones(3, device='cuda').sum()))")
    (tmp_path / "run.py").write_text(
        f"import os, subprocess, sys; sys.path.insert(0, {str(Path(warm.__file__).parents[1])!r})\n"
        "from junkdna import warm\n"
        "server = warm.Server(); server.start()\n"
        "env = {**os.environ, 'OMP_NUM_THREADS': '1'}\n"
        "for _ in range(2): subprocess.run([os.environ[warm.VARIABLE], 'job.py'], env=env, check=True)\n"
        "server.stop()\n"
    )
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert done.stdout == "3.0\n3.0\n", done.stderr
