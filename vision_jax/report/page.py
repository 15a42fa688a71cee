"""The page of one run: report/index.html, complete in itself, and its pictures as PNG files."""

import html
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from vision_jax import visualize
from vision_jax.config import UserError
from vision_jax.report.folder import read_rows
from vision_jax.report.markup import Page, number, table
from vision_jax.report.page_evaluation import add_evaluation
from vision_jax.report.summary import Comparison, compare, groups, last_values, rates

_MOST_PICTURES = 12


def write_report(folder: str | os.PathLike) -> pathlib.Path:
    """Writes `<folder>/report/index.html` and its pictures, from the run folder's files alone.

    Whatever is missing (after a crash, say) is left out of the page.

    Returns:
      The page's path.

    Raises:
      UserError: no run in the folder, or a damaged file, named.
    """
    folder = pathlib.Path(folder)
    rows = read_rows(folder / "metrics.jsonl")
    config, made_with = _json(folder / "config.json"), _json(folder / "versions.json")
    evaluation = _json(folder / "evaluation.json").get("metrics")
    if evaluation and not rows:  # given weights, never trained here
        rows = [{"step": 0, **evaluation}]
    if not rows and not config:
        raise UserError(f"no run in {folder}: neither metrics.jsonl nor config.json is there")
    timing = read_rows(folder / "timing.jsonl")
    comparison = compare(config.get("tree", config), made_with, rows)
    page = Page(folder / "report")
    page.add(_headline(folder, rows, made_with))
    # The end of a run adds numbers that belong to no step, such as its baselines.
    page.add(_cards({**last_values(rows), **_json(folder / "DONE").get("metrics", {})}))
    page.add(_comparison(comparison))
    _add_curves(page, rows, comparison)
    add_evaluation(page, folder)
    page.add(table("Speed", [(_spaced(k), number(v)) for k, v in rates(timing).items()]))
    page.add(_made_with(made_with))
    if config:
        text = html.escape(json.dumps(config.get("settings", config), indent=1))
        page.add(f"<h2>Config</h2><details><summary>all settings</summary><pre>{text}</pre>")
        page.add("</details>")
    return page.write(folder.resolve().name)


def _headline(folder: pathlib.Path, rows: Sequence[Mapping], made_with: Mapping) -> str:
    facts = [f"{rows[-1]['step']} steps" if rows else "no steps yet"]
    if not (folder / "DONE").exists():
        facts.append("not finished")
    if made_with.get("device"):
        facts.append(f"{made_with.get('devices', 1)} × {made_with['device']}")
    if made_with.get("commit"):
        dirty = " with uncommitted changes" if made_with.get("dirty") else ""
        facts.append(f"commit {made_with['commit'][:10]}{dirty}")
    title = html.escape(folder.resolve().name)
    return f'<h1>{title}</h1><p class="note">{html.escape(" · ".join(facts))}</p>'


def _cards(last: Mapping[str, float]) -> str:
    cards = [
        f'<div class="card"><b>{number(value)}</b><span>{html.escape(name)}</span></div>'
        for name, value in last.items()
        if not name.startswith("train/") and name not in ("lr", "loss")
    ]
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _comparison(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    ours = "not measured" if comparison.ours is None else number(comparison.ours)
    cells = [comparison.metric, number(comparison.paper), ours, comparison.difference]
    row = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    row += f'<td><span class="tag {comparison.kind}">{comparison.meaning}</span></td>'
    head = "".join(f"<th>{name}</th>" for name in ("metric", "expected", "ours", "difference", ""))
    source = f'<p class="note">Expected: {html.escape(comparison.source)}</p>'
    return f"<h2>Expected and ours</h2><table><tr>{head}</tr><tr>{row}</tr></table>{source}"


def _add_curves(page: Page, rows: Sequence[Mapping], comparison: Comparison | None) -> None:
    figures = []
    for title, series in list(groups(rows).items())[:_MOST_PICTURES]:
        target = None
        if comparison and comparison.kind != "smoke" and comparison.metric in series:
            target = (comparison.paper, "expected")
        alt = f"{title} over steps: {', '.join(series)}"
        image = visualize.curves(series, title, target=target)
        name = f"curve_{title.replace('/', '_')}"
        figures.append(f"<figure>{page.picture(name, image, alt)}</figure>")
    if figures:
        page.add(f'<h2>Curves</h2><div class="pictures">{"".join(figures)}</div>')


def _made_with(made_with: Mapping[str, Any]) -> str:
    rows = [("command", made_with["command"])] if "command" in made_with else []
    for key in ("commit", "device", "devices", "processes", "backend", "platform", "python"):
        if made_with.get(key) is not None:
            rows.append((key, str(made_with[key])))
    rows += [(name, str(v or "missing")) for name, v in made_with.get("packages", {}).items()]
    return table("Made with", rows)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON file; {} if there is none."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); the run's command writes it anew") from error
    return content if isinstance(content, dict) else {}
