"""Word problems: numbers become slots, equations prefix expressions that have their value."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkdna import expressions, metrics
from junkdna.expressions import ExpressionError

NUMBERS = st.one_of(
    st.integers(0, 10**6).map(str), st.decimals(0, 1000, places=3, allow_nan=False).map(lambda d: f"{d:f}")
)
INFIX = st.recursive(
    NUMBERS,
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner, st.booleans()).map(
        lambda parts: f"( {parts[0]} {parts[1]} {parts[2]} )" if parts[3] else f"{parts[0]} {parts[1]} {parts[2]}"
    ),
    max_leaves=10,
)


def by_python(equation: str) -> Fraction | None:
    exact = expressions.re.sub(r"[\d.]+", lambda match: f"Fraction('{match[0]}')", equation)
    try:
        return Fraction(eval(exact, {"Fraction": Fraction}))
    except ZeroDivisionError:
        return None


@given(INFIX)
def test_values_are_pythons(equation: str) -> None:
    tokens = expressions.parse(equation)
    assert expressions.complete(tokens)
    value = expressions.evaluate(tokens, [])
    assert value == by_python(equation)
    assert expressions.parse(" ".join(tokens)) == tokens, "prefix is read as prefix"
    assert expressions.parse(equation.replace(" ", "")) == tokens
    if value is not None:
        shown = expressions.parse(expressions.infix(tokens, []))
        assert float(expressions.evaluate(shown, [])) == pytest.approx(float(value), rel=1e-9)


@given(st.lists(st.sampled_from(["+", "*", "1", "number0"]), max_size=8))
def test_complete_is_what_can_be_built(tokens: list[str]) -> None:
    def built(rest: list[str]) -> list[str] | None:
        """What is left after one expression; None if it does not end."""
        if not rest:
            return None
        if rest[0] not in expressions.OPERATORS:
            return rest[1:]
        left = built(rest[1:])
        return None if left is None else built(left)

    assert expressions.complete(tokens) == (built(tokens) == [])


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("", "not a well-formed"),
        ("3 +", "not a well-formed"),
        ("3 4", "not a well-formed"),
        ("( 3 + 4", "a bracket is not closed"),
        ("3 + 4 )", "a bracket is not opened"),
        ("+ 3", "not a well-formed"),
        ("+ ( 3 4 )", "not a well-formed"),
        ("x = 3", "'x = 3' is not understood"),
        ("2 ^ 3", r"'\^ 3' is not understood|' \^ 3' is not understood"),
    ],
)
def test_what_is_no_expression(equation: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        expressions.parse(equation)


def test_numbers_of_a_text() -> None:
    text = "Her 8th mp3 cost $1,250.50 , not 3/4 of 20% ( .5 ) in 2-3 1_000 shops."
    problem = expressions.read(text)
    assert problem.text == text
    assert [text[place:].split()[0] for place in problem.places][:2] == ["8th", "1,250.50"]
    assert list(map(float, problem.numbers)) == [8, 1250.5, 3, 4, 20, 0.5, 2, 3, 1000]


def test_placeholders_are_filled() -> None:
    for text in ("number1 of number0 on the 8th", "N_01 of N_00 on the 8th"):
        problem = expressions.read(text, ["8.0", "2.5"])
        assert problem.text == "2.5 of 8 on the 8th"
        assert (problem.places, problem.numbers) == ((0, 7, 16), (Fraction(5, 2), 8, 8))
        assert problem.names == ("number1", "number0", None)
        # The names keep the equation's meaning, though two slots have one value and the order differs.
        assert expressions.link(expressions.parse("- number0 number1"), problem, []) == ("-", "number1", "number0")
    assert expressions.read("number1", None).numbers == ()
    with pytest.raises(ExpressionError, match="number1: there are 1 numbers"):
        expressions.read("number1", ["3"])


def test_equations_become_slots_and_constants() -> None:
    problem = expressions.read("5 boxes of 5 pens, 3 lost; in percent")
    linked = expressions.link(expressions.parse("( ( 5.0 * 5.0 ) - 3.0 ) * 100 / 5"), problem, ["1", "100"])
    assert linked == ("/", "*", "-", "*", "number0", "number1", "number2", "100", "number0")
    assert expressions.evaluate(linked, problem.numbers) == 440
    assert expressions.infix(linked, problem.numbers) == "(((5 * 5) - 3) * 100) / 5"
    with pytest.raises(ExpressionError, match="7.0 is neither in the text nor one of the constants 1, 100"):
        expressions.link(expressions.parse("7.0 + 5"), problem, ["1", "100"])
    with pytest.raises(ExpressionError, match="number3 is neither in the text"):
        expressions.link(["number3"], problem, ["1"])
    long = ["+"] * 20 + ["1"] * 21
    with pytest.raises(ExpressionError, match="41 tokens; at most 31"):
        expressions.link(long, problem, ["1"])


@pytest.mark.parametrize(
    ("written", "answer", "right"),
    [
        ("6", "6.0", 1),
        ("8 - 2 = 6 apples\n7", "6", 1),
        ("6 of the 8", "6", 0),
        ("$1,250.00.", "1250", 1),
        ("-3", "3", 0),
        ("5-3", "3", 1),
        ("33.3333", "33.33333", 1),
        ("33.3", "33.33333", 0),
        ("none", "3", 0),
        ("0", "0", 1),
        ("0.00001", "0", 0),
    ],
)
def test_number_match(written: str, answer: str, right: int) -> None:
    assert metrics.number_match(written, [answer]) == right
