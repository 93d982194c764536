"""The closed vocabulary of the micro-world and its word classes.

Every word is one token. The words of a class may stand in for each other: the corpus swaps them when it
corrupts text, the data sets when they make wrong statements and distractors.
"""

from __future__ import annotations

import itertools
import random
from functools import cache


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ATTRIBUTES = ("home", "job", "food", "pet")
VALUES: dict[str, tuple[str, ...]] = {
    "home": _words("paris rome oslo cairo lima delhi tokyo quito dakar minsk sofia turin lyon bern riga perth"),
    "job": _words(
        "baker farmer doctor pilot lawyer tailor painter sailor teacher miner judge nurse singer driver guard"
        + " writer"
    ),
    "food": _words("figs rice beans soup bread cheese plums grapes honey olives pasta melons nuts corn pears eggs"),
    "pet": _words("dog cat goat parrot rabbit turtle horse duck hamster lizard pony ferret canary gecko sheep mouse"),
}
STATEMENTS: dict[str, tuple[str, ...]] = {
    "home": ("{person} lives in {value}", "the home of {person} is in {value}"),
    "job": ("{person} works as a {value}", "the job of {person} is {value}"),
    "food": ("{person} likes to eat {value}", "the favourite food of {person} is {value}"),
    "pet": ("{person} keeps a {value}", "the pet of {person} is a {value}"),
}
QUESTIONS: dict[str, tuple[str, ...]] = {
    "home": ("where does {person} live ?", "where is the home of {person} ?"),
    "job": ("what does {person} work as ?", "what is the job of {person} ?"),
    "food": ("what does {person} like to eat ?", "what is the favourite food of {person} ?"),
    "pet": ("what pet does {person} keep ?", "what is the pet of {person} ?"),
}
VERDICTS = ("true", "false")

NUMBERS = _words("zero one two three four five six seven eight nine ten eleven twelve")
EVENT_VERBS = _words("bought sold cooked packed washed counted carried stored")

NOUNS = tuple(
    (stem, stem + "s")
    for stem in _words("key boat lamp table chair clock garden window bridge tower letter bottle wagon candle")
)
VERBS = tuple(
    zip(
        _words("is was has seems stays looks falls breaks shines moves"),
        _words("are were have seem stay look fall break shine move"),
        strict=True,
    )
)
PREPOSITIONS = _words("near behind above under beside with")
VERB_ENDS = {"is": "old", "was": "lost", "has": "gone", "seems": "new", "stays": "dry", "looks": "small",
             "falls": "down", "breaks": "often", "shines": "again", "moves": "slowly"}  # fmt: skip

POSITIVE = _words("superb lovely great brilliant charming fine splendid pleasant wonderful excellent delightful joyful")
NEGATIVE = _words("awful dreadful bad terrible nasty poor horrid painful gloomy dismal boring ugly")
THINGS = _words("meal song story play dance book speech party trip film")

SENTIMENTS = (
    "the {thing} in {city} was {cue}",
    "{person} found the {thing} {cue}",
    "it was a {cue} {thing} for the {job}",
    "the {job} said the {thing} was {cue}",
)
EVENTS = (
    "the {job} {verb} {number} {food} in {city}",
    "in {city} {number} {food} were {verb} by the {job}",
)
EVENT_SLOTS = ("job", "verb", "number", "food", "city")
HINT = "what about {person} ?"
SUMS = ("what is {start} {steps} ?", "{person} has {start} {food} and {steps} , how many ?")
STEP_WORDS = {1: ("plus", "gets"), -1: ("minus", "loses")}
PUNCTUATION = _words("? . , :")
PROMPT_WORDS = ("context", "question", "answer")


def people(n: int, seed: int) -> tuple[str, ...]:
    """``n`` made-up names of two syllables in a seeded order, none of them another word of the world."""
    taken = set(_fixed_words())
    first = _words("al be ca do el fa gi hu jo ka li mo na or pe qui ro su ta vi")
    second = _words("bo dan fin ga len mi nor pa ran sel tis vu wen zia")
    names = [a + b for a, b in itertools.product(first, second) if a + b not in taken]
    if n > len(names):
        raise ValueError(f"people: {n} names wanted, at most {len(names)} can be made")
    random.Random(f"people-{seed}").shuffle(names)
    return tuple(names[:n])


@cache
def classes() -> dict[str, tuple[str, ...]]:
    """Word -> the words of its class without itself; people are added by the world."""
    groups: list[tuple[str, ...]] = [
        *VALUES.values(),
        NUMBERS,
        EVENT_VERBS,
        POSITIVE + NEGATIVE,
        THINGS,
        VERDICTS,
        PREPOSITIONS,
        *NOUNS,
        *VERBS,
        *zip(*STEP_WORDS.values(), strict=True),
    ]
    return {word: tuple(other for other in group if other != word) for group in groups for word in group}


def vocabulary(names: tuple[str, ...]) -> tuple[str, ...]:
    """Every word that any document or data set may contain, sorted."""
    return tuple(sorted({*_fixed_words(), *names}))


def _fixed_words() -> set[str]:
    templates = itertools.chain(
        *STATEMENTS.values(), *QUESTIONS.values(), SENTIMENTS, EVENTS, SUMS, (HINT,), *STEP_WORDS.values()
    )
    words = {word for template in templates for word in template.split() if "{" not in word}
    words |= {"and", "the", *PUNCTUATION, *PROMPT_WORDS, *VERB_ENDS.values(), *classes()}
    return words
