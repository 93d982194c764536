"""Metrics over frames of predictions, plain and vectorised over bootstrap replicates. Torch-free.

The plain values of the classification and regression metrics are scikit-learn's and scipy's. Where these leave a value
undefined (constant predictions have no correlation) it is 0: such predictions say nothing about the target.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from junkdna import expressions
from junkdna.files import DataError

# The columns of each corpus score, in sacrebleu's order.
CORPUS_COUNTS = {
    "bleu": (
        "bleu_tokens",
        "bleu_reference_tokens",
        *(f"bleu_{what}_{n}" for what in ("matches", "ngrams") for n in range(1, 5)),
    ),
    "chrf": tuple(f"chrf_{what}_{n}" for n in range(1, 7) for what in ("ngrams", "reference_ngrams", "matches")),
}


@dataclass(frozen=True)
class Metric:
    """A metric of a frame of predictions.

    Attributes:
        columns: columns of the frame that it reads.
        plain: value of these columns, each of shape (n,).
        batched: values of these columns resampled, each of shape (replicates, n).
        is_mean: whether it is the mean of its column, which has its name.
        is_binary: whether that column says of each answer that it is right, 1, or wrong, 0.
    """

    name: str
    columns: tuple[str, ...]
    plain: Callable[..., float]
    batched: Callable[..., np.ndarray]
    higher_is_better: bool = True
    is_mean: bool = False
    is_binary: bool = False

    def __reduce__(self) -> tuple[Callable[[str], Metric], tuple[str]]:
        return _named, (self.name,)  # lambdas are not pickled

    def compute(self, frame: Mapping[str, Any]) -> float:
        """The metric of all rows."""
        return float(self.plain(*self._values(frame)))

    def resampled(self, frame: Mapping[str, Any], indices: np.ndarray) -> np.ndarray:
        """The metric of each resample.

        Args:
            indices: row numbers, shape (replicates, n).

        Returns:
            Shape (replicates,).
        """
        return self.batched(*(column[indices] for column in self._values(frame)))

    def _values(self, frame: Mapping[str, Any]) -> list[np.ndarray]:
        return [np.asarray(frame[column], dtype=float) for column in self.columns]


def confusion(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """Confusion matrices of replicates, (replicates, n) twice to (replicates, classes, classes), true class first."""
    classes = int(max(y_true.max(), y_pred.max())) + 1
    cells = classes * classes
    codes = (y_true * classes + y_pred).astype(np.int64) + np.arange(len(y_true))[:, None] * cells
    counts = np.bincount(codes.ravel(), minlength=len(y_true) * cells)
    return counts.reshape(-1, classes, classes).astype(float)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _matthews(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef  # slow to import; the bootstrap does without

    return matthews_corrcoef(y_true, y_pred)


def _matthews_batched(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """The R_K statistic (Gorodkin 2004), which is Matthews' for two classes."""
    counts = confusion(y_true, y_pred)
    n, right = counts.sum((1, 2)), np.trace(counts, axis1=1, axis2=2)
    true, predicted = counts.sum(2), counts.sum(1)
    spread = (n**2 - (true**2).sum(1)) * (n**2 - (predicted**2).sum(1))
    return _ratio(right * n - (true * predicted).sum(1), np.sqrt(spread))


def _f1(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return f1_score(y_true, y_pred, zero_division=0.0)


def _f1_batched(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    hits = ((y_true == 1) & (y_pred == 1)).sum(1).astype(float)
    return _ratio(2 * hits, ((y_true == 1).sum(1) + (y_pred == 1).sum(1)).astype(float))


def _correlation(name: Literal["pearsonr", "spearmanr"]) -> Callable[[np.ndarray, np.ndarray], float]:
    def plain(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        from scipy import stats

        if len(y_true) < 2 or np.ptp(y_true) == 0 or np.ptp(y_pred) == 0:
            return 0.0
        return getattr(stats, name)(y_true, y_pred).statistic

    return plain


def _pearson_batched(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    constant = (np.ptp(y_true, axis=1) == 0) | (np.ptp(y_pred, axis=1) == 0)
    x, y = (values - values.mean(1, keepdims=True) for values in (y_true, y_pred))
    spread = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.where(constant, 0.0, _ratio((x * y).sum(1), spread))


def _spearman_batched(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return _pearson_batched(rankdata(y_true, axis=1), rankdata(y_pred, axis=1))


@cache
def _corpus_scorer(name: str, tokenizer: str = "13a") -> Any:
    """sacrebleu's BLEU or chrF. Its numbers of matches and n-grams add up over examples; the score is of the sums."""
    import sacrebleu  # slow to import, and few tasks need it

    return sacrebleu.BLEU(tokenize=tokenizer, force=True) if name == "bleu" else sacrebleu.CHRF()


def translation_counts(predictions: list[str], references: list[str], tokenizer: str) -> dict[str, np.ndarray]:
    """Columns that BLEU and chrF are made of, each of shape (n,): lengths, matching n-grams, n-grams.

    Args:
        tokenizer: sacrebleu's name of BLEU's tokenizer.
    """
    columns: dict[str, np.ndarray] = {}
    for name, names in CORPUS_COUNTS.items():
        counts = _corpus_scorer(name, tokenizer)._extract_corpus_statistics(predictions, [references])
        columns |= dict(zip(names, np.array(counts, dtype=float).T, strict=True))
    return columns


def _corpus(name: str) -> Metric:
    """A score of summed counts, as a share of 1: sacrebleu counts in per cent."""

    def batched(*columns: np.ndarray) -> np.ndarray:
        sums = np.stack([column.sum(1) for column in columns], axis=1).astype(int)
        return np.array([_corpus_scorer(name)._compute_score_from_stats(row).score / 100 for row in sums.tolist()])

    return Metric(name, CORPUS_COUNTS[name], lambda *columns: batched(*(c[None] for c in columns))[0], batched)


def _mean(name: str) -> Metric:
    binary = name.startswith(("acc", "exact_match", "contains", "number_match"))
    return Metric(name, (name,), np.mean, lambda values: values.mean(1), is_mean=True, is_binary=binary)


class _Metrics(dict[str, Metric]):
    """Metrics by name. Any other name is one of lm-evaluation-harness: the mean of the column that is called so."""

    def __missing__(self, name: str) -> Metric:
        return _mean(name)


METRICS = _Metrics(
    {
        metric.name: metric
        for metric in (
            *(_mean(name) for name in ("accuracy", "exact_match", "f1", "contains", "contains_either", "number_match")),
            Metric("matthews", ("y_true", "y_pred"), _matthews, _matthews_batched),
            Metric("f1_binary", ("y_true", "y_pred"), _f1, _f1_batched),
            Metric("pearson", ("y_true", "y_pred"), _correlation("pearsonr"), _pearson_batched),
            Metric("spearman", ("y_true", "y_pred"), _correlation("spearmanr"), _spearman_batched),
            Metric(
                "perplexity",
                ("nll", "tokens"),
                lambda nll, tokens: np.exp(nll.sum() / tokens.sum()),
                lambda nll, tokens: np.exp(nll.sum(1) / tokens.sum(1)),
                higher_is_better=False,
            ),
            *(_corpus(name) for name in CORPUS_COUNTS),
        )
    }
)


def _named(name: str) -> Metric:
    return METRICS[name]


def chance_level(chance: float | str, y_true: np.ndarray, n_options: np.ndarray | None) -> float:
    """Score of guessing.

    Args:
        chance: a number; "uniform" for 1 / options, averaged; "majority" for the share of the commonest answer.
        y_true: right classes or options, shape (n,).
        n_options: how many there are to choose from, shape (n,).

    Raises:
        DataError: "uniform" or "majority" for answers that are not chosen from a list.
    """
    if not isinstance(chance, str):
        return float(chance)
    if n_options is None:
        raise DataError(f"chance: {chance!r}: the task has no classes or options; give a number")
    if chance == "uniform":
        return float(np.mean(1 / np.asarray(n_options, dtype=float)))
    return float(np.unique(y_true, return_counts=True)[1].max() / len(y_true))


# TriviaQA's official evaluation (Joshi et al. 2017; mandarjoshi90/triviaqa, evaluation/triviaqa_evaluation.py).
PUNCTUATION = set(string.punctuation) | set("‘’´`")  # noqa: RUF001 - the official list


def normalize_answer(text: str) -> str:
    """Lower case; underscores, punctuation and articles become spaces; white space is squeezed."""
    text = text.replace("_", " ").lower()
    text = "".join(" " if character in PUNCTUATION else character for character in text)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, answers: Iterable[str]) -> float:
    """1 if the prediction equals an accepted answer after normalisation."""
    found = normalize_answer(prediction)
    return float(any(found == normalize_answer(answer) for answer in answers))


def f1(prediction: str, answers: Iterable[str]) -> float:
    """Best overlap in words, harmonic mean of precision and recall, over the accepted answers."""
    return max((_overlap(prediction, answer) for answer in answers), default=0.0)


def _overlap(prediction: str, answer: str) -> float:
    found, wanted = normalize_answer(prediction).split(), normalize_answer(answer).split()
    same = sum((Counter(found) & Counter(wanted)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(found), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def contains_either(prediction: str, answers: Iterable[str]) -> float:
    """1 also if the prediction occurs in an accepted answer: the lenient match that the reference gives TriviaQA.

    That code is in its sister benchmark (VITA-Group/llm-kick, incontext_qa/main_icrqa.py).
    """
    found = normalize_answer(prediction)
    # DEVIATION: what normalises to nothing, an empty prediction above all, matches nothing here and everything there.
    wanted = [answer for answer in map(normalize_answer, answers) if answer]
    return float(bool(found) and any(answer in found or found in answer for answer in wanted))


def contains(prediction: str, answers: Iterable[str]) -> float:
    """1 if an accepted answer occurs in the prediction, both normalised."""
    found = normalize_answer(prediction)
    # Answers such as "The The" normalise to nothing, which everything contains.
    return float(any(wanted in found for wanted in map(normalize_answer, answers) if wanted))


def number_match(prediction: str, answers: Iterable[str]) -> float:
    """1 if the last number of the prediction's first line equals an accepted answer, within 1e-4 of it.

    The last one, since a model that shows its sum ends with the result: of ``8 - 2 = 6 apples`` it is 6.
    """
    found = expressions.last_number(prediction)
    wanted = [expressions.last_number(answer) for answer in answers]
    return float(found is not None and any(expressions.equal(found, w) for w in wanted if w is not None))
