"""Tables of many runs: mean ± standard deviation over seeds, and claims decided by them."""

import csv
import dataclasses
import io
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vision_jax import visualize
from vision_jax.config import brief
from vision_jax.report.folder import write_atomically

SEEDS = ("seed", "data_seed")
FEWEST_SEEDS = 3


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
      scale: the setting in which it would show, for the table to say when here it does not.
      within: not None claims instead that the sides differ by no more, seed by seed.
      paired: the sides measure the same trained networks in two ways, so that differences are
        taken seed by seed.
    """

    text: str
    metric: str
    higher: Mapping[str, Any]
    lower: Mapping[str, Any]
    scale: str = ""
    within: float | None = None
    paired: bool = False


def shows(a: Sequence[float], b: Sequence[float], paired: bool = False) -> bool:
    """Returns whether a's mean is above b's by more than twice the difference's standard error.

    Both need 3 values or more (seeds), all finite; the error is sqrt(var a / n + var b / m) with
    unbiased variances, or sqrt(var (a - b) / n) where values at one place belong together.
    """
    if min(len(a), len(b)) < FEWEST_SEEDS or not all(map(math.isfinite, (*a, *b))):
        return False
    if paired and len(a) != len(b):
        return False
    difference, error = _difference(a, b, paired)
    return difference > 2 * error


def equal(a: Sequence[float], b: Sequence[float], within: float) -> bool:
    """Returns whether a and b, 3 values or more, one per seed, differ by `within` at most."""
    if len(a) != len(b) or len(a) < FEWEST_SEEDS:
        return False
    return all(abs(x - y) <= within for x, y in zip(a, b, strict=True))


def write_sweep(
    folder: str | os.PathLike,
    rows: Sequence[SweepRow],
    claims: Sequence[Claim] = (),
    bubbles: tuple[str, str, str] | None = None,
    headline: str = "",
) -> pathlib.Path:
    """Writes results.csv (a line per run), table.md (seeds together, claims) and plot.png.

    Args:
      folder: made if missing.
      rows: every run of the sweep, finished or not.
      claims: decided at the table's end.
      bubbles: columns to draw across, up and as the size of circles, into bubbles.png.
      headline: the metric that plot.png shows where no claim names one, such as the runs' `best`.

    Returns:
      The path of table.md.
    """
    folder = pathlib.Path(folder)
    keys = _union(row.overrides for row in rows)
    metrics = _union(row.metrics for row in rows if row.metrics)
    write_atomically(folder / "results.csv", _csv(rows, keys, metrics).encode())
    groups = _group(rows)
    lines = _table(groups, [key for key in keys if key not in SEEDS], metrics)
    missing = [row.name for row in rows if row.metrics is None]
    if missing:
        lines += ["", f"Not finished: {', '.join(missing)}."]
    if claims:
        lines += ["", "| claim | metric | difference | verdict |", "| --- | --- | --- | --- |"]
        lines += [_verdict(claim, rows) for claim in claims]
    table = folder / "table.md"
    write_atomically(table, ("\n".join(lines) + "\n").encode())
    shown = headline if headline in metrics else _headline(metrics)
    _plot(folder / "plot.png", groups, claims[0].metric if claims else shown)
    if bubbles is not None:
        _bubbles(folder / "bubbles.png", groups, bubbles)
    return table


def _union(mappings) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _csv(rows: Sequence[SweepRow], keys: Sequence[str], metrics: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *keys, *metrics])
    for row in rows:
        values = [(row.metrics or {}).get(metric, "") for metric in metrics]
        cells = [brief(row.overrides[key]) if key in row.overrides else "" for key in keys]
        writer.writerow([row.name, *cells, *values])
    return text.getvalue()


def _group(rows: Sequence[SweepRow]) -> dict[tuple, list[SweepRow]]:
    """Groups rows by their overrides without seeds, in order of appearance."""
    groups: dict[tuple, list[SweepRow]] = {}
    for row in rows:
        key = tuple((k, brief(v)) for k, v in row.overrides.items() if k not in SEEDS)
        groups.setdefault(key, []).append(row)
    return groups


def _table(
    groups: Mapping[tuple, Sequence[SweepRow]], keys: Sequence[str], metrics: Sequence[str]
) -> list[str]:
    shorts = _short(keys)
    lines = [
        "| " + " | ".join([*shorts, "n", *metrics]) + " |",
        "| " + " | ".join(["---"] * (len(keys) + 1 + len(metrics))) + " |",
    ]
    for group, rows in groups.items():
        overrides = dict(group)
        cells = [overrides.get(key, "") for key in keys]
        cells.append(str(sum(row.metrics is not None for row in rows)))
        cells += [mean_and_spread(_values(rows, metric)) for metric in metrics]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def mean_and_spread(values: Sequence[float]) -> str:
    """Writes '0.912 ± 0.004', with the unbiased standard deviation; one value stands alone."""
    if not values:
        return "–"
    mean = f"{np.mean(values):.4g}"
    return f"{mean} ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else mean


def _values(rows: Sequence[SweepRow], metric: str) -> list[float]:
    """Returns finished runs' values; one that is not finite stays NaN: leaving it out flatters."""
    values = [row.metrics[metric] for row in rows if row.metrics and metric in row.metrics]
    return [math.nan if value is None else float(value) for value in values]


def _short(keys: Sequence[str]) -> list[str]:
    """Shortens dotted keys to their last parts, where these are not ambiguous."""
    lasts = [key.rpartition(".")[2] for key in keys]
    return [last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)]


def _side(rows: Sequence[SweepRow], overrides: Mapping[str, Any], metric: str) -> list[float]:
    chosen = [row for row in rows if all(row.overrides.get(k) == v for k, v in overrides.items())]
    return _values(chosen, metric)


def _difference(a: Sequence[float], b: Sequence[float], paired: bool) -> tuple[float, float]:
    """Computes the difference of the means, and its standard error."""
    if paired and len(a) == len(b):
        error = math.sqrt(np.var(np.subtract(a, b), ddof=1) / len(a))
    else:
        error = math.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))
    return float(np.mean(a) - np.mean(b)), error


def _verdict(claim: Claim, rows: Sequence[SweepRow]) -> str:
    higher = _side(rows, claim.higher, claim.metric)
    lower = _side(rows, claim.lower, claim.metric)
    if claim.within is None:
        is_shown = shows(higher, lower, claim.paired)
    else:
        is_shown = equal(higher, lower, claim.within)
    if is_shown:
        verdict = "shown"
    else:
        verdict = "not shown" + (f"; would show at {claim.scale}" if claim.scale else "")
    if min(len(higher), len(lower)) < FEWEST_SEEDS:
        counts = f"{len(higher)} and {len(lower)} runs, {FEWEST_SEEDS} needed"
        return f"| {claim.text} | {claim.metric} | {counts} | {verdict} |"
    difference, error = _difference(higher, lower, claim.paired)
    return f"| {claim.text} | {claim.metric} | {difference:+.4g} ± {2 * error:.2g} | {verdict} |"


def _headline(metrics: Sequence[str]) -> str | None:
    evaluated = [metric for metric in metrics if metric.startswith("eval/")]
    accuracies = [metric for metric in evaluated if not metric.endswith("loss")]
    return next(iter([*accuracies, *evaluated, *metrics]), None)


def _plot(
    path: pathlib.Path, groups: Mapping[tuple, Sequence[SweepRow]], metric: str | None
) -> None:
    names, means, spreads = [], [], []
    for group, rows in groups.items():
        values = _values(rows, metric) if metric else []
        if values:
            names.append(_label(group))
            means.append(float(np.mean(values)))
            spreads.append(float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)
    if not names:
        return
    buffer = io.BytesIO()
    title = f"{metric}: mean ± standard deviation over seeds"
    Image.fromarray(visualize.bars(names, means, spreads, title)).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _bubbles(
    path: pathlib.Path, groups: Mapping[tuple, Sequence[SweepRow]], columns: tuple[str, str, str]
) -> None:
    names, points = [], []
    for rows in groups.values():
        point = [_values(rows, column) for column in columns]
        if all(point):
            names.append(rows[0].name.partition("-seed")[0])
            points.append([float(np.mean(values)) for values in point])
    if names:
        buffer = io.BytesIO()
        picture = visualize.bubbles(names, *zip(*points, strict=True), labels=columns)
        Image.fromarray(picture).save(buffer, "PNG")
        write_atomically(path, buffer.getvalue())


def _label(group: tuple) -> str:
    keys = _short([key for key, _ in group])
    pairs = zip(keys, group, strict=True)
    return ", ".join(f"{key}={value}" for key, (_, value) in pairs) or "base"
