"""Sums up the rows of a run folder: last values, curves, rates, the distance from the paper."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax.report.progress import duration

# The ways in which a number of ours may stand beside one of a paper's.
MEANINGS = {
    "trained": "trained by us",
    "parity": "parity: the reference's weights, evaluated by us",
    "smoke": "smoke-tested: reduced scale, not comparable",
}


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
    if not expect or not expect.get("metric"):
        return None
    metric, last = expect["metric"], last_values(rows)
    if metric not in last and f"eval/{metric}" in last:
        metric = f"eval/{metric}"
    init = config.get("init") or {}
    if re.search(r"\.py:\S*\b(smoke|twin)\b", made_with.get("command") or ""):
        kind = "smoke"
    elif init.get("weights") and not any(name.startswith("train/") for name in last):
        kind = "parity"
    else:
        kind = "trained"
    return Comparison(metric, float(expect["value"]), last.get(metric), expect["source"], kind)


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
    speeds = [row["images_per_second"] for row in timing if row.get("images_per_second")]
    if speeds:
        total["images_per_second_(median)"] = float(np.median(speeds))
    if timing:
        total["time"] = _attempts(timing)
    for row in timing:
        for name, value in row.items():
            if name.endswith("_bytes") and value is not None:
                label = name.removesuffix("_bytes") + "_MB"
                total[label] = max(total.get(label, 0), round(value / 1e6))
            elif name.endswith("_seconds") and value is not None:
                total[name] = total.get(name, 0.0) + float(value)
    return total


def _attempts(timing: Sequence[Mapping[str, Any]]) -> str:
    # `seconds` counts from each attempt's beginning: where it falls, a new attempt begins.
    seconds = [float(row.get("seconds") or 0) for row in timing]
    ends = [
        now for now, after in zip(seconds, [*seconds[1:], -1.0], strict=True) if after < now
    ] or [0.0]
    several = f" in {len(ends)} attempts" if len(ends) > 1 else ""
    return duration(sum(ends)) + several
