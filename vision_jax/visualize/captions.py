"""Text in pictures: whatever a class is called becomes one short line that can be drawn.

Class names come from users' files. They may hold newlines, letters that the font lacks, half
characters, or nothing that can be seen. Everything that draws text, by Pillow or by matplotlib,
passes it through `drawable` first.
"""

import functools
import importlib.util
import pathlib
import unicodedata
from collections.abc import Sequence

from PIL import ImageDraw, ImageFont

from vision_jax.visualize import colors

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_SIZE = 13  # pixels
LINE_HEIGHT = 17  # pixels
MISSING = "□"  # stands for a character that the font lacks
_LONGEST = 80  # characters; no picture has room for more


def named(label: int, names: Sequence[str]) -> str:
    """Returns a class's name as it is; its number where it has none, or one that shows nothing."""
    name = str(names[label]) if 0 <= label < len(names) else ""
    return name if any(not _is_blank(character) for character in name) else str(int(label))


def drawable(text: object, longest: int = _LONGEST) -> str:
    """Returns a text as one line that the font of pictures can draw.

    White space of any kind becomes one space each, marks without width that steer the writing are
    left out, and '□' stands for what the font lacks. Text beyond `longest` characters is cut: '…'.
    """
    line = " ".join(unicodedata.normalize("NFC", str(text)[: 8 * longest]).split())
    line = "".join(c for c in line if unicodedata.category(c) != "Cf")
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    return line if line.isascii() and line.isprintable() else "".join(map(_known, line))


def class_caption(label: int, names: Sequence[str]) -> str:
    """Returns a class's name as it is drawn; see `named` and `drawable`.

    The number comes before a name of which the font has nothing.
    """
    caption = drawable(named(label, names))
    return caption if caption.strip(f"{MISSING} ") else f"{int(label)} {caption}"


def draw_caption(
    draw: ImageDraw.ImageDraw, left: float, bottom: float, caption: str, fill: tuple[int, int, int]
) -> None:
    """Draws a line of white text on a colour, above `bottom`, as far as it fits into the picture.

    Args:
      draw: of the picture.
      left, bottom: the text's corner in pixels; it is moved to where it can be read.
      caption: the text, cut with '…' where the picture is too narrow.
      fill: the colour behind it.
    """
    font, width = font_for_labels(), draw.im.size[0]
    caption = cut(drawable(caption), width - 4, font)
    extent = font.getlength(caption) + 4
    left, top = max(0.0, min(left, width - extent)), max(0.0, bottom - LINE_HEIGHT)
    draw.rectangle([left, top, left + extent, top + LINE_HEIGHT - 1], fill=fill)
    draw.text((left + 2, top), caption, fill=colors.PAPER, font=font)


def cut(line: str, width: float, font: Font) -> str:
    """Shortens a line of text so that it fits into so many pixels."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


def wrapped(line: object, width: float, most: int = 4) -> list[str]:
    """Splits a text between its words into lines that fit into so many pixels.

    Of more than `most` lines the last one takes the rest, and ends with '…' where it is drawn.
    """
    font, lines = font_for_labels(), [""]
    for word in drawable(line, 40 * most).split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and len(lines) < most and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@functools.cache
def font_for_labels() -> Font:
    """Returns the font of captions: matplotlib's if it is there, as Pillow's own has only ASCII."""
    path = _font_file()
    if path is not None:
        return ImageFont.truetype(str(path), FONT_SIZE - 1)
    return ImageFont.load_default(FONT_SIZE)


def _font_file() -> pathlib.Path | None:
    """Returns the file of matplotlib's own font, without importing matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    folder = pathlib.Path(spec.origin).parent if spec and spec.origin else pathlib.Path()
    path = folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return path if path.is_file() else None


@functools.cache
def _characters() -> frozenset[int]:
    """Returns the numbers of the characters that the font has."""
    path = _font_file()
    if path is None:
        return frozenset(range(0x20, 0x7F))
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(path)).get_charmap())


def _known(character: str) -> str:
    """Returns a character if the font has it, nothing for an accent, else '□'."""
    kind = unicodedata.category(character)
    if ord(character) in _characters() and kind[0] != "C":
        return character
    return "" if kind[0] == "M" else MISSING


def _is_blank(character: str) -> bool:
    """Returns whether a character shows nothing: white space, controls, marks without width."""
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cf", "Mn", "Me")
