"""Tables of many runs: mean ± standard deviation over seeds, and claims decided by them."""

import csv
import io
import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from vision_jax import visualize
from vision_jax.config import brief
from vision_jax.report.claims import SEEDS, SHOWN, Claim, Decision, SweepRow, decide, values_of
from vision_jax.report.folder import write_atomically

WALL = "wall_seconds"  # a column of results.csv: what a run took, with all its attempts


def write_sweep(
    folder: str | os.PathLike,
    rows: Sequence[SweepRow],
    claims: Sequence[Claim] = (),
    bubbles: tuple[str, str, str] | None = None,
    headline: str = "",
    budget: str = "",
    regime: str = "",
) -> pathlib.Path:
    """Writes results.csv (a line per run), table.md (seeds together, claims) and plot.png.

    Args:
      folder: made if missing.
      rows: every run of the sweep, finished or not.
      claims: decided at the table's end.
      bubbles: columns to draw across, up and as the size of circles, into bubbles.png.
      headline: the metric that plot.png shows where no claim names one, such as the runs' `best`.
      budget, regime: how much training, and of what kind, in words, for the table to say.

    Returns:
      The path of table.md.
    """
    folder = pathlib.Path(folder)
    keys, metrics = _union(row.overrides for row in rows), _metrics(rows)
    write_atomically(folder / "results.csv", _csv(rows, keys, metrics).encode())
    table = folder / "table.md"
    write_atomically(table, sweep_table(rows, claims, budget, regime).encode())
    groups = _group(rows)
    shown = headline if headline in metrics else _headline(metrics)
    _plot(folder / "plot.png", groups, claims[0].metric if claims else shown)
    if bubbles is not None:
        _bubbles(folder / "bubbles.png", groups, bubbles)
    return table


def sweep_table(
    rows: Sequence[SweepRow], claims: Sequence[Claim] = (), budget: str = "", regime: str = ""
) -> str:
    """Returns what table.md says of a sweep's runs, as Markdown; arguments as in `write_sweep`."""
    keys = [key for key in _union(row.overrides for row in rows) if key not in SEEDS]
    metrics = [metric for metric in _metrics(rows) if metric != WALL]
    lines = [*_table(_group(rows), keys, metrics), "", *_effort(rows, budget, regime)]
    missing = [row.name for row in rows if row.metrics is None]
    if missing:
        lines += ["", f"Not finished: {', '.join(missing)}."]
    if claims:
        lines += ["", "| claim | metric | difference | verdict |", "| --- | --- | --- | --- |"]
        lines += [_verdict(claim, rows) for claim in claims]
    return "\n".join(lines) + "\n"


def _effort(rows: Sequence[SweepRow], budget: str, regime: str) -> list[str]:
    """Writes the lines about seeds, budget, wall time and regime, for what is known of them."""
    per_row = sorted({sum(r.metrics is not None for r in group) for group in _group(rows).values()})
    seeds = " to ".join(dict.fromkeys(str(count) for count in (per_row[0], per_row[-1])))
    seeds += " for each row"
    walls = values_of(rows, WALL)
    measured = len(walls) == sum(row.metrics is not None for row in rows) and walls
    wall = f"{sum(walls) / 60:.1f} minutes for {len(walls)} runs" if measured else "not recorded"
    facts = {"Seeds": seeds, "Budget": budget, "Wall time": wall, "Regime": regime}
    return [f"- {name}: {text.rstrip('.')}." for name, text in facts.items() if text]


def _union(mappings) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _metrics(rows: Sequence[SweepRow]) -> list[str]:
    return _union(row.metrics for row in rows if row.metrics)


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
        seeds = [f"seed{brief(value)}" for key, value in row.overrides.items() if key in SEEDS]
        key = tuple(
            (k, _any_seed(brief(v), seeds)) for k, v in row.overrides.items() if k not in SEEDS
        )
        groups.setdefault(key, []).append(row)
    return groups


def _any_seed(text: str, seeds: Sequence[str]) -> str:
    """Leaves a run's own seed out of a value, as of weights that an earlier run of it made."""
    for seed in seeds:
        text = re.sub(rf"{re.escape(seed)}(?!\d)", "seed*", text)
    return text


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
        cells += [mean_and_spread(values_of(rows, metric)) for metric in metrics]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def mean_and_spread(values: Sequence[float]) -> str:
    """Writes '0.912 ± 0.004', with the unbiased standard deviation; one value stands alone."""
    if not values:
        return "–"
    mean = f"{np.mean(values):.4g}"
    return f"{mean} ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else mean


def _short(keys: Sequence[str]) -> list[str]:
    """Shortens dotted keys to their last parts, where these are not ambiguous."""
    lasts = [key.rpartition(".")[2] for key in keys]
    return [last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)]


def _verdict(claim: Claim, rows: Sequence[SweepRow]) -> str:
    decision = decide(claim, rows)
    verdict = decision.verdict
    if decision.reason:
        verdict += f": {decision.reason}"
    if claim.scale and decision.verdict != SHOWN:
        verdict += f"; published at {claim.scale}"
    return f"| {claim.text} | {claim.metric} | {difference_of(decision)} | {verdict} |"


def difference_of(decision: Decision) -> str:
    """Writes a difference with twice its standard error, '+0.16 ± 0.02'; '–' if unknown."""
    if math.isnan(decision.difference):
        return "–"
    return f"{decision.difference:+.4g} ± {decision.margin:.2g}"


def _headline(metrics: Sequence[str]) -> str | None:
    evaluated = [metric for metric in metrics if metric.startswith("eval/")]
    accuracies = [metric for metric in evaluated if not metric.endswith("loss")]
    return next(iter([*accuracies, *evaluated, *metrics]), None)


def _plot(
    path: pathlib.Path, groups: Mapping[tuple, Sequence[SweepRow]], metric: str | None
) -> None:
    names, means, spreads = [], [], []
    same = set.intersection(*map(set, groups)) if len(groups) > 1 else set()
    for group, rows in groups.items():
        values = values_of(rows, metric) if metric else []
        if values:
            names.append(_label(tuple(pair for pair in group if pair not in same)))
            means.append(float(np.mean(values)))
            spreads.append(float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)
    if not names:
        return
    buffer = io.BytesIO()
    title = f"{metric}: mean ± std over seeds"
    Image.fromarray(visualize.bars(names, means, spreads, title)).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _bubbles(
    path: pathlib.Path, groups: Mapping[tuple, Sequence[SweepRow]], columns: tuple[str, str, str]
) -> None:
    names, points = [], []
    for rows in groups.values():
        point = [values_of(rows, column) for column in columns]
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
