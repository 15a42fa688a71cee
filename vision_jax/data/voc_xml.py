"""Reads PASCAL VOC's annotation format: one XML file per image."""

import codecs
import dataclasses
import re
from xml.etree import ElementTree

from vision_jax.data import checked_values as values
from vision_jax.data.checked_values import printable, size

Box = tuple[float, float, float, float]

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}
_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\x21-\x7e]+?)["']""")


@dataclasses.dataclass(frozen=True)
class Thing:
    """One annotated object."""

    name: str
    box: Box  # xmin, ymin, xmax, ymax as written: counted from one
    difficult: bool
    truncated: bool
    pose: str


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One image's annotation."""

    things: list[Thing]
    size: tuple[int, int] | None  # height and width as stated; None where one is missing or 0


def objects(xml: bytes) -> list[Thing]:
    """Returns the objects of an annotation; see `read`."""
    return read(xml).things


def read(xml: bytes) -> Annotation:
    """Reads an annotation; its objects come in its order, the parts of people are left out.

    Coordinates are those of the file, unshifted, as VOC's own evaluation takes them.

    Raises:
      ValueError: text that is no XML, or XML that is no annotation; an unknown encoding; an object
        without a name or a box, or one that lies within something else.
    """
    try:
        root = ElementTree.fromstring(_text(xml))
    except (ElementTree.ParseError, RecursionError) as error:
        raise ValueError(f"the XML is damaged ({error})") from error
    if root.tag != "annotation":
        raise ValueError(f"the XML is a <{printable(root.tag)[:40]}>, not an <annotation> of VOC's")
    nodes = root.findall("object")
    for parent in root.iter():
        if parent is not root and parent.find("object") is not None:
            raise ValueError(f"objects lie within <{printable(parent.tag)[:40]}>, not side by side")
    things = [_thing(node, number) for number, node in enumerate(nodes)]
    height, width = root.findtext("size/height"), root.findtext("size/width")
    return Annotation(things, size((height or "").strip() or None, (width or "").strip() or None))


def _text(xml: bytes) -> str:
    """Decodes an XML file by its byte order mark, else by the encoding that it declares.

    Python's codecs know more encodings than its XML parser, such as GB2312.
    """
    marked = [encoding for mark, encoding in _MARKS.items() if xml.startswith(mark)]
    declared = _DECLARED.match(xml)
    encoding = marked[0] if marked else declared[1].decode() if declared else "utf-8"
    if not marked and encoding.lower().replace("-", "").startswith("utf16"):
        encoding = "utf-8"  # the declaration itself could not be read if that were true
    try:
        return xml.decode(encoding)
    except LookupError as error:
        raise ValueError(f"the XML's encoding {encoding!r} is unknown; save it as UTF-8") from error
    except UnicodeError as error:
        raise ValueError(
            f"the XML is not in its encoding, {encoding!r}; save it as UTF-8"
        ) from error


def _thing(node: ElementTree.Element, number: int) -> Thing:
    """Reads the annotation's object of that number."""

    def text(path: str, default: str | None = None) -> str:
        value = node.findtext(path, default)
        if value is None:
            raise ValueError(f"object {number} has no {path}")
        return value.strip()

    name = text("name")
    if not name:
        raise ValueError(f"object {number} has an empty name")
    sides = ("xmin", "ymin", "xmax", "ymax")
    try:
        x0, y0, x1, y1 = (values.number(text(f"bndbox/{side}"), side) for side in sides)
        difficult = values.flag(text("difficult", "0"), "difficult")
        truncated = values.flag(text("truncated", "0"), "truncated")
    except ValueError as error:
        raise ValueError(
            str(error) if str(error).startswith("object") else f"object {number}: {error}"
        ) from error
    return Thing(name, (x0, y0, x1, y1), difficult, truncated, text("pose", "Unspecified"))
