"""Writes the comparison of `explain` in words and tables."""

from collections.abc import Sequence

import numpy as np

from vision_jax.config import printable
from vision_jax.evaluation.explain import Counts, Score, Step


def reason(step: Step) -> str:
    """Says how a switch changed the judgements, from the counts before and after it."""
    before, after = step.before, step.after
    if len(after.per_threshold) > len(before.per_threshold):
        first, middle, last = after.per_threshold[[0, 5, -1]]
        return f"{_percent(first)} at 0.50, {_percent(middle)} at 0.75, {_percent(last)} at 0.95"
    pairs = zip(Counts._fields, before.counts, after.counts, strict=True)
    changed = [f"{name} {old} → {new}" for name, old, new in pairs if old != new]
    if changed:
        return ", ".join(changed)
    if _same(before.ap, after.ap):
        return "nothing changes"
    if step.switch.field == "recalls":
        return "the same hits, averaged at other recalls"
    return "as many hits, other detections"


def tables(steps: Sequence[Step], classes: Sequence[str]) -> str:
    """Formats the totals, the switches and every class as Markdown, readable as it is.

    All numbers are average precisions in percent, changes in points; '-' is a class without
    objects to be found.
    """
    named = {"VOC07": steps[0].before, "VOC12": steps[0].after}
    named |= {"COCO AP50": steps[-1].before, "COCO AP": steps[-1].after}
    parts = [
        "# One set of detections under three rules",
        "Mean average precision over classes, percent.",
        _table([[*named], [_percent(one.mean) for one in named.values()]]),
        "## What makes the difference",
        "From VOC07 to COCO AP, one rule at a time: `change` in this order (they add up to the"
        " whole difference), `alone` if only this rule of VOC07 were switched. VOC12 is reached"
        " after the first, COCO AP50 before the last.",
        _table(_switches(steps)),
        "## By class",
        _table(_per_class(steps, classes, named)),
    ]
    return "\n\n".join(parts) + "\n"


def _switches(steps: Sequence[Step]) -> list[list[str]]:
    """Returns the table of switches."""
    start = steps[0].before
    rows = [["rule", "change", "alone", "AP then", "from here on", "what it did"]]
    rows.append(["VOC07", "", "", _percent(start.mean), "", _counts(start)])
    for step in steps:
        row = [step.switch.title, _points(step.after.mean - step.before.mean)]
        row += [_points(step.alone.mean - start.mean), _percent(step.after.mean)]
        rows.append([*row, step.switch.rule, reason(step)])
    total = _points(steps[-1].after.mean - start.mean)
    return [*rows, ["COCO AP", total, "", _percent(steps[-1].after.mean), "", ""]]


def _per_class(
    steps: Sequence[Step], classes: Sequence[str], named: dict[str, Score]
) -> list[list[str]]:
    """Returns the table of classes."""
    rows = [["class", *named, *(step.switch.title for step in steps)]]
    for label, name in enumerate(classes):
        row = [name, *(_percent(one.ap[label]) for one in named.values())]
        rows.append([*row, *(_points(s.after.ap[label] - s.before.ap[label]) for s in steps)])
    mean = ["mean", *(_percent(one.mean) for one in named.values())]
    return [*rows, [*mean, *(_points(s.after.mean - s.before.mean) for s in steps)]]


def _counts(score: Score) -> str:
    """Lists a score's counts, without most that are 0."""
    return ", ".join(
        f"{name} {count}"
        for name, count in zip(Counts._fields, score.counts, strict=True)
        if count or name in ("objects", "hits", "false")
    )


def _table(rows: list[list[str]]) -> str:
    """Formats rows as padded Markdown; the first is the header."""
    rows = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Returns text, such as a class's name, as it may stand in a table and on a terminal."""
    return printable(text, 200).replace("|", "\\|").replace("<", "\\<")


def _percent(value: float) -> str:
    """Formats an average precision in percent; '-' for NaN."""
    return "-" if np.isnan(value) else f"{100 * value:.2f}"


def _points(value: float) -> str:
    """Formats a change in percentage points; '-' for NaN."""
    if np.isnan(value):
        return "-"
    text = f"{100 * value:+.2f}"
    return "0" if text in ("+0.00", "-0.00") else text


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))
