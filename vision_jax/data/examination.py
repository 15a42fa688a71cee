"""What the doctor looks for in one source, and between several."""

import collections
import dataclasses
import hashlib
from typing import Any

import numpy as np

from vision_jax.data.decode import RecordError, decode_image, image_size
from vision_jax.data.loading import degenerate_boxes

# Annotators' tools round to a pixel, and COCO's own boxes exceed images by a hundredth.
_SLACK = 1.0
# A wrong format shows in this share of a source's boxes, and hardly in the right format.
_WRONG, _RIGHT = 0.1, 0.02
_SERIOUS = (
    "unreadable image",
    "degenerate box",
    "box out of the image",
    "label out of range",
    "box format",
)
_FEW = 5  # boxes: too few to judge a format by


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of defect in one place."""

    serious: bool
    what: str
    where: str
    count: int
    examples: tuple[str, ...]  # file names, perhaps with the object's number and box


@dataclasses.dataclass(frozen=True)
class Examined:
    """A source, looked through."""

    title: str
    classes: tuple[str, ...]
    images: int
    objects: int
    findings: tuple[Finding, ...]
    digests: dict[bytes, str]  # of the images as stored, and what each is called


def examine(title: str, source: Any, decode: bool = False) -> Examined:
    """Looks through a source.

    Args:
      title: what findings call it.
      source: see `sources.Source`.
      decode: whether to decode images; else their headers are read.
    """
    found: dict[str, list[str]] = collections.defaultdict(list)
    digests: dict[bytes, str] = {}
    counts = np.zeros(len(source.classes), np.int64)
    boxes, sizes = [], []
    for i in range(len(source)):
        try:
            example = source[i]
            size = _size(example["image"], decode)
        except (RecordError, ValueError) as error:
            found["unreadable image"].append(f"{_name(source, i)}: {error}")
            continue
        name = _name(source, i)
        digest = hashlib.sha256(bytes(example["image"])).digest()
        if digest in digests:
            found["the same image twice"].append(f"{name} and {digests[digest]}")
        digests.setdefault(digest, name)
        if "boxes" not in example:
            continue
        _examine_objects(found, name, example, size, len(counts))
        labels = example["labels"]
        np.add.at(counts, labels[(labels >= 0) & (labels < len(counts))], 1)
        boxes.append(example["boxes"])
        sizes += [size] * len(example["boxes"])
    if boxes:
        found["class without an object"] += [source.classes[k] for k in np.flatnonzero(counts == 0)]
        confused = _confusion(np.concatenate(boxes), np.asarray(sizes).reshape(-1, 2))
        found["box format"] += confused
    findings = [
        Finding(what in _SERIOUS, what, title, len(examples), tuple(examples))
        for what, examples in found.items()
        if examples
    ]
    total = sum(len(b) for b in boxes)
    return Examined(title, source.classes, len(source), total, tuple(findings), digests)


def compare(examined: list[Examined]) -> list[Finding]:
    """What is wrong between sources: classes in another order, an image in two of them."""
    findings = []
    for number, second in enumerate(examined):
        for first in examined[:number]:
            where = f"{first.title} / {second.title}"
            if first.classes != second.classes:
                pairs = zip(first.classes, second.classes, strict=False)
                different = [f"label {k}: {a} / {b}" for k, (a, b) in enumerate(pairs) if a != b]
                count = len(different) + abs(len(first.classes) - len(second.classes))
                if not different:
                    different = [f"{len(first.classes)} classes / {len(second.classes)}"]
                findings.append(Finding(True, "class order", where, count, tuple(different)))
            shared = [d for d in second.digests if d in first.digests]
            if shared:
                names = tuple(f"{first.digests[d]} = {second.digests[d]}" for d in shared)
                findings.append(Finding(True, "the same image in both", where, len(shared), names))
    return findings


def _examine_objects(
    found: dict[str, list[str]], name: str, example: dict, size: tuple[int, int], classes: int
) -> None:
    boxes, labels = example["boxes"], example["labels"]
    height, width = size
    if not len(boxes):
        found["image without objects"].append(name)
        return

    def note(what: str, which: np.ndarray) -> None:
        for number in np.flatnonzero(which):
            box = ", ".join(f"{side:g}" for side in boxes[number])
            found[what].append(f"{name} object {number} ({box}) on {width}×{height}")

    degenerate = degenerate_boxes(boxes, height, width)
    note("degenerate box", degenerate)
    over = np.asarray([width, height]) + _SLACK
    out = (boxes[:, :2] < -_SLACK).any(1) | (boxes[:, 2:] > over).any(1)
    note("box out of the image", out & ~degenerate)
    note("label out of range", (labels < 0) | (labels >= classes))
    rows = np.concatenate([boxes, labels[:, None]], 1)
    _, first = np.unique(rows, axis=0, return_index=True)
    note("the same object twice", ~np.isin(np.arange(len(rows)), first))


def _confusion(boxes: np.ndarray, sizes: np.ndarray) -> list[str]:
    """Whether the four numbers make sense in another format only; says which."""
    if len(boxes) < _FEW:
        return []
    height, width = sizes.T
    if np.isfinite(boxes).all() and boxes.max() <= 1.5 and sizes.min() > 4:
        return ["all boxes lie within 1.5 pixels: they look like shares of the image's size"]
    x0, y0, x1, y1 = boxes.T
    readings = {
        "these xyxy boxes look like xywh": (x0, y0, x0 + x1, y0 + y1),
        "these boxes, read as xywh, look like xyxy": (x0, y0, x1 - x0, y1 - y0),
        "these xyxy boxes look like cxcywh": (
            x0 - x1 / 2,
            y0 - y1 / 2,
            x0 + x1 / 2,
            y0 + y1 / 2,
        ),
        "these xyxy boxes look like yxyx": (y0, x0, y1, x1),
    }

    def wrong(corners: tuple) -> float:
        left, top, right, bottom = corners
        inside = (left >= -_SLACK) & (top >= -_SLACK)
        inside &= (right <= width + _SLACK) & (bottom <= height + _SLACK)
        return 1 - (inside & (right > left) & (bottom > top)).mean()

    given = wrong((x0, y0, x1, y1))
    if given < _WRONG:
        return []
    best = min(readings, key=lambda reading: wrong(readings[reading]))
    if wrong(readings[best]) > _RIGHT:
        return []
    return [f"{best}: {given:.0%} make no sense as they are, {wrong(readings[best]):.0%} then"]


def _size(image: Any, decode: bool) -> tuple[int, int]:
    if not isinstance(image, bytes):
        return image.shape[:2]
    return decode_image(image).shape[:2] if decode else image_size(image)


def _name(source: Any, i: int) -> str:
    """The file's name where the source tells it: what its description has in brackets."""
    text = source.describe(i)
    return text.rpartition("(")[2].rstrip(")") if text.endswith(")") else text
