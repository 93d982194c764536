"""One spelling per level, and errors that say what is allowed."""

from __future__ import annotations

from fractions import Fraction

import pytest

from junkdna.levels import LevelError, parse


@pytest.mark.parametrize(
    ("text", "kind", "sparsity"),
    [
        ("dense", "dense", 0),
        ("0.50", "sparsity", Fraction(1, 2)),
        ("0.125", "sparsity", Fraction(1, 8)),
        ("7of8", "nm", Fraction(1, 8)),
        ("2of4", "nm", Fraction(1, 2)),
        ("4bit", "bits", 0),
        ("0.30to0.40", "band", Fraction(1, 10)),
        ("0.90to1.00", "band", Fraction(1, 10)),
    ],
)
def test_levels(text: str, kind: str, sparsity: Fraction) -> None:
    level = parse(text)
    assert (level.text, level.kind, level.sparsity) == (text, kind, sparsity)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1.2", "two or three decimals"),
        ("1.20", "between 0 and 1"),
        ("0.00", "between 0 and 1"),
        ("1.00", "between 0 and 1"),
        ("0.5", "write 0.50"),
        ("0.120", "write 0.12"),
        ("0.1234", "two or three decimals"),
        ("-0.50", "two or three decimals"),
        ("9of8", "keeps 9 of 8"),
        ("4of4", "keeps 4 of 4"),
        ("0of4", "two or three decimals"),
        ("5bit", "5 bits"),
        ("0.40to0.30", "low < high"),
        ("0.3to0.4", "write 0.30"),
        ("half", "two or three decimals"),
        ("", "two or three decimals"),
    ],
)
def test_impossible_levels(text: str, says: str) -> None:
    with pytest.raises(LevelError) as caught:
        parse(text)
    assert says in str(caught.value) and repr(text) in str(caught.value) and "2of4" in str(caught.value)


def test_order_is_mildest_first() -> None:
    texts = ["0.90", "0.10", "1of8", "7of8", "dense", "2bit", "8bit"]
    ordered = sorted(texts, key=lambda text: parse(text).sort_key)
    assert ordered == ["8bit", "2bit", "dense", "7of8", "1of8", "0.10", "0.90"]
