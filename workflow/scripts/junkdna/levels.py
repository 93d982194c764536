"""Levels of compression: one spelling, one parser. Imported while the Snakefile is parsed, so imports little."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from junkdna.files import DataError

BITS = (2, 3, 4, 6, 8)
ALLOWED = (
    'a sparsity such as "0.50" (two decimals, a third only where it is not 0), N:M such as 2of4 (2 of 4 weights kept), '
    'bits such as 4bit (2, 3, 4, 6 or 8), a band such as "0.30to0.40", or dense'
)


class LevelError(DataError):
    """A level that does not exist; the message says what is allowed."""


@dataclass(frozen=True)
class Level:
    """One level.

    Attributes:
        text: its canonical spelling, which is also its name in paths.
        low, high: the removed weights' range in the order of magnitude; (0, s) for a sparsity.
        n, m: weights kept out of each block of m, for N:M.
        bits: bits per weight, for a quantization.
    """

    text: str
    kind: Literal["dense", "sparsity", "nm", "bits", "band"]
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)
    n: int = 0
    m: int = 0
    bits: int = 0

    @property
    def sparsity(self) -> Fraction:
        """Nominal fraction of the weights that are removed."""
        return self.high - self.low

    @property
    def sort_key(self) -> tuple[str, Fraction, Fraction, int]:
        """Order within tables and figures: by kind, then mildest first."""
        return self.kind, self.low, self.high, -self.bits


def _decimal(text: str, whole: str) -> Fraction:
    if not re.fullmatch(r"[01]\.\d\d[1-9]?", text):
        try:
            hint = (
                f"; write {float(text):.2f}" if 0 <= float(text) <= 1 and round(float(text), 3) == float(text) else ""
            )
        except ValueError:
            hint = ""
        raise LevelError(
            f"level {whole!r}: {text!r} is not a fraction with two or three decimals{hint}. Allowed: {ALLOWED}"
        )
    return Fraction(text)


def parse(text: str) -> Level:
    """Parse a level.

    Raises:
        LevelError: the text is not the canonical spelling of a possible level.
    """
    text = str(text)
    if text == "dense":
        return Level(text, "dense")
    if found := re.fullmatch(r"([1-9]\d*)of([1-9]\d*)", text):
        n, m = map(int, found.groups())
        if not n < m:
            raise LevelError(f"level {text!r}: keeps {n} of {m} weights; N must be below M. Allowed: {ALLOWED}")
        return Level(text, "nm", high=1 - Fraction(n, m), n=n, m=m)
    if found := re.fullmatch(r"(\d+)bit", text):
        if int(found[1]) not in BITS or found[1].startswith("0"):
            raise LevelError(f"level {text!r}: {found[1]} bits. Allowed: {ALLOWED}")
        return Level(text, "bits", bits=int(found[1]))
    if "to" in text:
        low, high = (_decimal(part, text) for part in text.split("to", 1))
        if not 0 <= low < high <= 1:
            raise LevelError(f"level {text!r}: a band needs 0.00 <= low < high <= 1.00. Allowed: {ALLOWED}")
        return Level(text, "band", low=low, high=high)
    sparsity = _decimal(text, text)
    if not 0 < sparsity < 1:
        raise LevelError(f"level {text!r}: a sparsity lies between 0 and 1, both excluded. Allowed: {ALLOWED}")
    return Level(text, "sparsity", high=sparsity)
