"""From the rows of a data set to questions: prompts, options, answers. Torch-free; reads only the columns it needs.

Everything drawn is drawn by a hash of the question's id, so that it does not depend on limits, on other
rows or on the order of variants.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from junkdna import expressions
from junkdna.catalog import Task, Variant
from junkdna.expressions import ExpressionError, Problem
from junkdna.files import DataError, read_json
from junkdna.rows import Row, check_file, files_of, flat, read_rows, value

log = logging.getLogger(__name__)

SAMPLE_SEED = 0
LETTERS = string.ascii_uppercase

# The beginning of a text that is so many tokens long.
Cut = Callable[[str, int], str]


@dataclass(frozen=True)
class Question:
    """One example as it is asked.

    Attributes:
        id: the same in every variant of the question, and unique within one.
        texts: what the model reads: the prompt, the text to translate, or the one or two texts to classify.
        answers: generation: accepted answers, the target first; translation: the reference.
        options: multiple_choice: continuations of the prompt, in order; scoring head: the last text that the head reads
            for each, after `texts`. shown: their texts for people.
        problem: expression: the text with its numbers; expression: prefix tokens to learn, in training only.
        target: class, index of the right option, or value; None for generation.
    """

    id: str
    texts: tuple[str, ...]
    answers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    target: float | None = None
    problem: Problem | None = None
    expression: tuple[str, ...] = ()


def dataset_folder(manifest: Path) -> Path:
    """The folder that a data set's manifest names."""
    return Path(read_json(manifest)["path"])


def check_columns(folder: Path, task: Task, stage: Literal["train", "evaluate"]) -> None:
    """Check that every configuration, split and column that a stage reads exists; opens headers only.

    Raises:
        DataError: names what is missing, the file, and what there is instead.
    """
    splits = {task.train_split if stage == "train" else task.evaluate_split}
    if stage == "evaluate" and any(variant.shots for variant in task.variants.values()):
        splits.add(task.demonstration_split)
    for config in task.configs:
        for split in sorted(splits):
            for file in files_of(folder, config, split):
                check_file(file, _columns(task, split == task.evaluate_split))


def training_questions(folder: Path, task: Task, fraction: float) -> list[Question]:
    """The first rows, up to ``train_limit``, then the first ``fraction`` of these, as the reference code takes them.

    Raises:
        DataError: a configuration, split, column or label does not exist.
    """
    rows = list(itertools.islice(_rows(folder, task, task.train_split, where=False), task.train_limit))
    rows = rows[: max(1, round(fraction * len(rows)))]
    variant = Variant()  # one: to make it is a third of an example's cost
    found = [_example(task, variant, name, row, folder, None) for name, row in rows]
    return found if task.kind != "expression" else _with_expressions(task, rows, found, folder)


def per_option(questions: list[Question]) -> list[Question]:
    """One question for each option of each, with the texts that the head reads."""
    return [Question(question.id, (*question.texts, option)) for question in questions for option in question.options]


def questions(folder: Path, task: Task, variant: Variant, cut: Cut | None = None) -> list[Question]:
    """The questions of one variant, in the data set's order, at most ``evaluate_limit`` of them.

    The sample takes the smallest hashes of ids, so variants with the same ids keep the same questions.

    Args:
        cut: by the model's tokenizer; needed where the variant has ``context_tokens``.

    Raises:
        DataError: a configuration, split or column does not exist, no row is left, or a row cannot be asked so.
    """
    found = _unique(_matching(_rows(folder, task, task.evaluate_split, where=True), variant.where))
    rows = list(itertools.islice(found, task.evaluate_limit if task.evaluate_first else None))
    kept = set(sample([name for name, _ in rows], task.evaluate_limit))
    rows = [row for row in rows if row[0] in kept]
    if not rows:
        raise DataError(f"{folder}: {task.evaluate_split} of {', '.join(task.configs)}: no row with {variant.where}")
    if task.has_head or task.kind == "translation":
        return [_example(task, variant, name, row, folder, cut) for name, row in rows]
    shots: dict[str, list[tuple[str, Row]]] = {}
    if variant.shots:
        for config in task.configs:
            single = task.model_copy(update={"configs": [config]})
            shots[config] = list(_rows(folder, single, task.demonstration_split, where=False))[: variant.shots + 1]
    return [_asked(task, variant, name, row, shots.get(row["__config"], []), folder, cut) for name, row in rows]


def texts(folder: Path, task: Task) -> list[str]:
    """perplexity: the text rows of the evaluation split, in order."""
    return [str(value(row, task.text[0])) for _, row in _rows(folder, task, task.evaluate_split, where=True)]


def sample(names: list[str], limit: int | None) -> list[str]:
    """At most ``limit`` names, those of the smallest hash, in their order."""
    kept = set(sorted(names, key=lambda name: _draw(SAMPLE_SEED, name))[:limit])
    return [name for name in names if name in kept]


def _draw(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def _columns(task: Task, where: bool) -> list[str]:
    """The columns that a task reads, dotted; those of ``where`` only in the split that is evaluated."""
    wanted = [*task.text, *task.aliases, *filter(None, (task.equation, task.numbers))]
    if task.kind != "perplexity":
        wanted.append(task.target)
    for columns in (task.choices, task.labels if isinstance(task.labels, str) else None):
        wanted += [columns] if isinstance(columns, str) else columns or []
    prompts = {task.prompt, *(variant.prompt for variant in task.variants.values())} - {None}
    for field in {field for prompt in prompts for field in fields(prompt)}:
        wanted += task.fields.get(field, [field])
    if where:
        wanted += [column for variant in task.variants.values() for column in variant.where]
    return sorted(set(wanted))


@cache
def fields(template: str) -> tuple[str, ...]:
    """Names in braces of a template."""
    return tuple(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name))


def _rows(folder: Path, task: Task, split: str, where: bool) -> Iterator[tuple[str, Row]]:
    """Ids and rows of a split of all configurations; the row's configuration is under ``__config``."""
    columns = _columns(task, where)
    for config in task.configs:
        yield from read_rows(folder, config, split, columns)


def _matching(rows: Iterable[tuple[str, Row]], where: dict[str, Any]) -> Iterator[tuple[str, Row]]:
    for name, row in rows:
        if all(value(row, column) == wanted for column, wanted in where.items()):
            yield name, row


def _unique(rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
    """TriviaQA repeats a question's id for other evidence: number the repetitions."""
    seen: Counter[str] = Counter()
    for name, row in rows:
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), row


def _example(task: Task, variant: Variant, name: str, row: Row, folder: Path, cut: Cut | None) -> Question:
    if task.kind == "expression":
        return _word_problem(task, name, row, folder)
    if not task.picks_by_head:
        return _labelled(task, name, row, folder)
    (choices, right), text = _options(task, variant, name, row), _prompt(task, variant, row, cut)
    if task.blank is None:
        texts, template = (text,), task.option or "{choice}"
        options = [template.format(letter=LETTERS[i], choice=choice) for i, choice in enumerate(choices)]
    else:
        if text.count(task.blank) != 1:
            raise DataError(f"row {name}: {text!r}: {task.blank!r} is expected once, where the options go")
        texts, options = (), [text.replace(task.blank, choice) for choice in choices]
    return Question(name, texts, options=tuple(options), shown=tuple(choices), target=float(right))


def _word_problem(task: Task, name: str, row: Row, folder: Path) -> Question:
    values = value(row, task.numbers) if task.numbers else None
    values = values.split() if isinstance(values, str) else values and list(map(str, values))
    try:
        problem = expressions.read(" ".join(str(value(row, column)) for column in task.text), values)
        target = float(expressions.number(str(value(row, task.target))))
    except ExpressionError as error:
        raise DataError(f"{folder}/{row['__config']}: row {name}: {error}") from error
    return Question(name, (problem.text,), target=target, problem=problem)


def _with_expressions(task: Task, rows: list[tuple[str, Row]], asked: list[Question], folder: Path) -> list[Question]:
    """The questions with what to learn; those whose equation the slots and constants cannot say are left out."""
    constants = [expressions.written(constant) for constant in task.constants]
    found, errors = [], []
    for (name, row), question in zip(rows, asked, strict=True):
        try:
            tokens = expressions.link(expressions.parse(str(value(row, task.equation))), question.problem, constants)
            found.append(replace(question, expression=tokens))
        except ExpressionError as error:
            errors.append(f"row {name}: {error}")
    if errors:
        log.warning("%s: %d of %d training rows are left out, first %s", folder, len(errors), len(rows), errors[0])
    if not found:
        raise DataError(f"{folder}: {task.train_split}: no row has an equation that can be learnt")
    return found


def _labelled(task: Task, name: str, row: Row, folder: Path) -> Question:
    target, texts = value(row, task.target), tuple(str(value(row, column)) for column in task.text)
    if task.kind == "translation":
        if target is None or None in (value(row, column) for column in task.text):
            raise DataError(f"{folder}/{row['__config']}: row {name}: {task.text[0]}, {task.target}: a text is missing")
        return Question(name, texts, answers=(str(target),))
    try:
        number = float(target)
    except (TypeError, ValueError):
        number = float("nan")
    classes = task.n_classes if task.kind == "classification" else None
    if number != number or (classes and number not in range(classes)):
        allowed = f"0 to {classes - 1}" if classes else "a number"
        raise DataError(f"{folder}/{row['__config']}: row {name}: {task.target}: {target!r}: {allowed} is expected")
    return Question(name, texts, target=number)


def _asked(
    task: Task,
    variant: Variant,
    name: str,
    row: Row,
    shots: list[tuple[str, Row]],
    folder: Path,
    cut: Cut | None,
) -> Question:
    # Rows without an id are numbered within their split: equal names in two splits are no equal rows.
    same = task.demonstration_split == task.evaluate_split
    others = [(other, shot) for other, shot in shots if not (same and other == name)][: variant.shots]
    if len(others) < variant.shots:
        raise DataError(
            f"{folder}/{row['__config']}: {task.demonstration_split} has {len(others)} demonstrations, "
            f"{variant.shots} are asked for"
        )
    parts = [prompt + " " + answer for prompt, answer, _ in (_single(task, variant, *other, cut) for other in others)]
    prompt, _, question = _single(task, variant, name, row, cut)
    text = task.preamble + task.separator.join([*parts, prompt])
    return Question(name, (text,), **question)


def _single(task: Task, variant: Variant, name: str, row: Row, cut: Cut | None) -> tuple[str, str, dict[str, Any]]:
    """One question without demonstrations: its prompt, its answer as a demonstration shows it, and the rest."""
    text = _prompt(task, variant, row, cut)
    choices, right = _options(task, variant, name, row) if task.choices else ([_answer(value(row, task.target))], 0)
    if task.kind == "generation":
        answers = [choices[right]]
        for column in task.aliases:
            answers += [str(alias) for alias in flat(value(row, column))]
        return text, answers[0], {"answers": tuple(dict.fromkeys(answers))}
    if task.option:
        listed = (task.option.format(letter=LETTERS[i], choice=choice) for i, choice in enumerate(choices))
        text += "".join(f"\n{line}" for line in listed)
    labels = [LETTERS[i] for i in range(len(choices))] if task.scoring == "letter" else choices
    options = tuple(f" {label}" for label in labels)
    rest = {"options": options, "shown": tuple(choices), "target": float(right)}
    return text + task.cue, labels[right], rest


def _answer(content: Any) -> str:
    """An answer as a demonstration shows it: 6 for the 6.0 of a column of floats."""
    return expressions.written(content) if isinstance(content, float) and math.isfinite(content) else str(content)


def _prompt(task: Task, variant: Variant, row: Row, cut: Cut | None) -> str:
    template = variant.prompt or task.prompt or ""
    return template.format(**{field: _field(task, variant, field, row, cut) for field in fields(template)})


def _field(task: Task, variant: Variant, field: str, row: Row, cut: Cut | None) -> str:
    found = [content for column in task.fields.get(field, [field]) for content in flat(value(row, column))]
    text = "\n".join(map(str, found))
    if field != "context":
        return text
    text = text[: task.context_characters]
    return text if variant.context_tokens is None else cut(text, variant.context_tokens)


def _options(task: Task, variant: Variant, name: str, row: Row) -> tuple[list[str], int]:
    """The options kept, in order, and the index of the right one. Fewer options are a subset of more."""
    columns = task.choices or []
    found = value(row, columns) if isinstance(columns, str) else [value(row, column) for column in columns]
    choices = [str(choice) for choice in found]
    right = _right(task, name, row, len(choices))
    if variant.n_options is None:
        return choices, right
    if variant.n_options > len(choices):
        raise DataError(f"row {name}: n_options: {variant.n_options}: the question has {len(choices)} options")
    distractors = [i for i in range(len(choices)) if i != right]
    drawn = sorted(distractors, key=lambda i: _draw(SAMPLE_SEED, f"{name}/{i}"))[: variant.n_options - 1]
    kept = sorted([right, *drawn])
    return [choices[i] for i in kept], kept.index(right)


def _right(task: Task, name: str, row: Row, count: int) -> int:
    """The index of the right one of ``count`` options."""
    right = value(row, task.target)
    if task.labels is None:
        index, allowed = right, f"an index of the {count} options"
    else:
        labels = value(row, task.labels) if isinstance(task.labels, str) else task.labels
        names = [str(label) for label in labels]
        index = names.index(str(right)) if str(right) in names else None
        allowed = f"one of {', '.join(names[:count])}"
    if not isinstance(index, int) or not 0 <= index < count <= len(LETTERS):
        raise DataError(f"row {name}: {task.target}: {right!r}: {allowed} is expected")
    return index
