"""Evaluation of a model on a task: predictions per example, without gradient, in batches that do not change them.

Inputs are sorted by length. Texts to classify are padded on the right and masked. Sequences whose tokens are scored are
padded on the right too, which a causal model cannot see. Prompts to continue are padded on the left where the model is
known to take that, else batched with others of equal length, as are texts to translate.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from junkdna import expressions, metrics, sharing, tasks, translation
from junkdna.catalog import METRICS, Task, Variant
from junkdna.expression_model import ExpressionModel, ProblemCollator, encode_problems, solution
from junkdna.generation import continued
from junkdna.models import max_tokens
from junkdna.tasks import Question
from junkdna.training import encode, pad_right

log = logging.getLogger(__name__)

BATCH_TOKENS = 8192
WRITTEN_TOKENS = 16384  # of prompts to continue together, of which only keys and values are held
BATCH_SEQUENCES = 64
CPU_TOKENS = 1024  # to read at a time on a CPU, where what a layer holds should fit the caches
PADDED = 0.5  # of prompts to continue, the shortest is at least this share of the longest
COLUMNS = ("variant", "id", "prediction", "reference", "y_pred", "y_true", "option_scores")


def evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, folder: Path
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score every variant of a task.

    Args:
        folder: of the data set.

    Returns:
        Variant to {"n_examples", "chance", "metrics"}, and the predictions, one row per example and variant.

    Raises:
        DataError: a column is missing or a row cannot be asked.
    """
    measured, frames = {}, []
    for name, variant in task.variants.items():
        frame = predict(model, tokenizer, task, variant, folder)
        frame.insert(0, "variant", name)
        measured[name] = summarise(task, frame)
        log.info("%s: %s", name, measured[name])
        frames.append(frame)
    return measured, pd.concat(frames, ignore_index=True)


def summarise(task: Task, frame: pd.DataFrame) -> dict[str, Any]:
    """Number of examples, chance level and all metrics of the predictions of one variant."""
    # These say something of two classes, and of answers that are numbers.
    fits = {"f1_binary": task.n_classes == 2, "number_match": task.metric == "number_match"}
    names = [name for name in METRICS[task.kind] or [task.metric] if fits.get(name, True)]
    options = frame["option_scores"]
    counts = None if options.isna().any() or task.kind == "regression" else options.map(len).to_numpy()
    return {
        "n_examples": len(frame),
        "chance": metrics.chance_level(task.chance, frame["y_true"].to_numpy(dtype=float), counts),
        "metrics": {name: metrics.METRICS[name].compute(frame) for name in names},
    }


def predict(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, variant: Variant, folder: Path
) -> pd.DataFrame:
    """The predictions of one variant, in the order of the data set."""
    if task.kind == "lm_eval":
        # By name: a change of that module then redoes its own tasks alone.
        return importlib.import_module("junkdna.harness").predict(model, tokenizer, task, variant, folder)
    if task.kind == "perplexity":
        return _perplexity(model, tokenizer, task, folder)
    questions = tasks.questions(folder, task, variant, partial(first_tokens, tokenizer))
    frame = pd.DataFrame({"id": [question.id for question in questions]})
    if task.kind == "expression":
        return _solved(model, tokenizer, task, frame, questions)
    if task.has_head:
        length = input_length(task, max_tokens(model.config, tokenizer))
        read = tasks.per_option(questions) if task.picks_by_head else questions
        logits = label_logits(model, encode(read, tokenizer, length), tokenizer.pad_token_id, task.picks_by_head)
        if not task.picks_by_head:
            return _labelled(frame, task, questions, logits)
        ends = np.cumsum([len(question.options) for question in questions])
        return _chosen(frame, questions, np.split(logits[:, 0], ends[:-1]))
    if task.kind == "translation":
        return _translated(model, tokenizer, task, frame, questions)
    if task.kind == "multiple_choice":
        return _chosen(frame, questions, option_scores(model, tokenizer, questions))
    found = generate(model, tokenizer, [q.texts[0] for q in questions], task.max_new_tokens)
    pairs = [(text, q.answers) for text, q in zip(found, questions, strict=True)]
    frame = frame.assign(prediction=found, reference=[q.answers[0] for q in questions])
    frame = frame.assign(y_pred=np.nan, y_true=np.nan, option_scores=None)
    return frame.assign(
        exact_match=[metrics.exact_match(*pair) for pair in pairs],
        f1=[metrics.f1(*pair) for pair in pairs],
        contains=[metrics.contains(*pair) for pair in pairs],
        contains_either=[metrics.contains_either(*pair) for pair in pairs],
        number_match=[metrics.number_match(*pair) for pair in pairs],
    )


def _translated(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, frame: pd.DataFrame, asked: list[Question]
) -> pd.DataFrame:
    found = translations(model, tokenizer, task, [question.texts[0] for question in asked])
    references = [question.answers[0] for question in asked]
    frame = frame.assign(prediction=found, reference=references, y_pred=np.nan, y_true=np.nan, option_scores=None)
    return frame.assign(**metrics.translation_counts(found, references, task.bleu_tokenizer))


def translations(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, texts: list[str]) -> list[str]:
    """Translations of texts from the first to the second language of a task."""
    longest = max_tokens(model.config, tokenizer)
    source = task.languages[0] if task.languages else None
    encoded = translation.frame(tokenizer, texts, source, input_length(task, longest))
    found = [""] * len(texts)
    for batch in _progress(batches([len(ids) for ids in encoded], least=1), "translate"):
        written = translation.translate(model, tokenizer, [encoded[i] for i in batch], task, longest)
        for i, text in zip(batch, written, strict=True):
            found[i] = text
    return found


def _solved(
    model: ExpressionModel, tokenizer: PreTrainedTokenizerBase, task: Task, frame: pd.DataFrame, asked: list[Question]
) -> pd.DataFrame:
    length = input_length(task, max_tokens(model.config, tokenizer))
    encoded, collate = encode_problems(asked, tokenizer, length), ProblemCollator(tokenizer.pad_token_id)
    texts, values = [""] * len(asked), np.full(len(asked), np.nan)
    for batch in _progress(batches([len(example["input_ids"]) for example in encoded]), "solve"):
        inputs = {key: tensor.to(model.device) for key, tensor in collate([encoded[i] for i in batch]).items()}
        for i, ids in zip(batch, model.solve(**inputs), strict=True):
            texts[i], values[i] = solution(ids, asked[i].problem, model.config)
    right = np.array([question.target for question in asked])
    frame = frame.assign(prediction=texts, reference=[expressions.written(value) for value in right])
    frame = frame.assign(y_pred=values, y_true=right, option_scores=None)
    return frame.assign(accuracy=[float(expressions.equal(*pair)) for pair in zip(values, right, strict=True)])


def _labelled(frame: pd.DataFrame, task: Task, questions: list[Question], logits: np.ndarray) -> pd.DataFrame:
    truth = np.array([question.target for question in questions])
    if task.kind == "regression":
        text = [f"{value:.4g}" for value in logits[:, 0]]
        frame = frame.assign(prediction=text, reference=[f"{value:.4g}" for value in truth])
        return frame.assign(y_pred=logits[:, 0], y_true=truth, option_scores=None)
    guess = logits.argmax(1)
    frame = frame.assign(prediction=guess.astype(str), reference=truth.astype(int).astype(str))
    frame = frame.assign(y_pred=guess.astype(float), y_true=truth, option_scores=list(logits))
    return frame.assign(accuracy=(guess == truth).astype(float))


def _chosen(frame: pd.DataFrame, questions: list[Question], scores: list[np.ndarray]) -> pd.DataFrame:
    guess = [int(found.argmax()) for found in scores]
    right = [int(question.target) for question in questions]
    frame = frame.assign(
        prediction=[q.shown[i] for q, i in zip(questions, guess, strict=True)],
        reference=[q.shown[i] for q, i in zip(questions, right, strict=True)],
    )
    frame = frame.assign(y_pred=np.array(guess, dtype=float), y_true=np.array(right, dtype=float), option_scores=scores)
    return frame.assign(accuracy=(frame["y_pred"] == frame["y_true"]).astype(float))


def input_length(task: Task, longest: int) -> int:
    """Tokens of an input at most: those that the task was trained with, or that the model can take."""
    return min(task.training.max_length, longest) if task.training else longest


def batches(lengths: Sequence[int], least: float = 0.0, tokens: int | None = None) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first, within BATCH_SEQUENCES.

    Args:
        least: length of the shortest of a batch as a share of the longest.
        tokens: of a batch at most, with padding; None: BATCH_TOKENS.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        longest = lengths[order[0]]
        size = max(1, min(BATCH_SEQUENCES, (tokens or BATCH_TOKENS) // max(1, longest)))
        batch = [i for i in order[:size] if lengths[i] >= least * longest]
        yield batch
        order = order[len(batch) :]


@torch.no_grad()
def label_logits(model: PreTrainedModel, sequences: list[list[int]], pad: int, options: bool = False) -> np.ndarray:
    """Logits of texts to classify, float64 of shape (texts, labels); of options: each as if it were the only one."""
    found = np.empty((len(sequences), model.config.num_labels))
    for batch in _progress(batches([len(s) for s in sequences]), "classify"):
        inputs = pad_right([sequences[i] for i in batch], pad)
        inputs = {key: (tensor[:, None] if options else tensor).to(model.device) for key, tensor in inputs.items()}
        logits = model(**inputs).logits
        found[batch] = logits.float().cpu().numpy()
    return found


def option_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[Question]
) -> list[np.ndarray]:
    """Log-likelihood of each option given the prompt, summed over its tokens; one array per question.

    Prompt and option are tokenised together, since tokens may span the two. What is scored of an option are the tokens
    after the longest beginning that the prompt and all its options share.
    """
    texts = [text for q in questions for text in (q.texts[0], *(q.texts[0] + option for option in q.options))]
    encoded = iter(_token_ids(tokenizer, texts))
    limit, cut = max_tokens(model.config, tokenizer), 0
    items: list[tuple[tuple[int, ...], int]] = []
    for question in questions:
        prompt = next(encoded)
        options = [next(encoded) for _ in question.options]
        begin = _shared([prompt, *options])
        excess = max(map(len, options)) - limit
        # The beginning goes, not the question at the end; the start token stays.
        head = 1 if prompt[:1] == [tokenizer.bos_token_id] else 0
        if excess > 0:
            cut += 1
            options = [ids[:head] + ids[head + excess :] for ids in options]
            begin -= excess
        if begin < 1 or any(len(ids) <= begin for ids in options):
            raise tasks.DataError(
                f"question {question.id}: an option has no token of its own, or prompt and options are "
                f"longer than the model's {limit} tokens: {list(question.options)}"
            )
        items += [(tuple(ids), begin) for ids in options]
    if cut:
        log.warning(
            "%d of %d prompts are longer than %d tokens: their beginnings were cut",
            cut,
            len(questions),
            limit,
        )
    scores = iter(sequence_scores(model, items))
    return [np.array([next(scores) for _ in question.options]) for question in questions]


def _shared(sequences: list[list[int]]) -> int:
    """Length of the longest common beginning."""
    return next(
        (i for i, column in enumerate(zip(*sequences, strict=False)) if len(set(column)) > 1),
        min(map(len, sequences)),
    )


@torch.no_grad()
def sequence_scores(model: PreTrainedModel, items: list[tuple[tuple[int, ...], int]]) -> list[float]:
    """Sum of the log-probabilities of ``ids[begin:]`` given ``ids[:begin]``, for each (ids, begin).

    Sequences that differ in their last token only are run once, and what others share at their beginning is too.
    """
    users: dict[tuple[int, ...], list[int]] = {}
    for number, (ids, _) in enumerate(items):
        users.setdefault(ids[:-1], []).append(number)
    inputs = sorted(users)
    needed = [min(items[number][1] for number in users[ids]) - 1 for ids in inputs]
    scores = [0.0] * len(items)
    run = sharing.run(model, inputs, needed, _read_at_a_time(model))
    for i, logits in tqdm(run, desc="score options", total=len(inputs), mininterval=5):
        logs = logits.float().log_softmax(-1)
        for number in users[inputs[i]]:
            ids, begin = items[number]
            wanted = torch.tensor(ids[begin:], device=logs.device)
            picked = logs[begin - 1 - needed[i] : len(ids) - 1 - needed[i]].gather(1, wanted[:, None])
            scores[number] = float(picked.double().sum())
    return scores


def _read_at_a_time(model: PreTrainedModel) -> sharing.Batches:
    """Batches of what is run once, without writing."""
    return partial(batches, tokens=CPU_TOKENS if model.device.type == "cpu" else BATCH_TOKENS)


@torch.no_grad()
def generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], max_new_tokens: int
) -> list[str]:
    """Greedy continuations up to a line break, the end of the text or ``max_new_tokens``; stripped."""
    limit, cut = max_tokens(model.config, tokenizer) - max_new_tokens, 0
    encoded = _token_ids(tokenizer, prompts)
    for ids in encoded:
        if len(ids) > limit:
            # The beginning goes: the question stands at the end.
            head = 1 if ids[0] == tokenizer.bos_token_id else 0
            del ids[head : head + len(ids) - limit]
            cut += 1
    if cut:
        log.warning("%d of %d prompts are longer than %d tokens: their beginnings were cut", cut, len(prompts), limit)
    found = [""] * len(prompts)
    together = (PADDED, WRITTEN_TOKENS) if sharing.fits(model) else (1, BATCH_TOKENS)
    for batch in _progress(batches([len(ids) for ids in encoded], *together), "generate"):
        given = [encoded[i] for i in batch]
        texts = continued(model, tokenizer, given, max_new_tokens, _read_at_a_time(model))
        for i, text in zip(batch, texts, strict=True):
            found[i] = text
    return found


def _perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, folder: Path) -> pd.DataFrame:
    """Windows of the context length over the joined text, each predicted from its own beginning.

    Rows are joined by ``separator``; with the default this is what SparseGPT's and Wanda's perplexities do, except that
    the last, shorter window counts too.
    """
    text = task.separator.join(tasks.texts(folder, task))
    (ids,) = _token_ids(tokenizer, [text])
    length = max_tokens(model.config, tokenizer)
    windows = {f"window-{i // length:06d}": ids[i : i + length] for i in range(0, len(ids), length)}
    windows = {name: window for name, window in windows.items() if len(window) > 1}
    names = tasks.sample(list(windows), task.evaluate_limit)
    scores = sequence_scores(model, [(tuple(windows[name]), 1) for name in names])
    frame = pd.DataFrame({"id": names, "prediction": "", "reference": ""})
    frame = frame.assign(y_pred=np.nan, y_true=np.nan, option_scores=None)
    return frame.assign(nll=[-score for score in scores], tokens=[float(len(windows[name]) - 1) for name in names])


def first_tokens(tokenizer: PreTrainedTokenizerBase, text: str, n: int) -> str:
    """The text up to the end of its ``n``-th token, special tokens not counted; all of it if it has fewer."""
    if n == 0:
        return ""
    ends = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return text[: ends[n - 1][1]] if n < len(ends) else text


def _token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Token ids without an end of text, which a prompt that is continued must not have."""
    found = tokenizer(texts, verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    return [ids[:-1] if len(ids) > 1 and ids[-1] == end else ids for ids in found]


def _progress(found: Iterable[list[int]], label: str) -> Iterable[list[int]]:
    return tqdm(list(found), desc=label, unit="batch", mininterval=5)
