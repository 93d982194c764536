"""Three made-up languages with one lexicon each: a pivot, and a majority and a minority language of one grammar.

Every sentence has a meaning, which each language puts in its own words. The pivot says subject, verb, object, place,
and marks number and tense by words in front (``some red dog did see a bird near a tower``). The other two share a
grammar: the place comes first with a postposition, nouns come before their adjectives and number marks, the verb comes
last, and one mark behind it tells both the tense and the number of the subject. So translating is more than exchanging
words. The majority and the minority language differ in their words and in how often pre-training shows them only.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cache, cached_property

from junkdna.files import DataError
from junkdna.world.recipe import LanguagesRecipe

PIVOT, MAJORITY, MINORITY = "pivot", "majority", "minority"
LANGUAGES = (PIVOT, MAJORITY, MINORITY)
# The codes that stand behind a text, spelt as mBART spells its own.
CODES = {PIVOT: "pv_XX", MAJORITY: "ma_XX", MINORITY: "mi_XX"}
STOP = "."
N_RELATIONS = 4  # how a place relates to what happens
ADJECTIVE, PLACE = 0.5, 0.6  # share of the noun phrases, and of the sentences, that have one


@dataclass(frozen=True)
class Noun:
    """A noun phrase: numbers of its noun and adjective (None: none), and whether there are several."""

    noun: int
    adjective: int | None
    plural: bool


@dataclass(frozen=True)
class Meaning:
    """What a sentence says, in no language: numbers of concepts."""

    subject: Noun
    verb: int
    past: bool
    object: Noun
    place: tuple[int, Noun] | None


@dataclass(frozen=True)
class Lexicon:
    """The words of one language."""

    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    adjectives: tuple[str, ...]
    relations: tuple[str, ...]
    numbers: tuple[str, ...]  # singular, plural
    tenses: tuple[str, ...]  # present and past; times singular and plural where the verb agrees

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(itertools.chain(*vars(self).values()))


class Languages:
    """The lexicons and the meanings that sentences are made of.

    Args:
        recipe: sizes and frequencies.
        seed: of the words.

    Raises:
        DataError: more words are wanted than can be made up.
    """

    def __init__(self, recipe: LanguagesRecipe, seed: int) -> None:
        self.recipe = recipe
        names = iter(_names(seed))

        def take(count: int) -> tuple[str, ...]:
            taken = tuple(itertools.islice(names, count))
            if len(taken) < count:
                raise DataError(
                    f"languages: more than {len(_names(seed))} words wanted; lower nouns, verbs or adjectives"
                )
            return taken

        self.lexicons = {
            language: Lexicon(
                take(recipe.nouns),
                take(recipe.verbs),
                take(recipe.adjectives),
                take(N_RELATIONS),
                take(2),
                take(2 if language == PIVOT else 4),
            )
            for language in LANGUAGES
        }

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The codes, and every word of the three languages, sorted."""
        words = {STOP, *itertools.chain(*(lexicon.words for lexicon in self.lexicons.values()))}
        return (*CODES.values(), *sorted(words))

    def draw(self, rng: random.Random) -> Meaning:
        """Draw a meaning; nouns, verbs and adjectives by Zipf's law."""
        place = None
        if rng.random() < PLACE:
            place = rng.randrange(N_RELATIONS), Noun(self._concept(rng, self.recipe.nouns), None, rng.random() < 0.5)
        return Meaning(
            self._noun(rng), self._concept(rng, self.recipe.verbs), rng.random() < 0.5, self._noun(rng), place
        )

    def say(self, meaning: Meaning, language: str) -> str:
        """A meaning in a language."""
        words = self.lexicons[language]
        parts = (_pivot if language == PIVOT else _verb_last)(meaning, words)
        return " ".join([*parts, STOP])

    def _noun(self, rng: random.Random) -> Noun:
        adjective = self._concept(rng, self.recipe.adjectives) if rng.random() < ADJECTIVE else None
        return Noun(self._concept(rng, self.recipe.nouns), adjective, rng.random() < 0.5)

    def _concept(self, rng: random.Random, count: int) -> int:
        return rng.choices(range(count), cum_weights=_cumulative(count, self.recipe.zipf_exponent))[0]


def _pivot(meaning: Meaning, words: Lexicon) -> list[str]:
    def phrase(noun: Noun) -> list[str]:
        return [words.numbers[noun.plural], *_adjective(noun, words), words.nouns[noun.noun]]

    parts = [*phrase(meaning.subject), words.tenses[meaning.past], words.verbs[meaning.verb], *phrase(meaning.object)]
    if meaning.place:
        relation, noun = meaning.place
        parts += [words.relations[relation], *phrase(noun)]
    return parts


def _verb_last(meaning: Meaning, words: Lexicon) -> list[str]:
    def phrase(noun: Noun) -> list[str]:
        return [words.nouns[noun.noun], *_adjective(noun, words), words.numbers[noun.plural]]

    parts = []
    if meaning.place:
        relation, noun = meaning.place
        parts = [*phrase(noun), words.relations[relation]]
    parts += [*phrase(meaning.subject), *phrase(meaning.object), words.verbs[meaning.verb]]
    return [*parts, words.tenses[2 * meaning.past + meaning.subject.plural]]


def _adjective(noun: Noun, words: Lexicon) -> list[str]:
    return [] if noun.adjective is None else [words.adjectives[noun.adjective]]


@cache
def _cumulative(count: int, exponent: float) -> list[float]:
    return list(itertools.accumulate((rank + 1) ** -exponent for rank in range(count)))


class Pairs:
    """A seeded stream of texts to read and to write, both framed as mBART's: words, ``</s>``, code of the language.

    ``translate`` gives a sentence and its translation between the pivot and another language, ``denoise`` a sentence of
    any language, some of its words masked, and the sentence whole. One of ten other languages is the minority's, or
    whatever the recipe says.

    Args:
        mix: kind of document to share of the documents.
        seed: of the stream.

    Raises:
        DataError: there is no such kind of document.
    """

    def __init__(self, languages: Languages, mix: dict[str, float], seed: int) -> None:
        kinds = {"translate": self._translate, "denoise": self._denoise}
        if unknown := sorted(set(mix) - set(kinds)):
            raise DataError(f"mix: unknown kind of document {', '.join(unknown)}; allowed are {', '.join(kinds)}")
        self.languages = languages
        self.rng = random.Random(f"pairs-{seed}")
        self._makers = [kinds[kind] for kind in mix]
        self._shares = list(mix.values())

    def draw(self) -> tuple[list[str], list[str]]:
        """The next source and target."""
        other = MINORITY if self.rng.random() < self.languages.recipe.minority else MAJORITY
        sides = [PIVOT, other]
        self.rng.shuffle(sides)
        return self.rng.choices(self._makers, self._shares)[0](self.languages.draw(self.rng), *sides)

    def _translate(self, meaning: Meaning, source: str, target: str) -> tuple[list[str], list[str]]:
        return self._framed(meaning, source), self._framed(meaning, target)

    def _denoise(self, meaning: Meaning, language: str, _: str) -> tuple[list[str], list[str]]:
        target = self._framed(meaning, language)
        noise = self.languages.recipe.noise
        masked = ["<mask>" if self.rng.random() < noise else word for word in target[:-2]]
        return [*masked, *target[-2:]], target

    def _framed(self, meaning: Meaning, language: str) -> list[str]:
        return [*self.languages.say(meaning, language).split(), "</s>", CODES[language]]


def _names(seed: int) -> list[str]:
    """Made-up words of two syllables in a seeded order, all different."""
    syllables = [a + b for a, b in itertools.product("bdfgklmnprstvz", "aeiou")]
    names = ["".join(pair) for pair in itertools.product(syllables, repeat=2)]
    random.Random(f"languages-{seed}").shuffle(names)
    return names
