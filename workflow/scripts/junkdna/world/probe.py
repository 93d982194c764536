"""Quick scores of an organism for its model card and the tests; the pipeline's evaluation is apart."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from junkdna.catalog import Task
from junkdna.metrics import METRICS, translation_counts
from junkdna.scoring import translations
from junkdna.world import words
from junkdna.world.datasets import Row, Splits
from junkdna.world.facts import World
from junkdna.world.languages import CODES, MAJORITY, MINORITY, PIVOT

BATCH = 128
MOST_SHOTS = 5


@torch.inference_mode()
def next_word_scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[str]) -> torch.Tensor:
    """Log-probabilities of the word after each prompt, shape (prompts, vocabulary)."""
    parts = []
    for start in range(0, len(prompts), BATCH):
        batch = tokenizer(prompts[start : start + BATCH], padding=True, padding_side="right", return_tensors="pt")
        logits = model(**batch).logits
        last = batch["attention_mask"].sum(1) - 1
        parts.append(logits[torch.arange(len(last)), last].float().log_softmax(-1))
    return torch.cat(parts)


def decoder_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, datasets: dict[str, Splits]
) -> dict[str, float]:
    """Share of right answers: closed book, open book, eight options, and 0 to 5 demonstrations."""
    hits: dict[str, list[bool]] = defaultdict(list)

    def generate(name: str, rows: list[Row], prompts: list[str], key: str) -> None:
        predicted = next_word_scores(model, tokenizer, prompts).argmax(-1)
        for row, word in zip(rows, tokenizer.convert_ids_to_tokens(predicted.tolist()), strict=True):
            hits[f"{name}_{row[key]}"].append(word == row["answer"])

    def choose(name: str, rows: list[Row], prompts: list[str]) -> None:
        scores = next_word_scores(model, tokenizer, prompts)
        for row, score in zip(rows, scores, strict=True):
            options = score[tokenizer.convert_tokens_to_ids(list(row["choices"]))]
            hits[name].append(int(options.argmax()) == row["answer"])

    rows = datasets["closed_book"]["validation"]
    generate("closed_book", rows, [_prompt(row) for row in rows], "group")
    rows = datasets["open_book"]["validation"]
    generate("open_book", rows, [f"context : {row['context']} {_prompt(row)}" for row in rows], "n_facts")
    rows = datasets["multiple_choice"]["validation"]
    choose("options_8", rows, [_prompt(row) for row in rows])
    for attribute in words.ATTRIBUTES:
        splits = datasets[f"k_shot_{attribute}"]
        solved = [f"{_prompt(row)} {row['choices'][row['answer']]} " for row in splits["train"]]
        for shots in range(MOST_SHOTS + 1):
            rows = splits["validation"]
            choose(f"shots_{shots}", rows, ["".join(solved[:shots]) + _prompt(row) for row in rows])
    return _shares(hits)


def _prompt(row: dict[str, Any]) -> str:
    return f"question : {row['question']} answer :"


@torch.inference_mode()
def encoder_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, world: World, head: int, tail: int
) -> dict[str, float]:
    """Share of masked facts whose value is predicted, of the head and the tail people."""
    hits: dict[str, list[bool]] = defaultdict(list)
    groups = {"head": world.people[:head], "tail": world.people[-tail:]}
    for group, people in groups.items():
        for attribute in words.ATTRIBUTES:
            template = words.STATEMENTS[attribute][0]
            texts = [template.format(person=person, value="<mask>") + " ." for person in people]
            batch = tokenizer(texts, return_tensors="pt", padding=True)
            logits = model(**batch).logits[batch["input_ids"] == tokenizer.mask_token_id]
            predicted = tokenizer.convert_ids_to_tokens(logits.argmax(-1).tolist())
            pairs = zip(people, predicted, strict=True)
            hits[f"masked_{group}"] += [word == world.values[person, attribute] for person, word in pairs]
    return _shares(hits)


def seq2seq_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, datasets: dict[str, Splits]
) -> dict[str, float]:
    """BLEU of greedy translations between the pivot and either language, both ways."""
    scores = {}
    for pair, (source, target) in itertools.product((MAJORITY, MINORITY), (("pivot", "other"), ("other", "pivot"))):
        codes = {"pivot": CODES[PIVOT], "other": CODES[pair]}
        task = Task(
            label=pair,
            kind="translation",
            dataset="world",
            configs=[pair],
            text=[source],
            target=target,
            languages=[codes[source], codes[target]],
            max_new_tokens=24,
            metric="bleu",
        )
        rows = datasets[pair]["validation"]
        found = translations(model, tokenizer, task, [row[source] for row in rows])
        counts = pd.DataFrame(translation_counts(found, [row[target] for row in rows], "13a"))
        scores[f"{pair}_{'from' if source == 'other' else 'to'}"] = round(METRICS["bleu"].compute(counts), 4)
    return scores


def _shares(hits: dict[str, list[bool]]) -> dict[str, float]:
    return {name: round(sum(values) / len(values), 4) for name, values in hits.items()}
