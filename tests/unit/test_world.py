"""The micro-world: the same recipe gives the same bytes, the answers are right, the splits are apart."""

from __future__ import annotations

import copy
import hashlib
import math
import random
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from junkdna.config import read_catalog
from junkdna.files import DataError
from junkdna.world import corpus, facts, languages, words
from junkdna.world.datasets import write_datasets
from junkdna.world.facts import make_world
from junkdna.world.recipe import read_recipe
from junkdna.world.tokenizer import make_tokenizer

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "resources" / "organisms" / "recipe.yaml"
DECODER = ["closed_book", "open_book", "evidence", "multiple_choice", *(f"k_shot_{name}" for name in words.ATTRIBUTES)]
CORPORA = [f"corpus_{name}" for name in yaml.safe_load(RECIPE.read_text())["organisms"]]
PAIRS = [languages.MAJORITY, languages.MINORITY]
GENERALISING = [
    "lexical",
    "agreement",
    "paraphrase",
    "similarity",
    "inference",
    "verification",
    "two_people",
    "five_values",
    "one_step",
    "two_step",
]


@pytest.fixture(scope="module")
def recipe():
    return read_recipe(RECIPE)


@pytest.fixture(scope="module")
def world(recipe):
    return make_world(recipe.world, recipe.seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("world") / "datasets"
    write_datasets(RECIPE, path)
    return path


def read(folder: Path, config: str, split: str = "validation") -> pd.DataFrame:
    return pd.read_parquet(folder / config / f"{split}-00000-of-00001.parquet")


def statements(world) -> set[str]:
    """Every way to state a fact of the world."""
    return {
        template.format(person=person, value=value)
        for (person, attribute), value in world.values.items()
        for template in words.STATEMENTS[attribute]
    }


def digests(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.parquet"))
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def texts(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    options = [f"option{number}" for number in range(1, 6)]
    columns = [c for c in ("sentence", "sentence1", "sentence2", "question", "context", *options) if c in frame]
    return list(frame[columns].itertuples(index=False, name=None))


def test_same_recipe_same_bytes_other_seed_other_world(folder: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(RECIPE.read_text())
    write_datasets(content, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(folder)
    write_datasets({**content, "seed": content["seed"] + 1}, tmp_path / "other")
    assert not set(digests(tmp_path / "other").values()) & set(digests(folder).values())


def test_every_configuration_is_there(folder: Path, recipe) -> None:
    assert {path.name for path in folder.iterdir()} == {*DECODER, *GENERALISING, *PAIRS, *CORPORA}
    for config in CORPORA:
        assert len(read(folder, config, "train")) == recipe.datasets.corpus
    assert len(read(folder, "closed_book")) == 4 * (recipe.world.head + recipe.world.tail)
    for config in GENERALISING:
        key = f"{config}_train" if config in ("agreement", "verification") else "train"
        key = "options_train" if config in ("two_people", "five_values") else key
        assert len(read(folder, config, "train")) == getattr(recipe.datasets, key)
        assert len(read(folder, config)) == recipe.datasets.validation


def test_ids_are_unique(folder: Path) -> None:
    for path in folder.rglob("*.parquet"):
        frame = pd.read_parquet(path)
        key = ["id", "n_facts"] if "n_facts" in frame else ["id"]
        assert not frame.duplicated(key).any(), path


@pytest.mark.parametrize("config", GENERALISING)
def test_validation_is_disjoint_from_training(folder: Path, config: str) -> None:
    train, validation = texts(read(folder, config, "train")), texts(read(folder, config))
    assert not set(train) & set(validation)
    assert len(set(train)) == len(train)
    assert len(set(validation)) == len(validation)


@pytest.mark.parametrize("config", ["inference", "verification", "two_people", "five_values"])
def test_people_of_validation_are_unseen_in_training(folder: Path, world, config: str) -> None:
    mentioned = [
        {word for row in texts(read(folder, config, split)) for text in row for word in text.split()}
        & set(world.people)
        for split in ("train", "validation")
    ]
    assert mentioned[0] and mentioned[1] and not mentioned[0] & mentioned[1]


@pytest.mark.parametrize("config", ["one_step", "two_step"])
def test_sums_are_right(folder: Path, config: str) -> None:
    def terms(text: str) -> tuple[int, ...]:
        signs = {"plus": 1, "gets": 1, "minus": -1, "loses": -1}
        sign, found = 1, []
        for word in text.split():
            sign = signs.get(word, sign)
            if word in words.NUMBERS:
                found.append(sign * words.NUMBERS.index(word))
        return tuple(found)

    for split in ("train", "validation"):
        frame = read(folder, config, split)
        sums = frame["question"].map(terms)
        assert (sums.map(sum) == frame["label"]).all()
        assert set(sums.map(len)) == {2 if config == "one_step" else 3}


def test_labels_are_balanced(folder: Path) -> None:
    for config in GENERALISING:
        for split in ("train", "validation"):
            counts = read(folder, config, split)["label"].value_counts()
            assert counts.max() - counts.min() <= 1, config


def test_closed_book_answers_are_the_facts(folder: Path, world) -> None:
    frame = read(folder, "closed_book")
    for row in frame.itertuples():
        person, attribute = row.id.split("-")
        assert row.answer == world.values[person, attribute] and list(row.aliases) == [row.answer]
        assert row.question in [q.format(person=person) for q in words.QUESTIONS[attribute]]
    ranks = frame["id"].map(lambda name: world.people.index(name.split("-")[0]))
    assert ranks[frame.group == "head"].max() < ranks[frame.group == "tail"].min()


def test_open_book_contradicts_memory_and_answers_once(folder: Path, world, recipe) -> None:
    frame = read(folder, "open_book")
    assert sorted(frame.n_facts.unique()) == recipe.datasets.context_facts
    for row in frame.itertuples():
        sentences = [s for s in row.context.split(" .") if s]
        person = next(word for word in row.question.split() if word in world.people)
        attribute = next(a for a in words.ATTRIBUTES if row.answer in words.VALUES[a])
        assert row.question in [q.format(person=person) for q in words.QUESTIONS[attribute]]
        stated = [t.format(person=person, value=row.answer) for t in words.STATEMENTS[attribute]]
        assert len(sentences) == row.n_facts
        assert sum(s.strip() in stated for s in sentences) == 1
        assert row.answer != world.values[person, attribute]
    assert frame.groupby("id")["question"].nunique().eq(1).all()
    assert frame.groupby("id")["answer"].nunique().eq(1).all()


def test_evidence_tells_all_of_the_asked_person_and_is_the_rarer_the_shorter(folder: Path, world, recipe) -> None:
    frame = read(folder, "evidence")
    assert frame["id"].is_unique and len(frame) == recipe.datasets.evidence
    for row in frame.itertuples():
        person, attribute = row.id.split("-")
        assert row.answer == world.values[person, attribute] and person in row.question.split()
        told = {
            name: [s for s in row.context.split(" .") if s.strip() in _statements(world, person, name)]
            for name in words.ATTRIBUTES
        }
        assert all(len(found) == 1 for found in told.values())
    contexts = frame["context"].str.split()
    assert contexts.map(len).max() <= 32
    for n in (32, 24, 16, 8, 0):
        kept = [row.answer in context[:n] for row, context in zip(frame.itertuples(), contexts, strict=True)]
        assert recipe.true_difficulty[f"evidence_{n}"] == pytest.approx(1 - sum(kept) / len(kept), abs=0.005)


def _statements(world, person: str, attribute: str) -> list[str]:
    return [t.format(person=person, value=world.values[person, attribute]) for t in words.STATEMENTS[attribute]]


def test_options_hold_the_fact_once(folder: Path, world) -> None:
    for config in DECODER[3:]:
        frame = read(folder, config)
        for row in frame.itertuples():
            person, attribute = row.id.split("-")
            assert len(set(row.choices)) == len(row.choices) == 8
            assert row.choices[row.answer] == world.values[person, attribute]
            same = sum(choice in words.VALUES[attribute] for choice in row.choices)
            assert same == (8 if config == "multiple_choice" else 2)
            facts_of_person = {world.values[person, name] for name in words.ATTRIBUTES}
            assert len(facts_of_person & set(row.choices)) == 1
        assert frame["answer"].nunique() == 8


def test_demonstrations_are_about_others(folder: Path) -> None:
    for config in DECODER[4:]:
        assert not set(read(folder, config, "train")["id"]) & set(read(folder, config)["id"])


def test_verification_labels_are_the_truth(folder: Path, world) -> None:
    true = statements(world)
    for split in ("train", "validation"):
        frame = read(folder, "verification", split)
        assert (frame["sentence"].isin(true) == (frame["label"] == 1)).all()


@pytest.mark.parametrize(("config", "options"), [("two_people", 2), ("five_values", 5)])
def test_one_option_makes_the_statement_true(folder: Path, world, config: str, options: int) -> None:
    true = statements(world)
    for split in ("train", "validation"):
        frame = read(folder, config, split)
        assert set(frame["label"]) == set(range(options))
        for row in frame.to_dict("records"):
            filled = [row["sentence"].replace("_", row[f"option{i + 1}"]) for i in range(options)]
            assert [text in true for text in filled] == [i == row["label"] for i in range(options)]


def test_agreement_is_of_the_first_noun_and_the_verb(folder: Path) -> None:
    noun_number = {noun: number for pair in words.NOUNS for number, noun in enumerate(pair)}
    verb_number = {verb: number for pair in words.VERBS for number, verb in enumerate(pair)}
    # Validation is farther apart than training and pre-training.
    for split, distances in {"train": {0, 1, 2, 3}, "validation": {4, 5}}.items():
        between = set()
        for row in read(folder, "agreement", split).itertuples():
            tokens = row.sentence.split()
            at = next(i for i, token in enumerate(tokens) if token in verb_number)
            # The subject is the first noun whose article no preposition precedes.
            subject = 1 if tokens[0] == "the" else 4
            assert (noun_number[tokens[subject]] == verb_number[tokens[at]]) == bool(row.label)
            between.add(sum(token in noun_number for token in tokens[subject + 1 : at]))
        assert between == distances


def test_inference_answers_if_it_is_about_the_person(folder: Path, world) -> None:
    for split in ("train", "validation"):
        for row in read(folder, "inference", split).itertuples():
            asked, told = (
                next(word for word in text.split() if word in world.people) for text in (row.question, row.sentence)
            )
            assert (asked == told) == bool(row.label)
            (about,) = [
                name
                for name in words.ATTRIBUTES
                if row.question in [q.format(person=asked) for q in words.QUESTIONS[name]]
            ]
            value = world.values[told, about]
            assert row.sentence in [t.format(person=told, value=value) for t in words.STATEMENTS[about]]


def test_no_input_of_the_encoder_is_cut(folder: Path) -> None:
    tasks = read_catalog([ROOT / "config" / "catalog"]).tasks
    for config in GENERALISING:
        for split in ("train", "validation"):
            # Every word is a token; one more after each text and one before all.
            lengths = [len(" ".join(row).split()) + len(row) + 1 for row in texts(read(folder, config, split))]
            assert max(lengths) <= tasks[config].training.max_length, config


def test_similarity_counts_shared_details(folder: Path, world) -> None:
    details = {*words.NUMBERS, *words.EVENT_VERBS, *(w for v in words.VALUES.values() for w in v)}
    for row in read(folder, "similarity").itertuples():
        shared = set(row.sentence1.split()) & set(row.sentence2.split()) & details
        assert len(shared) == row.label


def test_tokenizer_knows_every_word(folder: Path, world) -> None:
    tokenizer = make_tokenizer(world.vocabulary, "encoder", 40)
    for path in folder.rglob("*.parquet"):
        frame = pd.read_parquet(path)
        rows = [" ".join(row).replace("_ ", "") for row in texts(frame)]  # options fill the blank
        rows += [" ".join(row) for row in frame.get("choices", [])]
        ids = tokenizer(rows)["input_ids"]
        assert tokenizer.unk_token_id not in {i for row in ids for i in row}, path
    assert tokenizer("zebra")["input_ids"][1] == tokenizer.unk_token_id


def test_tokenizers_frame_texts(world) -> None:
    encoder = make_tokenizer(world.vocabulary, "encoder", 40)
    pair = encoder.convert_ids_to_tokens(encoder("what is one ?", "zero .")["input_ids"])
    assert pair == ["<s>", "what", "is", "one", "?", "</s>", "zero", ".", "</s>"]
    decoder = make_tokenizer(world.vocabulary, "decoder", 128)
    ids = decoder("question : what ?")["input_ids"]
    assert decoder.convert_ids_to_tokens(ids) == ["<s>", "question", ":", "what", "?"]
    assert decoder.decode(decoder("a paris")["input_ids"], skip_special_tokens=True) == "a paris"


def test_corpus_documents_are_seeded_and_known(recipe, world) -> None:
    for part in (part for part in recipe.organisms.values() if part.kind != "seq2seq"):
        mix = part.stages[-1].mix
        streams = [corpus.Corpus(world, mix, part.uniform_people, seed) for seed in (1, 1, 2)]
        first, again, other = ([stream.draw().words for _ in range(300)] for stream in streams)
        assert first == again != other
        unknown = {word for document in first for word in document} - {*world.vocabulary, corpus.SEPARATOR}
        assert not unknown


def test_pairs_say_the_same_in_each_language(folder: Path, recipe) -> None:
    made = languages.Languages(recipe.languages, recipe.seed)
    for split, size in (("train", recipe.languages.train), ("validation", recipe.languages.validation)):
        both = [read(folder, language, split) for language in PAIRS]
        assert len(both[0]) == size and both[0][["id", "pivot"]].equals(both[1][["id", "pivot"]])
        assert not (both[0]["other"] == both[1]["other"]).any()
        # The grammar of the two is one: word for word, a lexicon turns one into the other.
        lexicons = (made.lexicons[language].words for language in PAIRS)
        exchange = dict(zip(*lexicons, strict=True)) | {".": "."}
        told = [" ".join(map(exchange.get, text.split())) for text in both[0]["other"]]
        assert told == both[1]["other"].tolist()
    train, validation = (set(read(folder, PAIRS[0], split)["pivot"]) for split in ("train", "validation"))
    assert len(train) == recipe.languages.train and not train & validation


def test_a_sentence_in_each_language(recipe) -> None:
    made = languages.Languages(recipe.languages, recipe.seed)
    dog, bird, tower = (languages.Noun(0, 3, True), languages.Noun(1, None, False), languages.Noun(2, None, True))
    meaning = languages.Meaning(dog, 5, True, bird, (1, tower))
    pivot, other = made.lexicons[languages.PIVOT], made.lexicons[languages.MINORITY]
    (one, some), (_, did) = pivot.numbers, pivot.tenses
    expected = [some, pivot.adjectives[3], pivot.nouns[0], did, pivot.verbs[5], one, pivot.nouns[1]]
    expected += [pivot.relations[1], some, pivot.nouns[2], "."]
    assert made.say(meaning, languages.PIVOT).split() == expected
    one, some = other.numbers
    expected = [other.nouns[2], some, other.relations[1], other.nouns[0], other.adjectives[3], some]
    # The verb's mark: past, and several dogs.
    expected += [other.nouns[1], one, other.verbs[5], other.tenses[3], "."]
    assert made.say(meaning, languages.MINORITY).split() == expected
    with pytest.raises(DataError, match="more than 4900 words wanted; lower nouns"):
        languages.Languages(recipe.languages.model_copy(update={"nouns": 2000}), 0)
    alone = [word for lexicon in made.lexicons.values() for word in lexicon.words]
    assert len(set(alone)) == len(alone) == len(made.vocabulary) - 4


def test_pretraining_pairs_are_nine_to_one(recipe) -> None:
    made = languages.Languages(recipe.languages, recipe.seed)
    streams = [languages.Pairs(made, {"translate": 0.5, "denoise": 0.5}, seed) for seed in (1, 1, 2)]
    first, again, other = ([stream.draw() for _ in range(4000)] for stream in streams)
    assert first == again != other
    codes = languages.CODES
    counts = Counter((source[-1], target[-1]) for source, target in first)
    majority, minority = (
        sum(n for pair, n in counts.items() if codes[language] in pair) for language in (PAIRS[0], PAIRS[1])
    )
    assert minority / (majority + minority) == pytest.approx(recipe.languages.minority, rel=0.15)
    assert (codes["majority"], codes["minority"]) not in counts
    noise = [(s, t) for s, t in first if s[-1] == t[-1]]
    assert len(noise) / 4000 == pytest.approx(0.5, abs=0.03)
    masked = [word == "<mask>" for source, _ in noise for word in source[:-2]]
    assert sum(masked) / len(masked) == pytest.approx(recipe.languages.noise, abs=0.02)
    assert all(a in ("<mask>", b) for source, target in noise for a, b in zip(source, target, strict=True))
    for source, target in first[:300]:
        assert source[-2] == target[-2] == "</s>" and not set(target) - {*made.vocabulary, "</s>"}
    with pytest.raises(DataError, match="unknown kind of document poem; allowed are translate, denoise"):
        languages.Pairs(made, {"poem": 1.0}, 0)


def test_frequency_follows_zipf(recipe, world) -> None:
    rng = random.Random(0)
    drawn = [world.draw_person(rng) for _ in range(20000)]
    assert drawn.count(world.people[0]) / 20000 == pytest.approx(world.frequency(0), rel=0.1)
    assert world.frequency(0) / world.frequency(9) == pytest.approx(10**recipe.world.zipf_exponent)
    assert sum(world.frequency(rank) for rank in range(len(world.people))) == pytest.approx(1)
    assert facts.statement("home", "a", "b", rng) in ("a lives in b", "the home of a is in b")


def test_true_difficulty_of_head_and_tail_is_their_rarity(recipe, world) -> None:

    n = recipe.world
    head = sum(world.frequency(rank) for rank in range(n.head)) / n.head
    tail = sum(world.frequency(rank) for rank in range(n.people - n.tail, n.people)) / n.tail
    assert recipe.true_difficulty["closed_book_head"] == pytest.approx(-math.log10(head), abs=0.005)
    assert recipe.true_difficulty["closed_book_tail"] == pytest.approx(-math.log10(tail), abs=0.005)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 1}, "sed"),
        ({"world": {"people": 999}}, "people"),
        ({"world": {"head": 150, "tail": 60}}, "overlap"),
        ({"datasets": {"train": 0}}, "datasets.train"),
        ({"datasets": {"verification_train": 9000}}, "lower the number"),
    ],
)
def test_a_bad_recipe_is_an_error_that_names_it(tmp_path: Path, change: dict, message: str) -> None:
    content = copy.deepcopy(yaml.safe_load(RECIPE.read_text()))
    for key, value in change.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    with pytest.raises(DataError, match=message):
        write_datasets(content, tmp_path / "world")
    assert not (tmp_path / "world").exists()


def test_a_missing_recipe_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.yaml"):
        write_datasets(tmp_path / "absent.yaml", tmp_path / "world")
