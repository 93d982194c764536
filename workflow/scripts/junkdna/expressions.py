"""Arithmetic word problems: numbers of a text as slots, equations as prefix expressions over them. Exact, torch-free.

A prefix expression needs no brackets: it is complete once every operator has its two operands. To predict a tree of
operators over the text's numbers, and to answer with its value, is the idea of GTS (Xie and Sun, IJCAI 2019) and
Graph2Tree (Zhang et al., ACL 2020), which SVAMP (Patel et al., NAACL 2021) put on top of RoBERTa. Tokens are strings:
an operator, ``number0`` for the first slot, or a constant such as ``100``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
LONGEST = 31  # tokens of an expression: 16 numbers
TOLERANCE = 1e-4  # relative

DIGITS = r"(?:\d{1,3}(?:[,_]\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
# Not the 3 of mp3, nor the second half of 1.2.3; the 8 of 8th counts.
NUMBER = re.compile(rf"(?<![\w.])(?:{DIGITS})")
SIGNED = re.compile(rf"(?<![\w.])-?(?:{DIGITS})")
# Placeholders of data sets whose numbers stand apart: number0 (SVAMP's MAWPS) or N_00.
SLOT = re.compile(r"\b(?:number|N_)(\d+)\b")
TOKEN = re.compile(rf"\s*(?:({SLOT.pattern}|{DIGITS})|([-+*/()]))")


class ExpressionError(ValueError):
    """A text or an equation that is not understood; the message says what is."""


@dataclass(frozen=True)
class Problem:
    """A text and the numbers in it.

    Attributes:
        places: first character of each number.
        numbers: their values, the slots of an expression.
        names: the placeholder that a number replaced, or None.
    """

    text: str
    places: tuple[int, ...]
    numbers: tuple[Fraction, ...]
    names: tuple[str | None, ...]


def number(text: str) -> Fraction:
    """The value of a decimal; thousands may be set apart by commas or underscores.

    Raises:
        ExpressionError: it is none.
    """
    try:
        return Fraction(re.sub("[,_]", "", text))
    except (ValueError, ZeroDivisionError) as error:
        raise ExpressionError(f"{text!r} is not a number") from error


def written(value: Fraction | float) -> str:
    """A number as people write it: 8, not 8.0."""
    return str(int(value)) if value == int(value) else repr(float(value))


def equal(found: float, wanted: float) -> bool:
    """Whether an answer is right: within TOLERANCE of the wanted one."""
    return abs(found - wanted) <= TOLERANCE * abs(wanted)


def last_number(text: str) -> float | None:
    """The last number of a text's first line: of ``8 - 2 = 6 apples`` 6."""
    found = SIGNED.findall(text.strip().split("\n")[0])
    return float(number(found[-1])) if found else None


def read(text: str, values: Sequence[str] | None = None) -> Problem:
    """Find the numbers of a text.

    Args:
        values: of its placeholders, which they replace; None if the numbers stand in the text.

    Raises:
        ExpressionError: a placeholder has no value.
    """
    pattern = NUMBER if values is None else re.compile(f"{SLOT.pattern}|{NUMBER.pattern}")
    parts, places, numbers, names, end = [], [], [], [], 0
    for match in pattern.finditer(text):
        name = _name(match[1]) if values is not None and match[1] else None
        if name and int(match[1]) >= len(values):
            raise ExpressionError(f"{match[0]}: there are {len(values)} numbers")
        value = number(values[int(match[1])] if name else match[0])
        parts += [text[end : match.start()], written(value) if name else match[0]]
        places.append(sum(map(len, parts[:-1])))
        numbers.append(value)
        names.append(name)
        end = match.end()
    return Problem("".join([*parts, text[end:]]), tuple(places), tuple(numbers), tuple(names))


def parse(equation: str) -> list[str]:
    """An equation's right side as prefix tokens, numbers as written. What begins with an operator is prefix already.

    Raises:
        ExpressionError: it is not an expression of numbers, placeholders, + - * / and brackets.
    """
    tokens, end, text = [], 0, equation.strip()
    while end < len(text):
        match = TOKEN.match(text, end)
        if match is None:
            raise ExpressionError(f"{equation!r}: {text[end:]!r} is not understood")
        tokens.append(_name(match[2]) if match[2] else match[1] or match[3])
        end = match.end()
    prefix = tokens if tokens[:1] and tokens[0] in OPERATORS else _to_prefix(tokens, equation)
    if not complete(prefix):
        raise ExpressionError(f"{equation!r} is not a well-formed expression")
    return prefix


def complete(tokens: Sequence[str]) -> bool:
    """Whether prefix tokens are one whole expression."""
    needed = 1
    for i, token in enumerate(tokens):
        needed += 1 if token in OPERATORS else -1
        if needed == 0:
            return i == len(tokens) - 1 and not {"(", ")"} & set(tokens)
    return False


def link(tokens: Sequence[str], problem: Problem, constants: Sequence[str]) -> tuple[str, ...]:
    """Prefix tokens with every number as a slot or a constant.

    A number is the first slot of its value that the expression has not used, else the first of its value, else a
    constant.

    Raises:
        ExpressionError: a number is neither, or the expression is longer than LONGEST.
    """
    if len(tokens) > LONGEST:
        raise ExpressionError(f"an expression of {len(tokens)} tokens; at most {LONGEST} are allowed")
    known, linked = {number(constant): constant for constant in constants}, []
    for token in tokens:
        if token in OPERATORS:
            linked.append(token)
            continue
        if SLOT.fullmatch(token):
            slots = [i for i, name in enumerate(problem.names) if name == token]
        else:
            slots = [i for i, value in enumerate(problem.numbers) if value == number(token)]
        slots = [i for i in slots if f"number{i}" not in linked] or slots
        if not slots and (SLOT.fullmatch(token) or number(token) not in known):
            raise ExpressionError(f"{token} is neither in the text nor one of the constants {', '.join(constants)}")
        linked.append(f"number{slots[0]}" if slots else known[number(token)])
    return tuple(linked)


def evaluate(tokens: Sequence[str], numbers: Sequence[Fraction]) -> Fraction | None:
    """The value of a complete prefix expression; None if it divides by zero."""
    stack: list[Fraction] = []
    try:
        for token in reversed(tokens):
            combine = OPERATORS.get(token)
            stack.append(combine(stack.pop(), stack.pop()) if combine else _value(token, numbers))
    except ZeroDivisionError:
        return None
    return stack[0]


def infix(tokens: Sequence[str], numbers: Sequence[Fraction]) -> str:
    """A complete prefix expression for people: (8 - 2) * 3."""
    stack: list[str] = []
    for token in reversed(tokens):
        inner = token in OPERATORS
        stack.append(f"({stack.pop()} {token} {stack.pop()})" if inner else written(_value(token, numbers)))
    return stack[0].removeprefix("(").removesuffix(")") if len(tokens) > 1 else stack[0]


def _value(token: str, numbers: Sequence[Fraction]) -> Fraction:
    slot = SLOT.fullmatch(token)
    return numbers[int(slot[1])] if slot else number(token)


def _name(digits: str) -> str:
    """The name of a placeholder: N_00 and number0 are the same."""
    return f"number{int(digits)}"


def _to_prefix(tokens: list[str], equation: str) -> list[str]:
    """Infix to prefix with two stacks (Dijkstra's shunting yard)."""
    rank, operands, operators = {"+": 1, "-": 1, "*": 2, "/": 2}, [], []

    def reduce() -> None:
        if len(operands) < 2:
            raise ExpressionError(f"{equation!r} is not a well-formed expression")
        right, left = operands.pop(), operands.pop()
        operands.append([operators.pop(), *left, *right])

    for token in tokens:
        if token == ")":
            while operators and operators[-1] != "(":
                reduce()
            if not operators:
                raise ExpressionError(f"{equation!r}: a bracket is not opened")
            operators.pop()
        elif token in rank:
            while operators and rank.get(operators[-1], 0) >= rank[token]:
                reduce()
            operators.append(token)
        elif token == "(":
            operators.append(token)
        else:
            operands.append([token])
    while operators:
        if operators[-1] == "(":
            raise ExpressionError(f"{equation!r}: a bracket is not closed")
        reduce()
    if len(operands) != 1:
        raise ExpressionError(f"{equation!r} is not a well-formed expression")
    return operands[0]
