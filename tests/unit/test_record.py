"""The record of a run gives back its cells, exactly but for the scores of options, and says what it does not hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from junkdna import record, recording
from junkdna.catalog import Catalog
from junkdna.config import read_catalog
from junkdna.files import DataError, read_json, write_json
from junkdna.grid import Cell
from junkdna.predictions import write_predictions
from support import PROJECT

HEAD = [
    Cell("organism-encoder", method, level, transfer, "lexical", "0.50", str(seed))
    for method, level, transfer in (("dense", "dense", "dense"), ("magnitude", "0.50", "sparse"))
    for seed in (0, 1)
]
ASKED = [
    Cell("organism-decoder", "dense", "dense", "none", "options"),
    Cell("organism-decoder", "wanda", "0.50", "none", "options", calibration="1"),
    Cell("organism-decoder-untrained", "dense", "dense", "none", "options"),
]
FREE = [Cell("organism-decoder", *state, "none", "closed_book") for state in (("dense", "dense"), ("random", "0.50"))]
CELLS = sorted([*HEAD, *ASKED, *FREE])
ANSWERS = ["", 'a, "b"', "two\nlines", "naïve \u2013", "0.50", "none"]
EXAMPLES = 60


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog([PROJECT / "config/catalog"])


def frame(cell: Cell) -> pd.DataFrame:
    """Predictions of one kind of task, with what is hard to keep: empty texts, NaN, lists of several lengths."""
    draw = np.random.default_rng(abs(CELLS.index(cell)))
    ids = [f"{cell.task}-{i:03}" for i in range(EXAMPLES)]
    base = pd.DataFrame({"variant": ["few" if i < 40 else "all" for i in range(EXAMPLES)], "id": ids})
    if cell.task == "closed_book":
        texts = [ANSWERS[i] for i in draw.integers(0, len(ANSWERS), EXAMPLES)]
        base = base.assign(prediction=texts, reference="a", y_pred=np.nan, y_true=np.nan, option_scores=None)
        return base.assign(exact_match=0.0, f1=draw.random(EXAMPLES).round(6), contains=draw.integers(0, 2, EXAMPLES))
    sizes = [2 if cell.task == "lexical" or i < 40 else 8 for i in range(EXAMPLES)]
    scores = [draw.normal(-4, 3, size).round(6).tolist() for size in sizes]
    guess = np.array([np.argmax(s) for s in scores], dtype=float)
    truth = np.arange(EXAMPLES) % 2.0
    base = base.assign(prediction=guess.astype(int).astype(str), reference=truth.astype(int).astype(str))
    return base.assign(y_pred=guess, y_true=truth, option_scores=scores, accuracy=(guess == truth).astype(float))


def write_run(results: Path) -> None:
    """The files of a finished run that a record is made of."""
    for number, cell in enumerate(CELLS):
        folder = results / "evaluate" / cell.path
        predicted = frame(cell)
        write_predictions(folder / "predictions.parquet", predicted)
        value = float(predicted[predicted.columns[-1]].mean())
        variants = {name: {"n_examples": 20, "chance": 0.5, "metrics": {"accuracy": value}} for name in ("few", "all")}
        named = {"schema": 1, "seed": None, "model": cell.model, "task": cell.task}
        write_json(folder / "metrics.json", named | {"variants": variants})
        about = {"git_commit": "0123", "seconds": 0.1 + number, "versions": {"torch": "2.13.0"}, "params": {}}
        about |= {"device": "cpu", "threads": "1", "peak_memory_mb": 480.5}
        write_json(folder / "provenance.json", about)
        if cell.trained:
            tuned = results / "finetune" / cell.state
            named = {"task": cell.task, "fraction": cell.fraction, "seed": int(cell.seed), "steps": 7}
            write_json(tuned / "manifest.json", named | {"examples": 400, "loss_curve": [{"loss": 1.0}]})
            write_json(tuned / "provenance.json", about)
    for name in ("encoder", "decoder"):
        manifest = {"path": str(PROJECT / f"resources/organisms/{name}"), "files": {"model.safetensors": "00"}}
        write_json(results / f"sources/models/organism-{name}/manifest.json", manifest)


@pytest.fixture
def packed(tmp_path: Path, catalog: Catalog) -> Path:
    write_run(tmp_path / "run")
    recording.pack(tmp_path / "run", CELLS, catalog, tmp_path / "record")
    return tmp_path / "record"


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_cells_come_back_exactly_but_for_the_scores(packed: Path, tmp_path: Path, catalog: Catalog) -> None:
    record.check(packed, CELLS, record.definitions(CELLS, catalog))
    recording.unpack(packed, CELLS, tmp_path / "again")
    for cell in CELLS:
        was, now = (tmp_path / run / "evaluate" / cell.path for run in ("run", "again"))
        for file in ("metrics.json", "provenance.json"):
            assert (was / file).read_bytes() == (now / file).read_bytes()
        old, new = (pd.read_parquet(folder / "predictions.parquet") for folder in (was, now))
        scores = "option_scores"
        pd.testing.assert_frame_equal(old.drop(columns=scores), new.drop(columns=scores), check_exact=True)
        assert list(old) == list(new)
        for one, other in zip(old[scores], new[scores], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(one - one[0], other, rtol=0, atol=0.50001 * 10**-record.SCORE_DECIMALS)


def test_equal_runs_give_equal_bytes_and_so_does_an_unpacked_one(
    packed: Path, tmp_path: Path, catalog: Catalog
) -> None:
    recording.pack(tmp_path / "run", CELLS, catalog, tmp_path / "twice")
    assert content(tmp_path / "twice") == content(packed)
    recording.unpack(packed, CELLS, tmp_path / "run")
    recording.pack(tmp_path / "run", CELLS, catalog, tmp_path / "thrice")
    assert content(tmp_path / "thrice") == content(packed)
    assert set(content(packed)) == set(record.files(CELLS))


def test_an_answer_takes_four_bytes(packed: Path) -> None:
    # 117 cells of 500 examples of a real run: 2.8 bytes. Here, all is noise.
    size = (packed / record.predictions_file("lexical")).stat().st_size
    assert size < 1000 + 4 * EXAMPLES * len(HEAD)


def test_part_of_a_record_can_be_unpacked(packed: Path, tmp_path: Path) -> None:
    recording.unpack(packed, CELLS[-1:], tmp_path / "again")
    assert len(list((tmp_path / "again").rglob("metrics.json"))) == 1
    assert read_json(tmp_path / "again/evaluate" / record.MARK) == read_json(packed / record.MANIFEST)


def test_a_cell_without_predictions_stays_one(tmp_path: Path, catalog: Catalog) -> None:
    write_run(tmp_path / "run")
    path = f"evaluate/{HEAD[3].path}/predictions.parquet"
    write_predictions(tmp_path / "run" / path, frame(HEAD[3]).drop(columns="accuracy").head(0))
    recording.pack(tmp_path / "run", CELLS, catalog, tmp_path / "record")
    recording.unpack(tmp_path / "record", CELLS, tmp_path / "again")
    empty = pd.read_parquet(tmp_path / "again" / path)
    assert len(empty) == 0 and list(empty) == list(frame(HEAD[0]))
    other = f"evaluate/{HEAD[2].path}/predictions.parquet"
    assert len(pd.read_parquet(tmp_path / "again" / other)) == EXAMPLES


def test_the_manifest_says_what_was_run(packed: Path) -> None:
    manifest = read_json(packed / record.MANIFEST)
    assert manifest["cells"] == len(CELLS) and manifest["git_commits"] == ["0123"]
    encoder = manifest["models"]["organism-encoder"]
    # As on the model card.
    assert encoder["parameters"] == 503_185 and 0 < encoder["token_embeddings"] < 503_185
    assert encoder["pretraining"]["step"] == 11_000
    assert set(manifest["models"]) == {"organism-encoder", "organism-decoder"}
    trainings = record.read_table(packed / record.TRAININGS)
    manifest = {"examples": 400, "steps": 7, "task": "lexical", "fraction": "0.50", "seed": 0}
    assert record.nested(trainings[0], "manifest") == manifest
    assert record.nested(trainings[0], "provenance")["versions"] == {"torch": "2.13.0"}


def test_what_a_record_does_not_hold_is_an_error(packed: Path, catalog: Catalog) -> None:
    defined = record.definitions(CELLS, catalog)
    other = replace(HEAD[3], level="0.70")
    with pytest.raises(DataError, match=rf"cells\.csv\.xz: no cell {other.path}, .*\(1 are missing, 9 are there\)"):
        record.check(packed, [*CELLS, other], defined)
    changed = json.loads(json.dumps(defined))
    changed["tasks"]["lexical"]["train"]["training"]["learning_rate"] = 0.5
    with pytest.raises(DataError, match=r"manifest\.json: tasks\.lexical\.train\.training\.learning_rate: .* 0\.5 in"):
        record.check(packed, CELLS, changed)
    with pytest.raises(
        DataError, match=r"methods\.rtn\.module: absent in the record|methods\.rtn: absent in the record"
    ):
        record.check(packed, CELLS, defined | {"methods": {"rtn": {"module": "quantization.rtn"}}})
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read"):
        record.check(packed / "nowhere", CELLS, defined)


def test_labels_may_be_edited_after_a_run(packed: Path, catalog: Catalog) -> None:
    task = catalog.tasks["lexical"].model_copy(update={"label": "Another", "human": "sst2"})
    edited = catalog.model_copy(update={"tasks": catalog.tasks | {"lexical": task}})
    record.check(packed, CELLS, record.definitions(CELLS, edited))


def test_a_damaged_record_is_an_error(packed: Path, tmp_path: Path) -> None:
    file = packed / record.predictions_file("options")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"options\.csv\.xz: missing, or not the file"):
        recording.unpack(packed, CELLS, tmp_path / "again")
    with pytest.raises(DataError, match=r"options\.csv\.xz: cannot be read"):
        record.read_rows(file)
    write_json(packed / record.MANIFEST, {"schema": 99})
    with pytest.raises(DataError, match="schema: 99: 1 is expected"):
        record.read_manifest(packed)


def test_cells_of_other_examples_are_an_error(tmp_path: Path, catalog: Catalog) -> None:
    write_run(tmp_path)
    write_predictions(tmp_path / "evaluate" / HEAD[1].path / "predictions.parquet", frame(HEAD[1]).iloc[::-1])
    with pytest.raises(DataError, match=r"other examples than in"):
        recording.pack(tmp_path, CELLS, catalog, tmp_path / "record")
