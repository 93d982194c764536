"""Documents for pre-training: a list of words and, for each, whether it carries what is to be learnt.

The focus words get more weight in the decoder's loss and are masked more often for the encoder.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from junkdna.files import DataError
from junkdna.world import facts, words
from junkdna.world.facts import World

SEPARATOR = "</s>"
MOST_CONTEXT_FACTS = len(words.ATTRIBUTES)
MOST_PAIRS = 6
MOST_NOUNS_BETWEEN = 3


@dataclass(frozen=True)
class Document:
    """Words and the indices of those that carry a fact."""

    words: list[str]
    focus: frozenset[int]


def mark(text: str) -> Document:
    """Make a document whose focus words are written ``[word]``."""
    tokens = text.split()
    marked = {i for i, token in enumerate(tokens) if token[0] == "["}
    return Document([token.strip("[]") for token in tokens], frozenset(marked))


class Corpus:
    """A seeded stream of documents of one world.

    Args:
        world: people and facts.
        mix: kind of document -> share of the documents.
        uniform_people: share of mentions that are drawn evenly, not by frequency.
        seed: of the stream.
    """

    def __init__(self, world: World, mix: dict[str, float], uniform_people: float, seed: int) -> None:
        kinds: dict[str, Callable[[], Document]] = {
            "statement": self._statement,
            "closed_book": self._closed_book,
            "open_book": self._open_book,
            "k_shot": self._k_shot,
            "verdict": self._verdict,
            "agreement": self._agreement,
            "sentiment": self._sentiment,
            "events": self._events,
            "inference": self._inference,
            "one_step": lambda: self._arithmetic(1),
            "two_step": lambda: self._arithmetic(2),
        }
        if unknown := sorted(set(mix) - set(kinds)):
            raise DataError(f"mix: unknown kind of document {', '.join(unknown)}; allowed are {', '.join(kinds)}")
        self.world = world
        self.uniform = uniform_people
        self.rng = random.Random(f"corpus-{seed}")
        self._makers = [kinds[kind] for kind in mix]
        self._shares = list(mix.values())

    def draw(self) -> Document:
        """The next document."""
        return self.rng.choices(self._makers, self._shares)[0]()

    def _fact(self) -> tuple[str, str, str]:
        person = self.world.draw_person(self.rng, self.uniform)
        attribute = self.rng.choice(words.ATTRIBUTES)
        return person, attribute, self.world.values[person, attribute]

    def _statement(self) -> Document:
        person, attribute, value = self._fact()
        return mark(facts.statement(attribute, person, f"[{value}]", self.rng) + " .")

    def _closed_book(self) -> Document:
        person, attribute, value = self._fact()
        return mark(f"question : {facts.question(attribute, person, self.rng)} answer : [{value}]")

    def _open_book(self) -> Document:
        person, attribute = self.rng.choice(self.world.people), self.rng.choice(words.ATTRIBUTES)
        value = self.world.other_value(attribute, self.world.values[person, attribute], self.rng)
        told = context(self.world, person, attribute, value, self.rng.randint(1, MOST_CONTEXT_FACTS), self.rng)
        question = facts.question(attribute, person, self.rng)
        return mark(f"context : {told} question : {question} answer : [{value}]")

    def _k_shot(self) -> Document:
        """Question and answer again and again; only the earlier answers tell what is asked for."""
        attribute = self.rng.choice(words.ATTRIBUTES)
        parts = []
        for _ in range(self.rng.randint(1, MOST_PAIRS)):
            person = self.world.draw_person(self.rng, self.uniform)
            question = words.HINT.format(person=person)
            parts.append(f"question : {question} answer : [{self.world.values[person, attribute]}]")
        return mark(" ".join(parts))

    def _verdict(self) -> Document:
        person, attribute, value = self._fact()
        verdict = self.rng.choice(words.VERDICTS)
        if verdict == "false":
            value = self.world.other_value(attribute, value, self.rng)
        return mark(f"[{verdict}] : {facts.statement(attribute, person, value, self.rng)} .")

    def _agreement(self) -> Document:
        others = self.rng.randint(0, MOST_NOUNS_BETWEEN)
        return mark(agreement(self.rng, self.rng.randint(0, 1), others, marked=True) + " .")

    def _sentiment(self) -> Document:
        cues = self.rng.choice((words.POSITIVE, words.NEGATIVE))
        first, second = (sentiment(self.world, f"[{self.rng.choice(cues)}]", self.rng) for _ in range(2))
        return mark(f"{first} and {second} .")

    def _events(self) -> Document:
        share = max(self.rng.random(), self.rng.random())
        sentences = list(event_pair(self.rng, [self.rng.random() < share for _ in words.EVENT_SLOTS]))
        side = self.rng.randint(0, 1)
        sentences[side] = " ".join(
            f"[{word}]" if word in self.world.classes else word for word in sentences[side].split()
        )
        return mark(f" . {SEPARATOR} ".join(sentences) + " .")

    def _inference(self) -> Document:
        """A question and a sentence that answers it or not; half of them say which."""
        rng = self.rng
        asked, about, _ = self._fact()
        person, attribute = asked, about
        if rng.random() < 0.3:
            person = self.world.draw_person(rng, self.uniform)
        if rng.random() < 0.3:
            attribute = rng.choice(words.ATTRIBUTES)
        question = facts.question(about, f"[{asked}]", rng)
        told = facts.statement(attribute, f"[{person}]", f"[{self.world.values[person, attribute]}]", rng)
        answers = (person, attribute) == (asked, about)
        cue = f"[{words.VERDICTS[0 if answers else 1]}] : " if rng.random() < 0.5 else ""
        return mark(f"{cue}{question} {SEPARATOR} {told} .")

    def _arithmetic(self, steps: int) -> Document:
        terms = self.rng.choice(all_sums(steps))
        return mark(f"{problem(self.world, terms, self.rng)} {SEPARATOR} [{words.NUMBERS[sum(terms)]}] .")


def context(world: World, person: str, attribute: str, value: str, n_facts: int, rng: random.Random) -> str:
    """Text of ``n_facts`` made-up facts, in random order: the given one and distractors.

    All contradict the world. Each distractor tells another attribute, of the same person or of someone else:
    the attribute decides which fact is asked for. Telling several people's values of one attribute apart was
    not learnt by a model of this size in some thousand steps.
    """
    told = [(person, attribute, value)]
    others = [other for other in words.ATTRIBUTES if other != attribute]
    for other in rng.sample(others, n_facts - 1):
        about = person if rng.random() < 0.5 else rng.choice(world.people)
        told.append((about, other, world.other_value(other, world.values[about, other], rng)))
    rng.shuffle(told)
    return " ".join(facts.statement(other, about, v, rng) + " ." for about, other, v in told)


def agreement(rng: random.Random, number: int, between: int, *, marked: bool = False, correct: bool = True) -> str:
    """A sentence whose verb agrees, or not, with its subject, ``between`` nouns earlier; 0 is singular.

    A third of the sentences open with another noun, so that the first is not always the subject.
    ``marked``: the verb, and now and then the subject, is a focus word.
    """
    subject, *others = rng.sample(words.NOUNS, 2 + between)
    verb = rng.choice(words.VERBS)
    phrases = [f"{rng.choice(words.PREPOSITIONS)} the {rng.choice(noun)} " for noun in others]
    front = phrases.pop() if rng.random() < 1 / 3 else ""
    shown, noun = verb[number if correct else 1 - number], subject[number]
    if marked:
        shown, noun = f"[{shown}]", f"[{noun}]" if rng.random() < 0.15 else noun
    return f"{front}the {noun} {''.join(phrases[:between])}{shown} {words.VERB_ENDS[verb[0]]}"


def sentiment(world: World, cue: str, rng: random.Random) -> str:
    """A sentence whose polarity is that of the word ``cue``."""
    return rng.choice(words.SENTIMENTS).format(
        cue=cue,
        person=rng.choice(world.people),
        thing=rng.choice(words.THINGS),
        job=rng.choice(words.VALUES["job"]),
        city=rng.choice(words.VALUES["home"]),
    )


def event_pair(rng: random.Random, kept: Sequence[bool]) -> tuple[str, str]:
    """Two reports of five details, each in a random word order, which agree in the details ``kept``."""
    options = {
        "job": words.VALUES["job"],
        "verb": words.EVENT_VERBS,
        "number": words.NUMBERS[2:],
        "food": words.VALUES["food"],
        "city": words.VALUES["home"],
    }
    first = {slot: rng.choice(options[slot]) for slot in words.EVENT_SLOTS}
    second = {
        slot: first[slot] if keep else rng.choice([word for word in options[slot] if word != first[slot]])
        for slot, keep in zip(words.EVENT_SLOTS, kept, strict=True)
    }
    return rng.choice(words.EVENTS).format(**first), rng.choice(words.EVENTS).format(**second)


def problem(world: World, terms: tuple[int, ...], rng: random.Random) -> str:
    """Put signed terms in words, as a bare sum or as a story."""
    start, *rest = terms
    signs = [1 if term >= 0 else -1 for term in rest]
    style = rng.randrange(len(words.SUMS))
    steps = [
        f"{words.STEP_WORDS[sign][style]} {words.NUMBERS[abs(term)]}" for sign, term in zip(signs, rest, strict=True)
    ]
    return words.SUMS[style].format(
        start=words.NUMBERS[start],
        steps=" and ".join(steps) if style else " ".join(steps),
        person=rng.choice(world.people),
        food=rng.choice(words.VALUES["food"]),
    )


@cache
def all_sums(steps: int) -> tuple[tuple[int, ...], ...]:
    """All signed terms (a, b[, c]), b and c not zero, whose partial sums all lie within 0..12."""
    most = len(words.NUMBERS) - 1
    sums: list[tuple[int, ...]] = [(a,) for a in range(most + 1)]
    for _ in range(steps):
        sums = [(*s, t) for s in sums for t in range(-most, most + 1) if t and 0 <= sum(s) + t <= most]
    return tuple(sums)
