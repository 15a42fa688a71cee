"""Names of metrics in words, and their values with as many digits as they need."""

import math
import re
from collections.abc import Iterable

import numpy as np

# Names in rows, without `train/` or `eval/`, as papers write them.
_WORDS = {
    "ap": "AP, IoU 0.50 to 0.95",
    "ap50": "AP at IoU 0.5",
    "ap75": "AP at IoU 0.75",
    "map": "Mean AP",
    "miou": "Mean IoU",
    "lr": "Learning rate",
    "grad_norm": "Gradient norm",
    "skipped": "Records that could not be read",
    "cut": "Objects beyond max_boxes",
}
_PREFIXES = {"baseline": "Baseline: ", "train": "", "eval": ""}
_UNLIMITED = re.compile(r"(.*/)?(loss|lr|grad_norm|skipped|cut|errors)(/.*)?")
_COUNTS = re.compile(r"eval/(skipped|cut)")


def titled(name: str) -> str:
    """Returns a metric's name in words: 'Top-1 accuracy' for 'eval/top1'."""
    prefix, _, rest = name.rpartition("/")
    before = _PREFIXES.get(prefix, f"{prefix.replace('_', ' ')}: " if prefix else "")
    words = _WORDS.get(rest)
    if words is None:
        best_of = re.fullmatch(r"top(\d+)(.*)", rest)
        words = f"Top-{best_of[1]} accuracy{best_of[2]}" if best_of else rest.replace("_", " ")
    shown = f"{before}{words}"
    return shown[:1].upper() + shown[1:]


def are_fractions(name: str, values: Iterable[float]) -> bool:
    """Returns whether a metric is one of 0..1, such as an accuracy, by its name and values."""
    known = [value for value in values if math.isfinite(value)]
    if _UNLIMITED.fullmatch(name) or not known:
        return False
    return min(known) >= 0 and max(known) <= 1


def valued(name: str, value: float) -> str:
    """Writes a metric's value: fractions with three decimals, others with four digits."""
    if math.isnan(value):
        return "–"
    if are_fractions(name, [value]):
        return f"{value:.3f}"
    return number(round(value) if _COUNTS.fullmatch(name) else float(value))


def number(value: object) -> str:
    """Writes a number with four digits, or with commas from a thousand on."""
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if abs(value) < 1e3 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
