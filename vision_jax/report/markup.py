"""HTML pages that are complete in themselves: pictures within the page, tables, numbers."""

import base64
import html
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from vision_jax.report.folder import write_atomically

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


class Page:
    """A page: its parts, in order, and its pictures, which are files too."""

    def __init__(self, folder: pathlib.Path):
        """
        Args:
          folder: where the page and its pictures go.
        """
        self._folder = folder
        self._parts: list[str] = []

    def add(self, part: str) -> None:
        """Adds HTML."""
        self._parts.append(part)

    def picture(self, name: str, image: np.ndarray, alt: str) -> str:
        """Saves a picture as a file; returns HTML that holds it too."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG", optimize=True)
        write_atomically(self._folder / f"{name}.png", buffer.getvalue())
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'

    def add_figure(self, title: str, name: str, image: np.ndarray, alt: str, caption: str) -> None:
        """Adds a headline, a picture (see `picture`) and a text below it."""
        figure = f"{self.picture(name, image, alt)}<figcaption>{caption}</figcaption>"
        self.add(f"<h2>{html.escape(title)}</h2><figure>{figure}</figure>")

    def write(self, title: str) -> pathlib.Path:
        """Writes index.html; returns its path."""
        head = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        )
        content = "\n".join([head, *self._parts, "</body></html>\n"])
        write_atomically(self._folder / "index.html", content.encode())
        return self._folder / "index.html"


def table(title: str, rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Makes a table under a headline, folded where it is long; '' without rows."""
    if not rows:
        return ""
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    if head:
        lines.insert(0, "".join(f"<th>{html.escape(cell)}</th>" for cell in head))
    text = "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
    if len(rows) > _LONG_TABLE:
        text = f"<details><summary>{len(rows)} rows</summary>{text}</details>"
    return f"<h2>{html.escape(title)}</h2>{text}"


def number(value: Any) -> str:
    """Writes a number with four digits, or with commas from a thousand on."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e3 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
