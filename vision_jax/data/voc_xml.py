"""PASCAL VOC's annotation format: one XML per image → its objects."""

import dataclasses
from xml.etree import ElementTree

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


@dataclasses.dataclass(frozen=True)
class Thing:
    """One annotated object."""

    name: str
    box: tuple[float, float, float, float]  # xmin, ymin, xmax, ymax as written: counted from one
    difficult: bool
    truncated: bool
    pose: str


def objects(xml: bytes) -> list[Thing]:
    """The objects of an annotation, in its order; the parts of people are left out.

    Coordinates are those of the file, unshifted, as VOC's own evaluation takes them.

    Raises:
      ValueError: no XML, or an object without a name or a box.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"the XML is damaged ({error})") from error
    return [_thing(node, number) for number, node in enumerate(root.findall("object"))]


def _thing(node: ElementTree.Element, number: int) -> Thing:
    def text(path: str, default: str | None = None) -> str:
        found = node.findtext(path)
        if found is None and default is None:
            raise ValueError(f"object {number} has no {path}")
        return (default if found is None else found).strip()

    sides = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        value = text(f"bndbox/{side}")
        try:
            sides.append(float(value))
        except ValueError as error:
            raise ValueError(f"object {number}: {side} is {value!r}") from error
    return Thing(
        name=text("name"),
        box=tuple(sides),
        difficult=text("difficult", "0") == "1",
        truncated=text("truncated", "0") == "1",
        pose=text("pose", "Unspecified"),
    )
