"""HTML pages that are complete in themselves: pictures within the page, tables, numbers."""

import base64
import contextlib
import html
import io
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from vision_jax.config import UserError
from vision_jax.report.folder import write_atomically

_LONG_TABLE = 20  # rows; a longer one is folded
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 1120px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid #e5e7eb; }
p.note, figcaption, td.note { color: #6b7280; font-size: .9rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.card { border: 1px solid #e5e7eb; border-radius: .6rem; padding: .6rem 1rem; min-width: 7rem; }
.card b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.card span, .card code { display: block; color: #6b7280; font-size: .85rem; }
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
pre.command { user-select: all; margin: .2rem 0 .8rem; padding: .5rem .8rem; }
p { margin: .4rem 0; }
.card span, td, th { unicode-bidi: isolate; overflow-wrap: anywhere; }
.bar { background: #0072b2; height: .6rem; min-width: 1px; border-radius: .2rem; }
td.wide { width: 40%; min-width: 12rem; }
.card.first { border-color: #2563eb; } .card.first b { font-size: 2.2rem; }
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

    @contextlib.contextmanager
    def without_damage(self) -> Iterator[None]:
        """Leaves out the part within if its file is damaged, and says so."""
        try:
            yield
        except UserError as error:
            self.add(f'<p class="note">Left out: {text(error)}</p>')

    def picture(self, name: str, image: np.ndarray, alt: str) -> str:
        """Saves a picture as a file; returns HTML that holds it too."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG", optimize=True)
        write_atomically(self._folder / f"{name}.png", buffer.getvalue())
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="{text(alt)}" src="data:image/png;base64,{data}">'

    def add_figure(self, title: str, name: str, image: np.ndarray, alt: str, caption: str) -> None:
        """Adds a headline, a picture (see `picture`) and a text below it."""
        figure = f"{self.picture(name, image, alt)}<figcaption>{text(caption)}</figcaption>"
        self.add(f"<h2>{text(title)}</h2><figure>{figure}</figure>")

    def write(self, title: str) -> pathlib.Path:
        """Writes index.html; returns its path."""
        head = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>"
        )
        content = "\n".join([head, *self._parts, "</body></html>\n"])
        write_atomically(self._folder / "index.html", content.encode())
        return self._folder / "index.html"


def table(title: str, rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Makes a table under a headline, folded where it is long; '' without rows."""
    if not rows:
        return ""
    lines = ["".join(f"<td>{text(cell)}</td>" for cell in row) for row in rows]
    if head:
        lines.insert(0, "".join(f"<th>{text(cell)}</th>" for cell in head))
    content = "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
    if len(rows) > _LONG_TABLE:
        content = f"<details><summary>{len(rows)} rows</summary>{content}</details>"
    return f"<h2>{text(title)}</h2>{content}"


def commands(lines: Sequence[tuple[str, str]]) -> str:
    """Makes a list of commands, each below what it does; a click selects a whole one."""
    return "".join(
        f'<p>{text(purpose)}</p><pre class="command">{text(command)}</pre>'
        for purpose, command in lines
    )


def file_name(title: str) -> str:
    """Returns a title as part of a file's name, of letters, digits and a few signs."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", title)[:80]


def text(value: object) -> str:
    """Returns any text as HTML that shows it, such as a class's name.

    Characters that no page may hold, controls and halves of characters, are replaced.
    """
    return html.escape(_NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", str(value)))
