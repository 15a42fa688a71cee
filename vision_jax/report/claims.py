"""Claims about sweeps, and what the seeds say of them: shown, opposite or undecided."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax.config import brief

SEEDS = ("seed", "data_seed")
FEWEST_SEEDS = 3
SHOWN, OPPOSITE, UNDECIDED = "shown", "opposite", "undecided"
VERDICTS = (SHOWN, OPPOSITE, UNDECIDED)


@dataclasses.dataclass(frozen=True)
class SweepRow:
    """One run: its name, what it changes in the config, its last metrics (None: not finished)."""

    name: str
    overrides: Mapping[str, Any]
    metrics: Mapping[str, float] | None


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim that a metric is higher in some runs than in others, or the same.

    Attributes:
      text: the claim in words.
      metric: its name in the rows, e.g. 'eval/top1'.
      higher, lower: overrides that a run must have to count on that side.
      scale: the setting in which it was published, for the table to say when here it is not shown.
      within: not None claims instead that the sides differ by no more, seed by seed.
      paired: the sides' runs belong together in their order, where they have no seeds that say so.
      published: the paper's or the lecture's numbers, with their unit; '' if none is known.
    """

    text: str
    metric: str
    higher: Mapping[str, Any]
    lower: Mapping[str, Any]
    scale: str = ""
    within: float | None = None
    paired: bool = False
    published: str = ""


@dataclasses.dataclass(frozen=True)
class Decision:
    """What the runs say of a claim.

    Attributes:
      verdict: one of `VERDICTS`.
      counts: runs on each side.
      difference: of the sides' means; NaN where one has no run, or a run diverged.
      margin: twice the difference's standard error; a claim is shown beyond it. NaN if unknown.
      means: of the sides; NaN likewise.
      reason: why it is undecided; '' otherwise.
    """

    verdict: str
    counts: tuple[int, int]
    difference: float = math.nan
    margin: float = math.nan
    means: tuple[float, float] = (math.nan, math.nan)
    reason: str = ""


def decide(claim: Claim, rows: Sequence[SweepRow]) -> Decision:
    """Decides a claim by a sweep's runs, paired by their seeds where both sides have the same."""
    higher = _side(rows, claim.higher, claim.metric)
    lower = _side(rows, claim.lower, claim.metric)
    a, b = [value for _, value in higher], [value for _, value in lower]
    seeds, others = [seed for seed, _ in higher], [seed for seed, _ in lower]
    if sorted(seeds) == sorted(others) and len({*seeds, ()}) == len(seeds) + 1:
        of_seed = dict(lower)
        return compare(a, [of_seed[seed] for seed in seeds], True, claim.within)
    return compare(a, b, claim.paired, claim.within)


def compare(
    a: Sequence[float], b: Sequence[float], paired: bool = False, within: float | None = None
) -> Decision:
    """Decides by values, 3 or more on each side, whether a is above b, or the same.

    It is shown where the difference of the means is more than twice its standard error, opposite
    where it is so the other way. The error is sqrt(var a / n + var b / m) with unbiased variances,
    or sqrt(var (a - b) / n) where values at one place belong together.

    Args:
      a, b: values of runs; one that is not finite decides nothing.
      paired: values at one place belong together.
      within: claims that no pair differs by more; opposite then where the means surely do.
    """
    counts = (len(a), len(b))
    if min(counts) < FEWEST_SEEDS:
        reason = f"{counts[0]} and {counts[1]} runs, {FEWEST_SEEDS} needed"
        return Decision(UNDECIDED, counts, reason=reason)
    if not all(map(math.isfinite, (*a, *b))):
        return Decision(UNDECIDED, counts, reason="a run diverged")
    together = (paired or within is not None) and len(a) == len(b)
    difference, margin = _difference(a, b, together)
    if within is None:
        reason = f"{margin:.2g} would have been shown" if margin else "all runs are equal"
        is_shown, is_opposite = difference > margin, difference < -margin
    elif together:
        furthest = float(np.max(np.abs(np.subtract(a, b))))
        reason = f"a seed's runs differ by {furthest:.2g}, {within:g} is allowed"
        is_shown, is_opposite = furthest <= within, abs(difference) - margin > within
    else:
        reason, is_shown, is_opposite = "runs that belong together are missing", False, False
    means = (float(np.mean(a)), float(np.mean(b)))
    if is_shown or is_opposite:
        reason = ""
    verdict = SHOWN if is_shown else OPPOSITE if is_opposite else UNDECIDED
    return Decision(verdict, counts, difference, margin, means, reason)


def values_of(rows: Sequence[SweepRow], metric: str) -> list[float]:
    """Returns finished runs' values; one that is not finite stays NaN: leaving it out flatters."""
    values = [row.metrics[metric] for row in rows if row.metrics and metric in row.metrics]
    return [math.nan if value is None else float(value) for value in values]


def _side(
    rows: Sequence[SweepRow], overrides: Mapping[str, Any], metric: str
) -> list[tuple[tuple, float]]:
    """Returns the seeds and the value of each finished run that has the overrides."""
    found = []
    for row in rows:
        if all(row.overrides.get(key) == value for key, value in overrides.items()):
            seeds = tuple(brief(row.overrides[key]) for key in SEEDS if key in row.overrides)
            found += [(seeds, value) for value in values_of([row], metric)]
    return found


def _difference(a: Sequence[float], b: Sequence[float], paired: bool) -> tuple[float, float]:
    """Computes the difference of the means, and twice its standard error."""
    if paired:
        error = math.sqrt(np.var(np.subtract(a, b), ddof=1) / len(a))
    else:
        error = math.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))
    return float(np.mean(a) - np.mean(b)), 2 * error
