"""BLEU, ROUGE-L and CIDEr-D of captions that are split into words, as pycocoevalcap has them.

A caption is a list of words. Each image has one candidate and one reference or more. Every function
returns the score of the whole set and the scores (n,) of the images; all are shares, CIDEr-D is in
[0, 10].
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

LONGEST = 4  # words in an n-gram
_TINY, _SMALL = 1e-15, 1e-9  # pycocoevalcap adds them to numerators and denominators

Words = Sequence[str]
References = Sequence[Sequence[Words]]  # of each image
Counts = Counter[tuple[str, ...]]  # n-grams of all lengths


class Score(NamedTuple):
    """A score of a set of captions."""

    total: float
    per_image: Float[np.ndarray, "n"]


def bleu(candidates: Sequence[Words], references: References) -> list[Score]:
    """Computes BLEU-1 … BLEU-4 (Papineni et al. 2002) of a whole set.

    Matches are summed over the set before they are divided, nothing is smoothed, and the brevity
    penalty compares with the nearest reference's length, the shorter of two that are as near.
    """
    lengths = np.zeros((len(candidates), 2))  # the candidate's, and the reference's
    correct, guessed = np.zeros((2, len(candidates), LONGEST))
    for row, (candidate, own) in enumerate(zip(candidates, references, strict=True)):
        count, greatest = ngrams(candidate), Counter()
        for reference in own:
            greatest |= ngrams(reference)
        for gram, number in (count & greatest).items():
            correct[row, len(gram) - 1] += number
        guessed[row] = np.maximum(len(candidate) - np.arange(LONGEST), 0)
        nearest = min((abs(len(words) - len(candidate)), len(words)) for words in own)
        lengths[row] = len(candidate), nearest[1]
    per_image = _bleu_of_counts(correct, guessed, lengths)
    totals = _bleu_of_counts(correct.sum(0), guessed.sum(0), lengths.sum(0))
    return [Score(float(totals[n]), per_image[:, n]) for n in range(LONGEST)]


def _bleu_of_counts(correct: np.ndarray, guessed: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Computes BLEU-1 … BLEU-4 (…, 4) from numbers of n-grams, and two lengths (…, 2)."""
    precision = np.cumprod((correct + _TINY) / (guessed + _SMALL), -1)
    ratio = (lengths[..., 0] + _TINY) / (lengths[..., 1] + _SMALL)
    with np.errstate(over="ignore", divide="ignore"):
        penalty = np.exp(np.minimum(1 - 1 / ratio, 0))
    return precision ** (1 / np.arange(1, LONGEST + 1)) * penalty[..., None]


def rouge_l(candidates: Sequence[Words], references: References, beta: float = 1.2) -> Score:
    """Computes ROUGE-L (Lin 2004, section 3), the mean over images.

    It is the F measure of the longest common subsequence; the best precision and the best recall
    may come from different references.
    """
    scores = np.zeros(len(candidates))
    for row, (candidate, own) in enumerate(zip(candidates, references, strict=True)):
        shared = [(longest_common(candidate, words), len(words)) for words in own]
        precision = max(length for length, _ in shared) / max(len(candidate), 1)
        recall = max(length / max(count, 1) for length, count in shared)
        if precision and recall:
            weight = beta**2
            scores[row] = (1 + weight) * precision * recall / (recall + weight * precision)
    return Score(float(scores.mean()), scores)


def longest_common(one: Words, two: Words) -> int:
    """Computes the length of the longest subsequence that both have."""
    row = [0] * (len(two) + 1)
    for word in one:
        before = 0  # the row above, one to the left
        for place, other in enumerate(two, start=1):
            above = row[place]
            row[place] = before + 1 if word == other else max(above, row[place - 1])
            before = above
    return row[-1]


def cider_d(candidates: Sequence[Words], references: References, sigma: float = 6.0) -> Score:
    """Computes CIDEr-D (Vedantam et al. 2015, section 6), the mean over images.

    The document frequency of an n-gram is the number of images whose references have it; with one
    image every n-gram weighs 0.

    Args:
      sigma: of the Gaussian penalty on the difference of lengths, which are numbers of bigrams.
    """
    counts = [[ngrams(words) for words in own] for own in references]
    seen: Counts = Counter()
    for own in counts:
        seen.update({gram for count in own for gram in count})
    log_images = math.log(len(references))
    scores = np.zeros(len(candidates))
    for row, (candidate, own) in enumerate(zip(candidates, counts, strict=True)):
        vector = _weighted(ngrams(candidate), seen, log_images)
        alike = [_similarity(vector, _weighted(c, seen, log_images), sigma) for c in own]
        scores[row] = 10 * np.mean(alike)
    return Score(float(scores.mean()), scores)


class _Vector(NamedTuple):
    """The weights of a caption's n-grams."""

    weights: list[dict[tuple[str, ...], float]]  # by n - 1
    norms: list[float]
    bigrams: int


def _weighted(count: Counts, seen: Counts, log_images: float) -> _Vector:
    """Computes TF-IDF weights: an n-gram's count times log(images / images that have it)."""
    weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(LONGEST)]
    for gram, number in count.items():
        weights[len(gram) - 1][gram] = number * (log_images - math.log(max(seen[gram], 1)))
    norms = [math.sqrt(sum(value * value for value in group.values())) for group in weights]
    return _Vector(weights, norms, sum(number for gram, number in count.items() if len(gram) == 2))


def _similarity(candidate: _Vector, reference: _Vector, sigma: float) -> float:
    """Computes the mean over n of clipped cosines, times the penalty on lengths."""
    cosines = []
    for n in range(LONGEST):
        known = reference.weights[n]
        shared = ((value, known.get(gram, 0.0)) for gram, value in candidate.weights[n].items())
        product = sum(min(value, other) * other for value, other in shared)
        norm = candidate.norms[n] * reference.norms[n]
        cosines.append(product / norm if norm else product)
    difference = candidate.bigrams - reference.bigrams
    return math.fsum(cosines) / LONGEST * math.exp(-(difference**2) / (2 * sigma**2))


def ngrams(words: Words) -> Counts:
    """Counts the n-grams of one to four words."""
    return Counter(
        tuple(words[start : start + n])
        for n in range(1, LONGEST + 1)
        for start in range(len(words) - n + 1)
    )
