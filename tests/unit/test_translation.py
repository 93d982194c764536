from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sacrebleu
import tiny
import torch
from test_models import compressed, masks_of
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers import models as pieces
from transformers import MBartForConditionalGeneration, MBartTokenizer, PreTrainedTokenizerFast
from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

from junkdna import exporting, models, scoring, state, statistics, tasks, training, translation
from junkdna.catalog import Variant
from junkdna.checkpoint import Calibration
from junkdna.config import read_catalog
from junkdna.files import DataError
from junkdna.metrics import METRICS, translation_counts
from junkdna.tasks import Question
from support import MIRROR, PROJECT, needs_mirror

CODES = ["en_XX", "ru_RU", "vi_VN", "my_MM", "gu_IN", "kk_KZ"]
TASK = tiny.task("translation")
LONG = "w1 " * 70


def framed(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """An mBART tokenizer as far as this project uses it."""
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=CODES, **named)


def words() -> PreTrainedTokenizerFast:
    backend = Tokenizer(pieces.WordLevel({w: i for i, w in enumerate([*tiny.SPECIAL, *CODES, *tiny.WORDS])}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return framed(backend)


def texts(count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(f"w{i}" for i in draw.integers(0, 40, draw.integers(1, 12))) for _ in range(count)]


QUESTIONS = [
    Question(str(i), (text,), answers=(answer,))
    for i, (text, answer) in enumerate(zip(texts(24, 0), texts(24, 1), strict=True))
]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_translator(tmp_path_factory.mktemp("translator"), words())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"translation": {"en": q.texts[0], "ru": q.answers[0]}} for q in QUESTIONS]
    root = tmp_path_factory.mktemp("pairs")
    for split in ("train", "validation"):
        tiny.save_rows(root, "default", split, rows)
    return root


def opened(manifest: Path, task=TASK, **options):
    return models.open_state(manifest, tiny.MODEL, task, **options)


def trained(**changes):
    return TASK.model_copy(update={"training": TASK.training.model_copy(update=changes)})


def tuned(manifest: Path, task, tmp_path: Path, transfer: str = "dense", masks=None):
    model, tokenizer = opened(manifest, task)
    named = {"transfer": transfer, "masks": masks, "seed": 0, "resume": tmp_path / "resume"}
    return model, training.fine_tune(model, tokenizer, task, QUESTIONS, **named)


@pytest.mark.parametrize("tokenizer", ["13a", "intl", "char", "none"])
def test_scores_are_sacrebleus_on_any_resample(tokenizer: str) -> None:
    references = ["It is a dog, isn't it?", "«Кошки» — 12,5 % из них.", "x", "a b c d e f", "the the the", "two words"]
    predictions = ["It's a dog, is it?", "Кошки 12,5 % из них!", "", "a b c d e f", "the cat the", "other things"]
    frame = pd.DataFrame(translation_counts(predictions, references, tokenizer))
    indices = np.random.default_rng(0).integers(0, 6, (20, 6))
    scorers = {"bleu": sacrebleu.BLEU(tokenize=tokenizer), "chrf": sacrebleu.CHRF()}
    for name, scorer in scorers.items():
        metric = METRICS[name]
        assert metric.compute(frame) == scorer.corpus_score(predictions, [references]).score / 100
        expected = [
            scorer.corpus_score([predictions[i] for i in row], [[references[i] for i in row]]).score / 100
            for row in indices
        ]
        assert metric.resampled(frame, indices).tolist() == expected
    scores = statistics.Scores("t", METRICS["bleu"], {None: frame.assign(id=list("abcdef"))})
    found = statistics.estimate_value(scores)
    assert 0 <= found.low < found.value < found.high <= 1


def test_texts_are_framed_as_mbart_frames_them(caplog) -> None:
    tokenizer = words()
    ids = tokenizer.get_vocab()
    expected = [ids["w1"], ids["w2"], 2, ids["ru_RU"]]
    assert translation.frame(tokenizer, ["w1 w2"], "ru_RU", 9) == [expected]
    assert translation.frame(tokenizer, ["w1 w2 w3 w4"], "ru_RU", 4) == [expected]
    assert "1 of 1 texts are longer than 4 tokens and were cut" in caplog.text
    with pytest.raises(DataError, match=r"languages: 'xx_XX': .* no such code; there are en_XX, ru_RU, vi_VN"):
        translation.frame(tokenizer, ["w1"], "xx_XX", 9)
    own = tiny.tokenizer(encoder=True)
    assert translation.frame(own, ["w1 w2 w3"], None, 4) == [
        [0, *own(["w1 w2"], add_special_tokens=False).input_ids[0], 2]
    ]


def test_the_frame_is_that_of_mbarts_own_tokenizer() -> None:
    letters = [(letter, -3.0) for letter in ("▁", *"dhelorw")]
    vocab = [(word, 0.0) for word in ("<s>", "<pad>", "</s>", "<unk>")] + letters
    vocab += [(code, 0.0) for code in FAIRSEQ_LANGUAGE_CODES] + [("<mask>", 0.0)]
    tokenizer = MBartTokenizer(vocab=vocab, src_lang="en_XX", tgt_lang="my_MM")
    expected = tokenizer("hello world", text_target="world")
    task = TASK.model_copy(update={"languages": ["en_XX", "my_MM"]})
    (pair,) = translation.encode_pairs(tokenizer, task, ["hello world"], ["world"], 32)
    assert pair == {"input_ids": expected["input_ids"], "labels": expected["labels"]}
    assert pair["labels"][-2:] == [2, tokenizer.convert_tokens_to_ids("my_MM")]


def test_the_decoder_starts_with_the_target_language(manifest: Path) -> None:
    model, tokenizer = opened(manifest)
    pairs = translation.encode_pairs(tokenizer, TASK, ["w1", "w1 w2"], ["w3 w4", "w5"], 16)
    batch = training.PairCollator(1, model)(pairs)
    ids = tokenizer.get_vocab()
    assert batch["decoder_input_ids"].tolist() == [
        [ids["ru_RU"], ids["w3"], ids["w4"], 2],
        [ids["ru_RU"], ids["w5"], 2, ids["ru_RU"]],
    ]
    assert batch["labels"].tolist() == [[ids["w3"], ids["w4"], 2, ids["ru_RU"]], [ids["w5"], 2, ids["ru_RU"], -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def plain_greedy(model, tokenizer, text: str, most: int) -> str:
    """Word by word, without cache, batch or padding."""
    source = torch.tensor(translation.frame(tokenizer, [text], "en_XX", 16), device=model.device)
    written = [tokenizer.get_vocab()["ru_RU"]]
    while len(written) <= most and written[-1] != 2:
        with torch.no_grad():
            logits = model(input_ids=source, decoder_input_ids=source.new_tensor([written])).logits
        written.append(int(logits[0, -1].argmax()))
    return tokenizer.decode(written, skip_special_tokens=True).strip()


@pytest.mark.parametrize("beams", [1, 3])
def test_batches_do_not_change_translations(folder, manifest, monkeypatch, beams) -> None:
    task = TASK.model_copy(update={"num_beams": beams})
    model, tokenizer = opened(manifest, task)
    # What a folder asks for by itself is not heard.
    model.generation_config.repetition_penalty, model.generation_config.num_beams = 9.0, 7
    frames = []
    for size in (1, 5, 64):
        monkeypatch.setattr(scoring, "BATCH_SEQUENCES", size)
        measured, frame = scoring.evaluate(model, tokenizer, task, folder)
        frames.append(frame["prediction"].tolist())
    assert frames[0] == frames[1] == frames[2] and len(set(frames[0])) > 12
    plain = [plain_greedy(model, tokenizer, q.texts[0], 12) for q in QUESTIONS]
    assert (frames[0] == plain) is (beams == 1)
    found = measured["all"]["metrics"]
    expected = sacrebleu.BLEU().corpus_score(frames[0], [[q.answers[0] for q in QUESTIONS]]).score / 100
    assert found["bleu"] == expected and 0 < found["chrf"] < 1 and measured["all"]["chance"] == 0


def test_sparse_and_zero_shot_translators(manifest: Path, tmp_path: Path) -> None:
    path = compressed(manifest)
    masks = masks_of(manifest, path)
    assert len(masks) == 2 * 6 + 2 * 10 and all(".layers." in name for name in masks)
    task = trained(epochs=None, steps=12)
    sparse, done = tuned(manifest, task, tmp_path, "sparse", masks)
    assert done.curve[-1]["loss"] < done.curve[0]["loss"]
    assert not any(sparse.get_parameter(name)[~mask].any() for name, mask in masks.items())
    dense, _ = tuned(manifest, task, tmp_path)
    models.save_weights(dense, tmp_path / "w.safetensors")
    saved = models.load_file(tmp_path / "w.safetensors")
    assert not {"lm_head.weight", "model.encoder.embed_tokens.weight"} & set(saved) and "model.shared.weight" in saved
    again, tokenizer = opened(manifest, task, weights=tmp_path / "w.safetensors")
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in dense.state_dict().items())
    assert again.lm_head.weight is again.model.shared.weight
    named = {"method": "random", "module": "pruning.random", "params": {"seed": 0}}
    (made,) = state.create(*state.base_of(manifest, tiny.MODEL, tmp_path / "w.safetensors"), levels=["0.50"], **named)
    state.save(made, tmp_path / "s.safetensors")
    pruned, _ = opened(manifest, task, weights=tmp_path / "w.safetensors", state=tmp_path / "s.safetensors")
    # The calibrated methods read such a file too, whose tied weights are there once.
    source, base = state.base_of(manifest, tiny.MODEL, tmp_path / "w.safetensors")
    base = replace(base, calibration=Calibration([[9, 12, 30, 2, 6], [15, 2, 6]] * 8))
    params = {"propagate": "compressed"}
    (made,) = state.create(source, base, method="wanda", module="pruning.wanda", levels=["0.50"], params=params)
    assert made.manifest["sparsity"] == pytest.approx(0.5, abs=0.01)
    name = next(iter(masks))
    assert float((pruned.get_parameter(name) == 0).float().mean()) == pytest.approx(0.5, abs=0.1)
    exporting.export(manifest, tiny.MODEL, tmp_path / "out", weights=tmp_path / "w.safetensors", task=task)
    found = MBartForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    inputs = training.PairCollator(1, dense)(translation.encode_pairs(tokenizer, task, ["w1 w2"], ["w3"], 16))
    assert torch.equal(found(**inputs).logits, dense.cpu()(**inputs).logits)
    assert "Head: translation.\n" in (tmp_path / "out/README.md").read_text()


def test_training_keys_reach_the_trainer(manifest: Path, tmp_path: Path, monkeypatch) -> None:
    keys = {"batch_size": None, "batch_tokens": 48, "accumulate": 2, "schedule": "inverse_sqrt", "warmup_steps": 4}
    task = trained(**keys, label_smoothing=0.2, dropout=0.3, steps=None, epochs=2.0, learning_rate=1e-3)
    seen: dict[str, list] = {"rates": [], "tokens": [], "dropout": []}

    def watch(self, args, trainer_state, control, model, optimizer, **_):
        seen["rates"].append(optimizer.param_groups[0]["lr"])
        seen["dropout"].append(model.model.encoder.layers[0].dropout)

    collate = training.PairCollator.__call__

    def count(self, batch):
        made = collate(self, batch)
        seen["tokens"].append(max(made["input_ids"].numel(), made["labels"].numel()))
        return made

    monkeypatch.setattr(training.StopAtNaN, "on_pre_optimizer_step", watch, raising=False)
    monkeypatch.setattr(training.PairCollator, "__call__", count)
    _, done = tuned(manifest, task, tmp_path)
    batches = len(training.token_batches(training.prepare(*opened(manifest, task), task, QUESTIONS)[0], 48))
    assert done.steps == -(-batches // 2) * 2 and len(seen["tokens"]) == 2 * batches
    assert max(seen["tokens"]) <= 48 and set(seen["dropout"]) == {0.3}
    assert seen["rates"][:4] == pytest.approx([0, 2.5e-4, 5e-4, 7.5e-4])
    assert seen["rates"][5] == pytest.approx(1e-3 * (5 / 4) ** -0.5)
    whole = training.token_batches([{"input_ids": [1] * 60, "labels": [1]}, {"input_ids": [1], "labels": [1]}], 48)
    assert [len(batch) for batch in whole] == [1, 1]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_of_all_batches_of_a_step(manifest: Path, tmp_path: Path, smoothing: float) -> None:
    """One step of two batches of 12 has the loss of 24 examples, whose target lengths differ."""
    task = trained(batch_size=12, accumulate=2, steps=1, label_smoothing=smoothing, dropout=0.0)
    model, tokenizer = opened(manifest, task)
    data, collate = training.prepare(model, tokenizer, task, QUESTIONS)
    inputs = {key: tensor.to(model.device) for key, tensor in collate(data).items()}
    labels = inputs.pop("labels").flatten()
    with torch.no_grad():
        logits = model.train()(**inputs).logits.flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    _, done = tuned(manifest, task, tmp_path)
    assert done.curve == [{"step": 1, "loss": pytest.approx(float(expected), rel=1e-4)}]


def test_errors(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one `text` column and two `languages` or none"):
        tiny.task("translation", languages=["en_XX"])
    with pytest.raises(ValueError, match="either `batch_size` or `batch_tokens`"):
        tiny.task("translation", training={"learning_rate": 1, "steps": 1, "max_length": 9})
    with pytest.raises(ValueError, match="label_smoothing: kind regression"):
        tiny.task("regression", training=TASK.training.model_dump() | {"label_smoothing": 0.1})
    tiny.save_rows(tmp_path, "default", "train", [{"translation": {"en": "w1", "ru": None}}])
    with pytest.raises(DataError, match="row default-000000: translation.en, translation.ru: a text is missing"):
        tasks.training_questions(tmp_path, TASK, 1.0)
    classify = tiny.task("classification")
    with pytest.raises(DataError, match="transformers has no model of it for tasks of kind translation"):
        opened(tiny.save_model(tmp_path / "roberta", encoder=True), TASK)
    assert classify.for_stage("train") == classify.model_copy(update={"num_beams": 5}).for_stage("train")


# --- the tasks of the catalog


CATALOG = read_catalog([PROJECT / "config/catalog"])
HUB = {  # columns of the hub's files, as their cards tell them
    "wmt16-ru-en": ["en", "ru"],
    "wmt19-gu-en": ["gu", "en"],
    "iwslt15-en-vi": ["en", "vi"],
    "alt": ["bg", "en", "en_tok", "fil", "hi", "id", "ja", "khm", "lo", "ms", "my", "th", "vi", "zh"],
}
OTHER = {"alt": {"SNT.URLID": "80188", "SNT.URLID.SNTID": "1", "url": "http://example.org"}, "iwslt15-en-vi": {"id": 7}}


def check(task, manifest: Path, folder: Path, tmp_path: Path) -> None:
    """20 steps on the training split, then 32 examples of the other, with finite scores."""
    changes = {
        "steps": 20,
        "epochs": None,
        "learning_rate": 1e-3,
        "batch_tokens": None,
        "batch_size": 4,
        "max_length": 24,
    }
    task = task.model_copy(
        update={"evaluate_limit": 32, "max_new_tokens": 8, "training": task.training.model_copy(update=changes)}
    )
    tasks.check_columns(folder, task, "train")
    tasks.check_columns(folder, task, "evaluate")
    model, tokenizer = opened(manifest, task)
    named = {"transfer": "dense", "masks": None, "seed": 0, "resume": tmp_path / "resume"}
    asked = tasks.training_questions(folder, task, 1.0)
    done = training.fine_tune(model, tokenizer, task, asked, **named)
    measured, frame = scoring.evaluate(model, tokenizer, task, folder)
    assert done.steps == 20 and len(frame) == min(32, len(tasks.questions(folder, task, Variant())))
    assert all(np.isfinite(value) for value in measured["all"]["metrics"].values())
    assert set(measured["all"]["metrics"]) == {"bleu", "chrf"}


@pytest.mark.parametrize(
    "name", [name for name, task in CATALOG.tasks.items() if task.kind == "translation" and task.dataset in HUB]
)
def test_tasks_on_rows_in_the_schema_of_the_hub(name: str, manifest: Path, tmp_path: Path) -> None:
    task = CATALOG.tasks[name]
    source = CATALOG.datasets[task.dataset]
    assert source.revision, "what is downloaded is pinned"
    found = texts(12, 5)
    rows = [OTHER.get(task.dataset, {}) | {"translation": dict.fromkeys(HUB[task.dataset], text)} for text in found]
    for split in ("train", task.evaluate_split):
        tiny.save_rows(tmp_path, task.configs[0], split, rows)
    check(task, manifest, tmp_path, tmp_path)


@needs_mirror
@pytest.mark.parametrize("name", ["flores_en_ru", "flores_en_vi", "flores_en_kk"])
def test_flores_from_the_mirror(name: str, tmp_path: Path) -> None:
    task = CATALOG.tasks[name]
    folder = MIRROR / "datasets" / CATALOG.datasets[task.dataset].id
    asked = tasks.training_questions(folder, task, 0.2)
    backend = Tokenizer(pieces.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=[*tiny.SPECIAL, *CODES], show_progress=False)
    backend.train_from_iterator([text for q in asked for text in (*q.texts, *q.answers)], trainer)
    manifest = tiny.save_translator(tmp_path / "model", framed(backend))
    check(task, manifest, folder, tmp_path)
