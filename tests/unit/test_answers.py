from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from simulated import calibrated, options_plan, trained, write_cells

from junkdna import bootstrap, statistics
from junkdna.answers import N_OPTIONS, OPTIONS, TEXT, Reader, log_shares
from junkdna.drops import RELATIVE, Drops, drops, read, write
from junkdna.files import DataError
from junkdna.metrics import METRICS
from junkdna.outcomes import Point, in_order, read_lots, read_outcomes, reference_of
from junkdna.predictions import write_predictions

WANTED = (TEXT, "y_pred", "y_true", OPTIONS)


def frame(ids: list[str], numbers: bool = True) -> pd.DataFrame:
    """Two variants of other examples, with two and three options."""
    parts = []
    for variant, n in (("b", 3), ("a", 2)):
        rows = pd.DataFrame({"variant": variant, "id": [f"{variant}{i}" for i in ids], "reference": "x"})
        rows["prediction"] = [f"answer {i}" for i in ids]
        rows["y_pred"] = [float(i) if numbers else np.nan for i in ids]
        rows = rows.assign(y_true=1.0, option_scores=[[0.5 * k - int(i) for k in range(n)] for i in ids])
        parts.append(rows.assign(accuracy=[float(int(i) % 2) for i in ids], f1=[int(i) / 3 for i in ids]))
    return pd.concat(parts, ignore_index=True)


def test_columns_come_by_variant_in_the_order_of_the_ids(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", frame(["2", "0", "1"]))
    found = Reader().read(tmp_path / "p.parquet", "task", METRICS["f1"], ["accuracy", *WANTED])
    assert list(found) == ["b", "a"] and found["a"]["id"].tolist() == ["a0", "a1", "a2"]
    assert found["a"]["accuracy"].tolist() == [0, 1, 0] and found["a"]["accuracy"].dtype == np.uint8
    assert found["a"]["f1"].tolist() == [0, 1 / 3, 2 / 3]
    assert found["a"][OPTIONS].tolist() == [[0, 0.5], [-1, -0.5], [-2, -1.5]]
    assert found["b"][OPTIONS].shape == (3, 3) and found["a"][N_OPTIONS].tolist() == [2, 2, 2]
    assert TEXT not in found["a"]


def test_texts_are_read_where_answers_are_no_numbers(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", frame(["2", "0"], numbers=False).assign(option_scores=None))
    found = Reader().read(tmp_path / "p.parquet", "task", METRICS["accuracy"], WANTED)["a"]
    assert found[TEXT].tolist() == ["answer 0", "answer 2"] and OPTIONS not in found


def test_cells_of_the_same_examples_share_their_ids_whatever_the_order(tmp_path: Path) -> None:
    reader, found = Reader(), []
    for number, ids in enumerate((["0", "1"], ["0", "1"], ["1", "0"], ["1", "2"])):
        write_predictions(tmp_path / f"{number}.parquet", frame(ids))
        found.append(reader.read(tmp_path / f"{number}.parquet", "task", METRICS["accuracy"])["a"])
    assert found[0]["id"] is found[1]["id"] is found[2]["id"] and found[3]["id"].tolist() == ["a1", "a2"]
    assert [one["accuracy"].tolist() for one in found] == [[0, 1], [0, 1], [0, 1], [1, 0]]


def test_ids_stored_as_in_the_cell_before_are_not_decoded_again_but_compared(tmp_path: Path, monkeypatch) -> None:
    asked, plain = [], pq.ParquetFile.read
    monkeypatch.setattr(
        pq.ParquetFile, "read", lambda self, names, **keys: asked.append(names) or plain(self, names, **keys)
    )
    reader = Reader()
    for path in (tmp_path / "0.parquet", tmp_path / "1.parquet"):
        write_predictions(path, frame(["0", "1"]))
        reader.read(path, "task", METRICS["accuracy"])
    assert asked == [["variant", "id", "accuracy"], ["accuracy"]]
    content, chunk = bytearray(path.read_bytes()), pq.ParquetFile(path).metadata.row_group(0).column(1)
    content[chunk.dictionary_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="1.parquet: cannot be read as parquet"):
        reader.read(path, "task", METRICS["accuracy"])


def test_columns_that_do_not_shrink_are_stored_as_they_are(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", frame(["2", "0", "1"]))
    group = pq.ParquetFile(tmp_path / "p.parquet").metadata.row_group(0)
    stored = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
    assert {stored[name].compression for name in ("variant", "id", "prediction", "reference")} == {"ZSTD"}
    assert {stored[name].compression for name in ("y_pred", "y_true", "accuracy")} == {"UNCOMPRESSED"}
    scores = stored["option_scores.list.element"]
    assert scores.compression == "ZSTD" and not scores.has_dictionary_page


def test_shares_of_a_single_option_leave_the_frame_as_it_is() -> None:
    one = {OPTIONS: np.array([[-3.0], [2.0]]), N_OPTIONS: np.array([1, 1])}
    assert log_shares(one).tolist() == [[0, 0]] and one[OPTIONS].tolist() == [[-3], [2]]


def test_sums_in_single_precision_are_those_in_double() -> None:
    generator = np.random.default_rng(0)
    values, ids = generator.integers(0, 256, (3, 70)).astype(np.uint8), np.array([f"{i:03}" for i in range(70)])
    assert np.array_equal(bootstrap.sums("g", ids, values), bootstrap.sums("g", ids, values.astype(float)))


def test_points_drawn_together_are_drawn_alike(tmp_path: Path) -> None:
    plan = trained(options_plan(tmp_path))
    write_cells(plan, lambda cell, variant: 0.7, examples=40)
    together, alone = read_outcomes(plan), read_outcomes(plan)
    statistics.draw(outcome.scores for outcome in together.values())
    for point, outcome in together.items():
        scores = alone[point].scores
        values = np.stack([one["accuracy"] for one in scores.frames.values()]).astype(float)
        parts = [values[:, rows].mean(2) for rows in bootstrap.resamples(scores.group, scores.ids)]
        assert np.array_equal(outcome.scores.seed_replicates, np.concatenate(parts, axis=1))
        assert np.array_equal(outcome.scores.seed_replicates, scores.seed_replicates)


@pytest.mark.parametrize("change", [trained, calibrated])
def test_what_a_point_is_compared_with_is_read_before_it(tmp_path: Path, change, monkeypatch) -> None:
    monkeypatch.setattr("junkdna.outcomes.LOT", 2)
    plan = change(options_plan(tmp_path))
    plan["cells"] = plan["cells"][::-1]
    write_cells(plan, lambda cell, variant: 0.7, examples=20)
    seen: dict[Point, object] = {}
    for lot in read_lots(plan):
        seen |= lot
        assert len(lot) <= 4 and all(reference_of(point, plan) in seen for point in lot)
    first = plan["cells"][0]
    assert next(iter(in_order(plan, seen.items()))).level == first["level"] and len(seen) == 8


def test_drops_are_written_in_parts_and_none_is_kept(tmp_path: Path, monkeypatch) -> None:
    plan = trained(options_plan(tmp_path))
    write_cells(plan, lambda cell, variant: 0.9 - 0.5 * cell["sparsity"], examples=40)
    measured = drops(plan, read_outcomes(plan))
    assert all(isinstance(found, Drops) and len(found) == 4 for found in measured.values())
    write(tmp_path / "whole.parquet", measured)
    monkeypatch.setattr("junkdna.drops.ROWS", 3)
    write(tmp_path / "parts.parquet", measured)
    whole, parts = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("whole", "parts"))
    pd.testing.assert_frame_equal(whole, parts)
    point = next(iter(measured[RELATIVE]))
    assert np.array_equal(read(tmp_path / "parts.parquet")[RELATIVE][point].values, measured[RELATIVE][point].values)
    assert measured[RELATIVE][point] is not measured[RELATIVE][point]
