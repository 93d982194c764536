from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from junkdna import tasks
from junkdna.catalog import Task, Variant
from junkdna.config import read_catalog
from junkdna.files import DataError
from support import MIRROR, PROJECT, needs_mirror

CHOICES = ["w1", "w2", "w3", "w4", "None", "7"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"sentence": f"w{i}", "label": i % 2} for i in range(20)]
    tiny.save_rows(tmp_path, "default", "train", rows)
    tiny.save_rows(tmp_path, "default", "validation", rows)
    for subject in ("law", "art"):
        asked = [{"id": f"{subject}-{i}", "question": f"w{i}", "choices": CHOICES, "answer": i % 6} for i in range(12)]
        for split in ("train", "validation"):
            tiny.save_rows(tmp_path, subject, split, [{**row, "id": f"{split}-{row['id']}"} for row in asked])
    return tmp_path


def options(**changes) -> Task:
    return tiny.task("multiple_choice", **({"configs": ["law", "art"]} | changes))


def test_fractions_of_the_training_data_are_nested(folder: Path) -> None:
    task = tiny.task("classification", train_limit=10)
    small, large = (tasks.training_questions(folder, task, fraction) for fraction in (0.3, 1.0))
    assert [q.texts[0] for q in small] == ["w0", "w1", "w2"]
    assert len(large) == 10 and large[:3] == small


def test_samples_are_seeded_and_do_not_depend_on_other_rows(folder: Path) -> None:
    limited = options(evaluate_limit=5)
    found = [q.id for q in tasks.questions(folder, limited, Variant())]
    everything = [q.id for q in tasks.questions(folder, options(), Variant())]
    assert len(found) == 5 and found == [name for name in everything if name in found]
    assert found == [q.id for q in tasks.questions(folder, limited, Variant(n_options=2))]
    assert found != everything[:5]


def test_shots_are_prefixes_and_of_the_same_configuration(folder: Path) -> None:
    task = options(separator=" | ")
    one, two = (tasks.questions(folder, task, Variant(shots=k)) for k in (1, 2))
    assert one[0].texts[0] == "question : w0 answer : w1 | question : w0 answer :"
    assert two[0].texts[0].startswith("question : w0 answer : w1 | question : w1 answer : w2 | ")
    same = options(demonstration_split="validation")
    asked = tasks.questions(folder, same, Variant(shots=1))
    assert asked[0].texts[0].startswith("question : w1 answer :"), "a question must not demonstrate itself"
    with pytest.raises(DataError, match="12 demonstrations, 13 are asked"):
        tasks.questions(folder, task, Variant(shots=13))


def test_rows_without_an_id_may_have_the_number_of_a_demonstration(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        rows = [{"question": f"{split}{i}", "choices": CHOICES, "answer": 0} for i in range(3)]
        tiny.save_rows(tmp_path, "default", split, rows)
    asked = tasks.questions(tmp_path, options(configs=["default"], separator=" | "), Variant(shots=3))
    demonstrations = " | ".join(f"question : train{i} answer : w1" for i in range(3))
    assert [q.texts[0] for q in asked] == [f"{demonstrations} | question : validation{i} answer :" for i in range(3)]


def test_fewer_options_are_a_subset_that_keeps_the_answer_and_the_order(folder: Path) -> None:
    listed = options(option="{letter} : {choice}", cue="\nanswer :", scoring="letter")
    previous: dict[str, set[str]] = {}
    for n in (2, 3, 6):
        for q in tasks.questions(folder, listed, Variant(n_options=n)):
            assert q.options == tuple(f" {letter}" for letter in "ABCDEF"[:n])
            assert q.shown[int(q.target)] == CHOICES[int(q.id.split("-")[2]) % 6]
            assert list(q.shown) == [choice for choice in CHOICES if choice in q.shown]
            assert previous.get(q.id, set()) <= set(q.shown)
            assert q.texts[0].endswith(f"\n{'ABCDEF'[n - 1]} : {q.shown[-1]}\nanswer :")
            previous[q.id] = set(q.shown)
    kept = {q.shown for q in tasks.questions(folder, listed, Variant(n_options=2))}
    assert len(kept) > 5, "distractors are drawn per question"
    with pytest.raises(DataError, match="n_options: 7"):
        tasks.questions(folder, listed, Variant(n_options=7))


def test_a_question_with_options_can_be_answered_freely(folder: Path) -> None:
    free = tiny.task("generation", configs=["law"], choices="choices")
    chosen, asked = (tasks.questions(folder, task, Variant()) for task in (options(configs=["law"]), free))
    assert [q.texts for q in asked] == [q.texts for q in chosen] and [q.id for q in asked] == [q.id for q in chosen]
    assert [q.answers for q in asked] == [(q.shown[int(q.target)],) for q in chosen]
    assert not any(q.options for q in asked)


def test_nested_columns_and_repeated_ids(tmp_path: Path) -> None:
    pages = [{"text": "page {one}", "n": 1}, {"text": "page two", "n": 2}]
    row = {"question_id": "q1", "question": "w1", "pages": pages, "answer": {"value": "w2", "aliases": ["w3", "w2"]}}
    tiny.save_rows(tmp_path, "default", "validation", [row, {**row, "pages": []}])
    task = tiny.task(
        "generation",
        prompt="{context}: {question}?",
        fields={"context": ["pages.text"]},
        context_characters=12,
        target="answer.value",
        aliases=["answer.aliases"],
    )
    first, second = tasks.questions(tmp_path, task, Variant())
    assert first.texts == ("page {one}\np: w1?",) and second.texts == (": w1?",)
    assert first.answers == ("w2", "w3")
    assert (first.id, second.id) == ("q1", "q1#2")


def test_contexts_are_cut_by_characters_then_by_tokens(tmp_path: Path) -> None:
    rows = [{"question": f"w{i}", "context": f"w1 w2 w3 w4 w5 w{i}", "answer": "w9"} for i in (6, 7)]
    for split in ("train", "validation"):
        tiny.save_rows(tmp_path, "default", split, rows)
    task = tiny.task("generation", prompt="{context} ? {question}", context_characters=11, separator=" | ")

    def words(text: str, n: int) -> str:
        return " ".join(text.split()[:n])

    def asked(**variant) -> list[str]:
        return [q.texts[0] for q in tasks.questions(tmp_path, task, Variant(**variant), words)]

    assert asked(context_tokens=2) == ["w1 w2 ? w6", "w1 w2 ? w7"]
    assert asked(context_tokens=9) == asked() == ["w1 w2 w3 w4 ? w6", "w1 w2 w3 w4 ? w7"]
    assert asked(context_tokens=0, prompt="{question}") == ["w6", "w7"] and asked(context_tokens=0)[0] == " ? w6"
    assert asked(context_tokens=1, shots=1)[0] == "w1 ? w6 w9 | w1 ? w6", "demonstrations are cut alike"
    with pytest.raises(ValueError, match=r"variants\.short\.context_tokens: its prompt has no \{context\}"):
        tiny.task("generation", variants={"short": {"context_tokens": 3}})


def test_numbers_enter_lists_and_lists_within_lists_are_flat(tmp_path: Path) -> None:
    pages = [{"text": "one", "names": [["a", "b"], ["c"]]}, {"text": "two", "names": [["d"]]}]
    row = {"question": "w1", "pages": pages, "web": ["three", "four"]}
    tiny.save_rows(tmp_path, "default", "validation", [row, {**row, "pages": []}])
    task = tiny.task(
        "generation",
        prompt="{context}: {question}?",
        fields={"context": ["web.1", "pages.text.0"]},
        target="web.0",
        aliases=["pages.names"],
    )
    tasks.check_columns(tmp_path, task, "evaluate")
    first, second = tasks.questions(tmp_path, task, Variant())
    assert (first.texts, second.texts) == (("four\none: w1?",), ("four: w1?",))
    assert (first.answers, second.answers) == (("three", "a", "b", "c", "d"), ("three",))


def test_the_first_rows_instead_of_a_sample(folder: Path) -> None:
    found = [q.id for q in tasks.questions(folder, options(evaluate_limit=5, evaluate_first=True), Variant())]
    assert found == [f"validation-law-{i}" for i in range(5)]


def test_layouts_of_the_hub(folder: Path) -> None:
    task = tiny.task("classification")
    before = tasks.questions(folder, task, Variant())
    (folder / "default").rename(folder / "data")
    assert tasks.questions(folder, task, Variant()) == before
    (folder / "data/validation").mkdir()
    (folder / "data/validation-00000-of-00001.parquet").rename(folder / "data/validation/0000.parquet")
    assert tasks.questions(folder, task, Variant()) == before


def test_where_selects_rows(folder: Path) -> None:
    found = tasks.questions(folder, options(), Variant(where={"answer": 3}))
    assert {q.target for q in found} == {3.0} and len(found) == 4
    with pytest.raises(DataError, match="no row with {'answer': 9}"):
        tasks.questions(folder, options(), Variant(where={"answer": 9}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "gold"}, r"law/validation-00000-of-00001.parquet: no column 'gold'; there are answer, choices, id"),
        ({"configs": ["physics"]}, "no configuration 'physics'; there are art, default, law"),
        ({"evaluate_split": "test"}, "law: no split 'test'; there are train, validation"),
        ({"prompt": "{context} {question}"}, "no column 'context'"),
        ({"variants": {"hard": {"where": {"level": 3}}}}, "no column 'level'"),
        ({"variants": {"k": {"shots": 1}}, "demonstration_split": "dev"}, "no split 'dev'"),
    ],
)
def test_what_is_missing_is_named_before_any_work(folder: Path, changes: dict, message: str) -> None:
    task = options(**({"configs": ["law"]} | changes))
    with pytest.raises(DataError, match=message):
        tasks.check_columns(folder, task, "evaluate")


def test_bad_labels_and_truncated_files(folder: Path) -> None:
    task = tiny.task("classification", n_classes=2)
    tiny.save_rows(folder, "default", "train", [{"sentence": "w1", "label": 2}])
    with pytest.raises(DataError, match="label: 2: 0 to 1 is expected"):
        tasks.training_questions(folder, task, 1.0)
    file = folder / "default/train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match="train-00000-of-00001.parquet: truncated or not parquet"):
        tasks.check_columns(folder, task, "train")


@needs_mirror
def test_the_hubs_columns_are_read_as_they_are() -> None:
    catalog = read_catalog([PROJECT / "config/catalog", PROJECT / "config/catalog/real"])
    found = {}
    for name in ("cola", "sst2", "mmlu", "triviaqa"):
        task = catalog.tasks[name]
        folder = MIRROR / "datasets" / catalog.datasets[task.dataset].id
        tasks.check_columns(folder, task, "evaluate")
        found[name] = tasks.questions(folder, task, next(iter(task.variants.values())))
    assert {name: len(rows) for name, rows in found.items()} == {"cola": 1043, "sst2": 872, "mmlu": 545, "triviaqa": 11}
    assert len({q.id for q in found["triviaqa"]}) == 11
    assert all(isinstance(choice, str) for q in found["mmlu"] for choice in q.shown)
    alvin = found["triviaqa"][0]
    assert alvin.texts[0].startswith("Context: Alvin and the Chipmunks (2007) - IMDb\n")
    assert alvin.answers[0] == "David Seville"
    task = catalog.tasks["wikitext2"]
    assert tasks.texts(MIRROR / "datasets/Salesforce/wikitext", task)[1] == " = Robert <unk> = \n"
