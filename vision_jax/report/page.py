"""The page of one run: report/index.html, complete in itself, and its pictures as PNG files."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax import visualize
from vision_jax.config import UserError, printable
from vision_jax.report.data_section import add_data
from vision_jax.report.folder import read_rows
from vision_jax.report.growth import add_growth
from vision_jax.report.markup import Page, file_name, table, text
from vision_jax.report.next_steps import next_steps
from vision_jax.report.page_evaluation import add_evaluation
from vision_jax.report.summary import Comparison, compare, groups, last_values, numeric, rates
from vision_jax.report.titles import are_fractions, number, titled, valued

_MOST_PICTURES = 12


def write_report(folder: str | os.PathLike) -> pathlib.Path:
    """Writes `<folder>/report/index.html` and its pictures, from the run folder's files alone.

    Whatever is missing is left out of the page, so that runs that go on, were stopped or crashed,
    and evaluations without a run, have one too.

    Returns:
      The page's path.

    Raises:
      UserError: no run in the folder, or a damaged file, named.
    """
    folder = pathlib.Path(folder)
    rows = numeric(read_rows(folder / "metrics.jsonl"))
    config, made_with = _json(folder / "config.json"), _json(folder / "versions.json")
    evaluation = _json(folder / "evaluation.json")
    numbers = {**last_values(rows), **_metrics(_json(folder / "DONE"))}
    if evaluation and (not rows or _is_newer(folder / "evaluation.json", folder / "metrics.jsonl")):
        numbers |= _metrics(evaluation)
    if not rows and _metrics(evaluation):  # given weights, never trained here
        rows = [{"step": 0, **_metrics(evaluation)}]
    if not rows and not config:
        raise UserError(f"no run in {folder}: neither metrics.jsonl nor config.json is there")
    finished = (folder / "DONE").exists()
    tree = _part(config, "tree") or config
    timing = numeric(read_rows(folder / "timing.jsonl"))
    comparison = compare(tree, made_with, rows)
    page = Page(folder / "report")
    page.add(_headline(folder, rows, made_with, evaluation))
    headline = str(tree.get("best") or (comparison.metric if comparison else ""))
    page.add(_cards(numbers, headline))
    page.add(_comparison(comparison))
    if config:
        page.add(next_steps(folder, tree, made_with, finished))
    add_data(page, folder)
    _add_curves(page, rows, comparison, headline)
    add_growth(page, folder)
    add_evaluation(page, folder)
    page.add(table("Speed", [(_spaced(k), number(v)) for k, v in rates(timing).items()]))
    page.add(_made_with(made_with))
    if config:
        settings = text(json.dumps(config.get("settings", config), indent=1))
        page.add(f"<h2>Config</h2><details><summary>all settings</summary><pre>{settings}</pre>")
        page.add("</details>")
    return page.write(folder.resolve().name)


def _headline(
    folder: pathlib.Path, rows: Sequence[Mapping], made_with: Mapping, evaluation: Mapping
) -> str:
    facts = [f"{rows[-1]['step']} steps" if rows else "no steps yet"]
    if not (folder / "DONE").exists() and (folder / "config.json").exists():
        facts.append("not finished")
    if evaluation.get("weights"):
        facts.append(f"evaluated: {evaluation['weights']}")
    if made_with.get("device"):
        facts.append(f"{made_with.get('devices', 1)} × {made_with['device']}")
    if made_with.get("commit"):
        dirty = " with uncommitted changes" if made_with.get("dirty") else ""
        facts.append(f"commit {str(made_with['commit'])[:10]}{dirty}")
    title = text(folder.resolve().name)
    return f'<h1>{title}</h1><p class="note">{text(" · ".join(facts))}</p>'


def _cards(last: Mapping[str, float], headline: str) -> str:
    """Makes the cards of numbers: the one that decides first, losses last."""
    names = [n for n in last if not n.startswith("train/") and n not in ("lr", "loss")]
    names.sort(key=lambda name: (name != headline, name.endswith("loss")))
    cards = [
        f'<div class="card{" first" if name == headline else ""}">'
        f"<b>{valued(name, last[name])}</b><span>{text(titled(name))}</span>"
        f"<code>{text(name)}</code></div>"
        for name in names
    ]
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _comparison(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    name, ours = comparison.metric, comparison.ours
    measured = "not measured" if ours is None else valued(name, ours)
    cells = [titled(name), valued(name, comparison.paper), measured, comparison.difference]
    row = "".join(f"<td>{text(cell)}</td>" for cell in cells)
    row += f'<td><span class="tag {comparison.kind}">{comparison.meaning}</span></td>'
    head = "".join(f"<th>{name}</th>" for name in ("metric", "expected", "ours", "difference", ""))
    source = f'<p class="note">Expected: {text(comparison.source)}</p>'
    return f"<h2>Expected and ours</h2><table><tr>{head}</tr><tr>{row}</tr></table>{source}"


def _add_curves(
    page: Page, rows: Sequence[Mapping], comparison: Comparison | None, headline: str
) -> None:
    """Adds a picture per group of curves, the one of the number that decides first."""
    figures = []
    grouped = sorted(groups(rows).items(), key=lambda item: headline not in item[1])
    for title, series in grouped[:_MOST_PICTURES]:
        target = None
        if comparison and comparison.kind != "smoke" and comparison.metric in series:
            target = (comparison.paper, "expected")
        alt = f"{title} over steps: {', '.join(series)}"
        fractions = are_fractions(title, np.concatenate([y for _, y in series.values()]))
        image = visualize.curves(series, titled(title), target=target, fractions=fractions)
        picture = page.picture(file_name(f"curve_{title}"), image, alt)
        figures.append(f"<figure>{picture}</figure>")
    if figures:
        page.add(f'<h2>Curves</h2><div class="pictures">{"".join(figures)}</div>')


def _made_with(made_with: Mapping[str, Any]) -> str:
    rows = []
    for key in (
        "command",
        "commit",
        "device",
        "devices",
        "processes",
        "backend",
        "platform",
        "python",
    ):
        if made_with.get(key) is not None:
            rows.append((key, str(made_with[key])))
    rows += [(name, str(v or "missing")) for name, v in _part(made_with, "packages").items()]
    return table("Made with", rows)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of DONE or evaluation.json; null is NaN."""
    return last_values(numeric([_part(record, "metrics")]))


def _part(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Returns what JSON has under a key, if it is an object."""
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def _is_newer(file: pathlib.Path, other: pathlib.Path) -> bool:
    return file.stat().st_mtime_ns >= other.stat().st_mtime_ns


def _json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON file; {} if there is none."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = printable(error, 100)
        raise UserError(
            f"{path} is damaged ({reason}); the run's command writes it anew"
        ) from error
    return content if isinstance(content, dict) else {}
