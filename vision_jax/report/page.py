"""The page of one run: report/index.html, complete in itself, and its pictures as PNG files."""

import base64
import html
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vision_jax import visualize
from vision_jax.config import UserError
from vision_jax.report.folder import load_arrays, read_rows, write_atomically
from vision_jax.report.summary import Comparison, compare, groups, last_values, rates

_MOST_PICTURES = 12
_LONG_TABLE = 20  # rows; a longer one is folded

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 1120px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid #e5e7eb; }
p.note, figcaption, td.note { color: #6b7280; font-size: .9rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.card { border: 1px solid #e5e7eb; border-radius: .6rem; padding: .6rem 1rem; min-width: 7rem; }
.card b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.card span { color: #6b7280; font-size: .85rem; }
.pictures { display: grid; gap: .8rem;
            grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
figure { margin: 0; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid #f3f4f6;
         vertical-align: top; }
th { font-weight: 600; } .tag { border-radius: 1rem; padding: .1rem .6rem; font-size: .85rem; }
.trained { background: #dcfce7; } .parity { background: #dbeafe; } .smoke { background: #fef3c7; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; background: #f9fafb; padding: .8rem; border-radius: .4rem; }
"""


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
    page = _Page(folder / "report")
    page.add(_headline(folder, rows, made_with))
    # The end of a run adds numbers that belong to no step, such as its baselines.
    page.add(_cards({**last_values(rows), **_json(folder / "DONE").get("metrics", {})}))
    page.add(_comparison(comparison))
    _add_curves(page, rows, comparison)
    _add_predictions(page, load_arrays(folder, "predictions"))
    _add_confusion(page, load_arrays(folder, "confusion"))
    _add_classes(page, load_arrays(folder, "per_class"))
    page.add(_table("Speed", [(_spaced(k), _number(v)) for k, v in rates(timing).items()]))
    page.add(_made_with(made_with))
    if config:
        text = html.escape(json.dumps(config.get("settings", config), indent=1))
        page.add(f"<h2>Config</h2><details><summary>all settings</summary><pre>{text}</pre>")
        page.add("</details>")
    return page.write(folder.resolve().name)


class _Page:
    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._parts: list[str] = []

    def add(self, part: str) -> None:
        self._parts.append(part)

    def picture(self, name: str, image: np.ndarray, alt: str) -> str:
        """Saves a picture as a file; returns HTML that holds it too."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG", optimize=True)
        write_atomically(self._folder / f"{name}.png", buffer.getvalue())
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'

    def write(self, title: str) -> pathlib.Path:
        head = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        )
        content = "\n".join([head, *self._parts, "</body></html>\n"])
        write_atomically(self._folder / "index.html", content.encode())
        return self._folder / "index.html"


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
        f'<div class="card"><b>{_number(value)}</b><span>{html.escape(name)}</span></div>'
        for name, value in last.items()
        if not name.startswith("train/") and name not in ("lr", "loss")
    ]
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _comparison(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    ours = "not measured" if comparison.ours is None else _number(comparison.ours)
    cells = [comparison.metric, _number(comparison.paper), ours, comparison.difference]
    row = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    row += f'<td><span class="tag {comparison.kind}">{comparison.meaning}</span></td>'
    head = "".join(f"<th>{name}</th>" for name in ("metric", "expected", "ours", "difference", ""))
    source = f'<p class="note">Expected: {html.escape(comparison.source)}</p>'
    return f"<h2>Expected and ours</h2><table><tr>{head}</tr><tr>{row}</tr></table>{source}"


def _add_curves(page: _Page, rows: Sequence[Mapping], comparison: Comparison | None) -> None:
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


def _add_confusion(page: _Page, arrays: Mapping[str, np.ndarray] | None) -> None:
    if arrays is None:
        return
    matrix, names = arrays["matrix"], arrays.get("classes", ())
    right, total = int(np.trace(matrix)), int(matrix.sum())
    alt = f"Confusion matrix of {len(matrix)} classes; {right} of {total} on the diagonal"
    picture = page.picture("confusion", visualize.confusion(matrix, names), alt)
    caption = f"{right} of {total} images are on the diagonal; shades are shares of a row."
    page.add(f"<h2>Confusion</h2><figure>{picture}<figcaption>{caption}</figcaption></figure>")


def _add_classes(page: _Page, arrays: Mapping[str, np.ndarray] | None) -> None:
    if arrays is None:
        return
    metrics = [name for name in arrays if name != "classes"]
    order = np.argsort(arrays[metrics[0]], kind="stable") if metrics else []
    rows = [
        (str(arrays["classes"][i]), *(_number(float(arrays[m][i])) for m in metrics)) for i in order
    ]
    page.add(_table("Classes, the hardest first", rows, ("class", *metrics)))


def _add_predictions(page: _Page, arrays: Mapping[str, np.ndarray] | None) -> None:
    if arrays is None or not len(arrays["image"]):
        return
    label, predicted = arrays["label"], arrays["predicted"]
    answers = (label, predicted, arrays["confidence"], arrays["classes"])
    image = visualize.predictions(arrays["image"], *answers, min(8, len(label)))
    wrong = int((label != predicted).sum())
    alt = f"{len(label)} images with the network's answers, {wrong} of them wrong"
    caption = (
        "The network's answer with its probability. Red: wrong, the most confident first;"
        " green: right, spread over the data set. Not a fair sample: mistakes are preferred."
    )
    picture = page.picture("predictions", image, alt)
    page.add(f"<h2>Predictions</h2><figure>{picture}<figcaption>{caption}</figcaption></figure>")


def _made_with(made_with: Mapping[str, Any]) -> str:
    rows = [("command", made_with["command"])] if "command" in made_with else []
    for key in ("commit", "device", "devices", "processes", "backend", "platform", "python"):
        if made_with.get(key) is not None:
            rows.append((key, str(made_with[key])))
    rows += [(name, str(v or "missing")) for name, v in made_with.get("packages", {}).items()]
    return _table("Made with", rows)


def _table(title: str, rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    if not rows:
        return ""
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    if head:
        lines.insert(0, "".join(f"<th>{html.escape(cell)}</th>" for cell in head))
    table = "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
    if len(rows) > _LONG_TABLE:
        table = f"<details><summary>{len(rows)} rows</summary>{table}</details>"
    return f"<h2>{html.escape(title)}</h2>{table}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e3 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _json(path: pathlib.Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); the run's command writes it anew") from error
    return found if isinstance(found, dict) else {}
