"""Sums up the rows of a run folder: last values, curves, rates, the distance from the paper."""

import dataclasses
import math
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax.report.folder import read_rows
from vision_jax.report.progress import duration

# The ways in which a number of ours may stand beside one of a paper's.
MEANINGS = {
    "trained": "trained by us",
    "parity": "parity: the reference's weights, evaluated by us",
    "smoke": "smoke-tested: reduced scale, not comparable",
}


_LAST_STEP = 2**53  # those beyond are damage
TIMED = "preparing, compiling, training and evaluation"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A row of the paper-and-ours table.

    Attributes:
      metric: its name in metrics.jsonl.
      paper: the published value.
      ours: the last one measured; None if there is none.
      source: where it is published.
      kind: 'trained', 'parity' or 'smoke', a key of `MEANINGS`.
    """

    metric: str
    paper: float
    ours: float | None
    source: str
    kind: str

    @property
    def meaning(self) -> str:
        """The kind in words."""
        return MEANINGS[self.kind]

    @property
    def difference(self) -> str:
        """The text of ours minus the paper's; a dash where it means nothing."""
        if self.ours is None or self.kind == "smoke":
            return "–"
        return f"{self.ours - self.paper:+.4g}"


def compare(
    config: Mapping[str, Any], made_with: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Comparison | None:
    """Makes the comparison that the config's `expect` asks for; None if it asks for none.

    Args:
      config: its tree. `expect` holds `metric` (with or without 'eval/'), `value`, `source`.
      made_with: versions.json, whose command tells a smoke run (`F.py:smoke`).
      rows: of metrics.jsonl. Given weights without a row of training are a parity run.
    """
    expect = config.get("expect")
    if not isinstance(expect, Mapping) or not isinstance(expect.get("metric"), str):
        return None
    metric, last, value = expect["metric"], last_values(rows), as_number(expect.get("value"))
    if not metric or value is None:
        return None
    if metric not in last and f"eval/{metric}" in last:
        metric = f"eval/{metric}"
    init = config.get("init")
    weights = isinstance(init, Mapping) and init.get("weights")
    if re.search(r"\.py:\S*\b(smoke|twin)\b", str(made_with.get("command"))):
        kind = "smoke"
    elif weights and not any(name.startswith("train/") for name in last):
        kind = "parity"
    else:
        kind = "trained"
    return Comparison(metric, value, last.get(metric), str(expect.get("source")), kind)


def numeric(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows with the numbers that can be drawn alone, null as NaN; none of odd steps."""
    whole = []
    for row in rows:
        step = row.get("step", 0)
        if isinstance(step, int) and 0 <= step <= _LAST_STEP:
            values = {name: as_number(value) for name, value in row.items() if name != "step"}
            whole.append({"step": step, **{n: v for n, v in values.items() if v is not None}})
    return whole


def as_number(value: Any) -> float | None:
    """Returns a value of JSON as a number, null as NaN; None for anything else."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else math.inf


def _finite(value: Any) -> float:
    """Returns a number that can be added up: 0 for null and for what is none."""
    number = as_number(value)
    return number if number is not None and math.isfinite(number) else 0.0


def last_values(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the newest value of each name, names in order of appearance; null is NaN."""
    last: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and not isinstance(value, str):
                last[name] = math.nan if value is None else float(value)
    return last


def groups(
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Groups curves that belong on one axis: `train/loss` with its terms and `eval/loss`.

    Returns:
      title → name → (steps, values). The loss comes first, then evaluation, then the rest. A group
      in which every curve is a single point is left out, and so is a loss's only term.
    """
    series: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and not isinstance(value, str):
                point = (row["step"], math.nan if value is None else float(value))
                series.setdefault(name, []).append(point)
    grouped: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for name, points in series.items():
        steps, values = zip(*points, strict=True)
        curve = (np.array(steps), np.array(values))
        parent = name.rpartition("/")[0]
        if parent in series and sum(other.startswith(f"{parent}/") for other in series) == 1:
            continue
        title = parent if parent in series else name
        grouped.setdefault(title.partition("/")[2] or title, {})[name] = curve

    def rank(title: str) -> int:
        evaluated = any(name.startswith("eval/") for name in grouped[title])
        return 0 if title == "loss" else 1 if evaluated else 2

    return {
        title: grouped[title]
        for title in sorted(grouped, key=rank)
        if any(len(steps) > 1 for steps, _ in grouped[title].values())
    }


def rates(timing: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums timing.jsonl up: median rate, time over all attempts, peaks, named seconds."""
    total: dict[str, Any] = {}
    speeds = [speed for row in timing if (speed := _finite(row.get("images_per_second"))) > 0]
    if speeds:
        total["images_per_second_(median)"] = float(np.median(speeds))
    if timing:
        total[f"time_({TIMED})"] = total_time(timing)
    for row in timing:
        for name, value in row.items():
            if name.endswith("_bytes"):
                label = name.removesuffix("_bytes") + "_MB"
                total[label] = max(total.get(label, 0), round(_finite(value) / 1e6))
            elif name.endswith("_seconds"):
                total[name] = total.get(name, 0.0) + _finite(value)
    return total


def total_time(timing: Sequence[Mapping[str, Any]]) -> str:
    """Writes the time that a run took, over all attempts; `TIMED` says what it includes."""
    ends = _attempts(timing)
    several = f" in {len(ends)} attempts" if len(ends) > 1 else ""
    return duration(sum(ends)) + several


def wall_seconds(folder: pathlib.Path) -> float:
    """Returns the seconds that the run in a folder took, all attempts together; 0 if unknown."""
    return sum(_attempts(read_rows(folder / "timing.jsonl")))


def _attempts(timing: Sequence[Mapping[str, Any]]) -> list[float]:
    """Returns the seconds of each attempt, of one at least."""
    # `seconds` counts from each attempt's beginning: where it falls, a new attempt begins.
    seconds = [_finite(row.get("seconds")) for row in timing] or [0.0]
    pairs = zip(seconds, [*seconds[1:], -1.0], strict=True)
    return [now for now, after in pairs if after < now] or [0.0]
