"""The data sets of the micro-world, as parquet files like those of a data set repository.

Layout: ``{config}/{split}-00000-of-00001.parquet``, splits ``train`` and ``validation``. No validation
question occurs in training, and the people of verification and inference are held out; the memorised facts
that the decoder is asked for are the exception.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from junkdna.files import DataError, atomic_path
from junkdna.world import corpus, facts, words
from junkdna.world.corpus import Corpus
from junkdna.world.facts import World, make_world
from junkdna.world.languages import MAJORITY, MINORITY, PIVOT, Languages, Meaning, Pairs
from junkdna.world.recipe import OrganismRecipe, Recipe, read_recipe

Row = dict[str, Any]
Splits = dict[str, list[Row]]
Maker = Callable[[World, Recipe, random.Random], Splits]
Draw = Callable[[World, random.Random, int], Row]
N_CHOICES = 8
N_VALUES = 5
HELD_OUT_PEOPLE = 0.4
MOST_MISSES = 2000
FARTHER = 2  # nouns between subject and verb that only validation has


def write_datasets(recipe: dict[str, Any] | Path, directory: Path) -> None:
    """Write every data set of the world below ``directory``, replacing it.

    The same recipe gives the same bytes. Every frame has a column ``id``, unique within its file.

    Raises:
        DataError: the recipe cannot be used.
    """
    checked = read_recipe(recipe)
    with atomic_path(Path(directory)) as aside:
        for config, splits in make_datasets(checked).items():
            (aside / config).mkdir(parents=True)
            for split, rows in splits.items():
                frame = pd.DataFrame(rows)
                if "id" not in frame:
                    frame.insert(0, "id", [f"{config}-{split}-{i:04d}" for i in range(len(frame))])
                frame.to_parquet(aside / config / f"{split}-00000-of-00001.parquet", index=False)


def make_datasets(recipe: Recipe) -> dict[str, Splits]:
    """All data sets: configuration -> split -> rows."""
    world = make_world(recipe.world, recipe.seed)
    between = corpus.MOST_NOUNS_BETWEEN
    makers: dict[str, Maker] = {
        "closed_book": _closed_book,
        "open_book": _open_book,
        "evidence": _evidence,
        "multiple_choice": _multiple_choice,
        **{f"k_shot_{name}": _k_shot(name) for name in words.ATTRIBUTES},
        "lexical": _sampled(_lexical, 2),
        "agreement": _sampled(
            _agreement(0, between), 2, _agreement(between + 1, between + FARTHER), train="agreement_train"
        ),
        "paraphrase": _sampled(_paraphrase, 2),
        "similarity": _sampled(_similarity, len(words.EVENT_SLOTS) + 1),
        "inference": _of_people(_inference, "train"),
        "verification": _of_people(_verification, "verification_train"),
        "two_people": _of_people(_two_people, "options_train"),
        "five_values": _of_people(_five_values, "options_train", N_VALUES),
        "one_step": _sampled(_arithmetic(1), len(words.NUMBERS)),
        "two_step": _sampled(_arithmetic(2), len(words.NUMBERS)),
        **{language: _pairs(language) for language in (MAJORITY, MINORITY)},
        **{f"corpus_{name}": _corpus(organism) for name, organism in recipe.organisms.items()},
    }
    return {name: make(world, recipe, random.Random(f"{name}-{recipe.seed}")) for name, make in makers.items()}


# --- read for calibration


def _corpus(organism: OrganismRecipe) -> Maker:
    """Documents such as the organism was last trained on, undisturbed."""

    def make(world: World, recipe: Recipe, rng: random.Random) -> Splits:
        mix, seed = organism.stages[-1].mix, rng.getrandbits(32)
        if organism.kind == "seq2seq":  # with the frame, which tells the language
            pairs = Pairs(Languages(recipe.languages, recipe.seed), mix, seed)
            return {"train": [{"text": " ".join(pairs.draw()[1])} for _ in range(recipe.datasets.corpus)]}
        corpus = Corpus(world, mix, organism.uniform_people, seed)
        return {"train": [{"text": " ".join(corpus.draw().words)} for _ in range(recipe.datasets.corpus)]}

    return make


# --- translated by the seq2seq


def _pairs(language: str) -> Maker:
    """Sentences of the pivot with their translations. Meanings are the same for every language, each occurs once."""

    def make(world: World, recipe: Recipe, rng: random.Random) -> Splits:
        languages, same = Languages(recipe.languages, recipe.seed), random.Random(f"meanings-{recipe.seed}")
        sizes = {"validation": recipe.languages.validation, "train": recipe.languages.train}
        wanted = sum(sizes.values())
        meanings: dict[Meaning, None] = {}
        for _ in range(MOST_MISSES + wanted):
            if len(meanings) == wanted:
                break
            meanings[languages.draw(same)] = None
        if len(meanings) < wanted:
            raise DataError(f"languages: {wanted} rows wanted, {len(meanings)} meanings drawn; lower `train`")
        drawn = iter(meanings)
        return {
            split: [
                {
                    "id": f"{split}-{i:04d}",
                    "pivot": languages.say(meaning, PIVOT),
                    "other": languages.say(meaning, language),
                }
                for i, meaning in enumerate(itertools.islice(drawn, size))
            ]
            for split, size in sizes.items()
        }

    return make


# --- answered by the decoder as it is


def _closed_book(world: World, recipe: Recipe, rng: random.Random) -> Splits:
    sizes = recipe.world
    groups = {"head": world.people[: sizes.head], "tail": world.people[-sizes.tail :]}
    rows = []
    for group, people in groups.items():
        for person, attribute in itertools.product(people, words.ATTRIBUTES):
            value = world.values[person, attribute]
            rows.append(
                {
                    "id": f"{person}-{attribute}",
                    "question": facts.question(attribute, person, rng),
                    "answer": value,
                    "aliases": [value],
                    "group": group,
                    "attribute": attribute,
                }
            )
    return {"validation": rows}


def _open_book(world: World, recipe: Recipe, rng: random.Random) -> Splits:
    """Each question once per context length, under the same id, with the same answer."""
    rows = []
    for i in range(recipe.datasets.open_book):
        attribute, person = rng.choice(words.ATTRIBUTES), rng.choice(world.people)
        question = facts.question(attribute, person, rng)
        value = world.other_value(attribute, world.values[person, attribute], rng)
        for n_facts in recipe.datasets.context_facts:
            rows.append(
                {
                    "id": f"open_book-{i:04d}",
                    "question": question,
                    "context": corpus.context(world, person, attribute, value, n_facts, rng),
                    "answer": value,
                    "aliases": [value],
                    "n_facts": n_facts,
                }
            )
    return {"validation": rows}


def _evidence(world: World, recipe: Recipe, rng: random.Random) -> Splits:
    """Questions with the four true facts of their person as context, in random order: a beginning of it holds the
    answer the less often, the shorter it is."""
    asked = rng.sample(list(itertools.product(world.people, words.ATTRIBUTES)), recipe.datasets.evidence)
    rows = []
    for person, attribute in asked:
        told = [facts.statement(name, person, world.values[person, name], rng) for name in words.ATTRIBUTES]
        rng.shuffle(told)
        value = world.values[person, attribute]
        rows.append(
            {
                "id": f"{person}-{attribute}",
                "question": facts.question(attribute, person, rng),
                "context": " ".join(f"{fact} ." for fact in told),
                "answer": value,
                "aliases": [value],
            }
        )
    return {"validation": rows}


def _multiple_choice(world: World, recipe: Recipe, rng: random.Random) -> Splits:
    asked = rng.sample(list(itertools.product(world.people, words.ATTRIBUTES)), recipe.datasets.multiple_choice)
    rows = []
    for person, attribute in asked:
        value = world.values[person, attribute]
        others = [other for other in words.VALUES[attribute] if other != value]
        rows.append(_question(attribute, person, value, rng.sample(others, N_CHOICES - 1), rng))
    return {"validation": rows}


def _k_shot(attribute: str) -> Maker:
    """The question does not say which attribute is meant: options are two of each, one of all is true of the
    person, and demonstrations show which kind is asked for."""

    def make(world: World, recipe: Recipe, rng: random.Random) -> Splits:
        sizes = recipe.datasets
        people = rng.sample(world.people, sizes.demonstrations + sizes.k_shot)
        rows = []
        for person in people:
            value = world.values[person, attribute]
            others = [world.other_value(attribute, value, rng)]
            for name in words.ATTRIBUTES:
                wrong = [other for other in words.VALUES[name] if other != world.values[person, name]]
                others += rng.sample(wrong, 2) if name != attribute else []
            row = _question(attribute, person, value, others, rng)
            rows.append(row | {"question": words.HINT.format(person=person)})
        return {"train": rows[: sizes.demonstrations], "validation": rows[sizes.demonstrations :]}

    return make


def _question(attribute: str, person: str, value: str, others: list[str], rng: random.Random) -> Row:
    choices = [value, *others]
    rng.shuffle(choices)
    return {
        "id": f"{person}-{attribute}",
        "question": facts.question(attribute, person, rng),
        "choices": choices,
        "answer": choices.index(value),
    }


# --- fine-tuned by the encoder


def _fill(
    draw: Callable[[int], Row], labels: int, n: int, taken: set[tuple[str, ...]], rng: random.Random
) -> list[Row]:
    """``n`` rows in random order, labels equally frequent, no text that is in ``taken``, which is updated.

    Raises:
        DataError: the world has too few different texts for a label.
    """
    rows: list[Row] = []
    misses = 0
    while len(rows) < n:
        row = draw(len(rows) % labels)
        texts = tuple(value for value in row.values() if isinstance(value, str))
        if texts not in taken:
            taken.add(texts)
            rows.append(row)
            misses = 0
        elif (misses := misses + 1) > MOST_MISSES:
            raise DataError(f"datasets: {n} rows wanted, the world has {len(rows)} such as {texts}; lower the number")
    rng.shuffle(rows)
    return rows


def _sampled(draw: Draw, labels: int, validation: Draw | None = None, train: str = "train") -> Maker:
    """Both splits drawn alike, unless ``validation`` is given; without a common text.

    ``train`` is the recipe's key of the size of training.
    """

    def make(world: World, recipe: Recipe, rng: random.Random) -> Splits:
        taken: set[tuple[str, ...]] = set()
        sizes = {"validation": recipe.datasets.validation, "train": getattr(recipe.datasets, train)}
        draws = {"validation": validation or draw, "train": draw}
        return {
            split: _fill(lambda label, one=draws[split]: one(world, rng, label), labels, size, taken, rng)
            for split, size in sizes.items()
        }

    return make


def _lexical(world: World, rng: random.Random, label: int) -> Row:
    cue = rng.choice((words.NEGATIVE, words.POSITIVE)[label])
    return {"sentence": corpus.sentiment(world, cue, rng), "label": label}


def _agreement(least: int, most: int) -> Draw:
    """Subject and verb so many nouns apart. Training is as near as pre-training, validation is farther."""

    def draw(world: World, rng: random.Random, label: int) -> Row:
        between = rng.randint(least, most)
        return {
            "sentence": corpus.agreement(rng, rng.randint(0, 1), between, correct=bool(label)),
            "label": label,
        }

    return draw


def _paraphrase(world: World, rng: random.Random, label: int) -> Row:
    """The same report in the same or another word order, or one that shares at most one detail."""
    first, second = corpus.event_pair(rng, _keep(len(words.EVENT_SLOTS) if label else rng.randint(0, 1), rng))
    return {"sentence1": first, "sentence2": second, "label": label}


def _similarity(world: World, rng: random.Random, label: int) -> Row:
    """Graded by the number of shared details, 0 to 5."""
    first, second = corpus.event_pair(rng, _keep(label, rng))
    return {"sentence1": first, "sentence2": second, "label": float(label)}


def _keep(n: int, rng: random.Random) -> list[bool]:
    kept = [i < n for i in range(len(words.EVENT_SLOTS))]
    rng.shuffle(kept)
    return kept


def _of_people(draw: Callable[[World, random.Random, int, Sequence[str]], Row], train: str, labels: int = 2) -> Maker:
    """Validation is about people who do not occur in training, whose size is the recipe's key ``train``."""

    def make(world: World, recipe: Recipe, rng: random.Random) -> Splits:
        people = rng.sample(world.people, len(world.people))
        middle = int(len(people) * HELD_OUT_PEOPLE)
        sizes = {"validation": recipe.datasets.validation, "train": getattr(recipe.datasets, train)}
        parts = {"validation": people[:middle], "train": people[middle:]}
        return {
            split: _fill(lambda label, part=parts[split]: draw(world, rng, label, part), labels, size, set(), rng)
            for split, size in sizes.items()
        }

    return make


def _inference(world: World, rng: random.Random, label: int, people: Sequence[str]) -> Row:
    """Does the sentence answer the question? If not, it tells the same of another person.

    Sentences that tell something else of the same person are left out: matching the few attributes was learnt by an
    untrained model too.
    """
    asked, other = rng.sample(people, 2)
    told = asked if label else other
    attribute = rng.choice(words.ATTRIBUTES)
    return {
        "question": facts.question(attribute, asked, rng),
        "sentence": facts.statement(attribute, told, world.values[told, attribute], rng),
        "label": label,
    }


def _verification(world: World, rng: random.Random, label: int, people: Sequence[str]) -> Row:
    """Is the statement true? Nothing in the sentence says so."""
    person, attribute = rng.choice(people), rng.choice(words.ATTRIBUTES)
    value = world.values[person, attribute]
    told = value if label else world.other_value(attribute, value, rng)
    return {"sentence": facts.statement(attribute, person, told, rng), "label": label}


def _two_people(world: World, rng: random.Random, label: int, people: Sequence[str]) -> Row:
    """Of which of two people is the statement true? As in WinoGrande, the sentence has a blank."""
    person, attribute = rng.choice(people), rng.choice(words.ATTRIBUTES)
    value = world.values[person, attribute]
    options = [rng.choice([other for other in people if world.values[other, attribute] != value])]
    return _blank(facts.statement(attribute, "_", value, rng), person, options, label)


def _five_values(world: World, rng: random.Random, label: int, people: Sequence[str]) -> Row:
    """Which of five values is true of the person?"""
    person, attribute = rng.choice(people), rng.choice(words.ATTRIBUTES)
    value = world.values[person, attribute]
    options = rng.sample([other for other in words.VALUES[attribute] if other != value], N_VALUES - 1)
    return _blank(facts.statement(attribute, person, "_", rng), value, options, label)


def _blank(sentence: str, right: str, options: list[str], label: int) -> Row:
    options.insert(label, right)
    return {"sentence": sentence, **{f"option{i}": option for i, option in enumerate(options, start=1)}, "label": label}


def _arithmetic(steps: int) -> Draw:
    """Word problems whose label is the result; a sum may occur in both splits, a problem may not."""
    by_result: list[list[tuple[int, ...]]] = [[] for _ in words.NUMBERS]
    for terms in corpus.all_sums(steps):
        by_result[sum(terms)].append(terms)

    def draw(world: World, rng: random.Random, label: int) -> Row:
        return {"question": corpus.problem(world, rng.choice(by_result[label]), rng), "label": label}

    return draw
