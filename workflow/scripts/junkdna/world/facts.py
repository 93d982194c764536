"""The facts of the micro-world and how often they are told.

Each person has one value of each attribute. Person of rank r is mentioned with probability proportional to
r ** -exponent (Zipf 1949), so the first ones are the head and the last ones the tail.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from junkdna.world import words
from junkdna.world.recipe import WorldRecipe


@dataclass(frozen=True)
class World:
    """People by rank (0 is the most frequent), their attributes and their cumulative frequency."""

    people: tuple[str, ...]
    values: dict[tuple[str, str], str]
    cumulative: tuple[float, ...]
    classes: dict[str, tuple[str, ...]] = field(repr=False)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words, sorted."""
        return words.vocabulary(self.people)

    def frequency(self, rank: int) -> float:
        """Probability that a Zipfian mention is of the person of this rank."""
        return (self.cumulative[rank] - (self.cumulative[rank - 1] if rank else 0.0)) / self.cumulative[-1]

    def draw_person(self, rng: random.Random, uniform: float = 0.0) -> str:
        """Draw a person by frequency, or with probability ``uniform`` evenly."""
        if uniform and rng.random() < uniform:
            return rng.choice(self.people)
        return rng.choices(self.people, cum_weights=self.cumulative)[0]

    def other_value(self, attribute: str, value: str, rng: random.Random) -> str:
        """Draw a value of the attribute that is not ``value``."""
        return rng.choice([other for other in words.VALUES[attribute] if other != value])


def make_world(recipe: WorldRecipe, seed: int) -> World:
    """Draw the people and their facts; the same recipe and seed give the same world."""
    names = words.people(recipe.people, seed)
    rng = random.Random(f"facts-{seed}")
    values = {
        (person, attribute): rng.choice(words.VALUES[attribute]) for person in names for attribute in words.ATTRIBUTES
    }
    cumulative = tuple(itertools.accumulate((rank + 1) ** -recipe.zipf_exponent for rank in range(len(names))))
    classes = dict(words.classes())
    for name in names:
        classes[name] = tuple(other for other in names if other != name)
    return World(names, values, cumulative, classes)


def statement(attribute: str, person: str, value: str, rng: random.Random) -> str:
    """One of the ways to state a fact, without the full stop."""
    return rng.choice(words.STATEMENTS[attribute]).format(person=person, value=value)


def question(attribute: str, person: str, rng: random.Random) -> str:
    """One of the ways to ask for a fact."""
    return rng.choice(words.QUESTIONS[attribute]).format(person=person)
