"""Checks annotated sources for defects, each by itself and several against each other."""

import collections
import dataclasses
import hashlib

import numpy as np

from vision_jax.data import run_lengths
from vision_jax.data.decode import (
    MaskError,
    RecordError,
    SizeError,
    decode_image,
    decode_labels,
    image_size,
    orientation,
)
from vision_jax.data.folders import Folder
from vision_jax.data.geometry import VOID
from vision_jax.data.loading import degenerate_boxes
from vision_jax.data.sources import Example, Source

# Annotators' tools round to a pixel, and COCO's own boxes exceed images by a hundredth.
_SLACK = 1.0
# A wrong format shows in this share of a source's boxes, and hardly in the right format.
_WRONG, _RIGHT = 0.1, 0.02
_MASK_SLACK = 2.0  # pixels that a box's side may lie off its mask's
_SERIOUS = (
    "unreadable image",
    SizeError.defect,
    MaskError.defect,
    "mask value beyond the classes",
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
    defect: str
    where: str
    count: int
    examples: tuple[str, ...]  # file names, perhaps with the object's number and box


@dataclasses.dataclass(frozen=True)
class Checked:
    """A source after its check."""

    title: str
    classes: tuple[str, ...]
    images: int
    objects: int
    findings: tuple[Finding, ...]
    digests: dict[bytes, str]  # of the images as stored, and what each is called
    unit: str  # what `counts` counts: 'object', 'image' or 'pixel'; '' for nothing
    counts: np.ndarray  # (classes,) int64
    images_of_class: np.ndarray  # (classes,) int64: images that have it
    sizes: np.ndarray  # (n, 2) height and width of the images that can be read
    boxes: np.ndarray  # (m, 4) float32 xyxy, of all objects
    box_sizes: np.ndarray  # (m, 2) height and width of their images
    objects_per_image: np.ndarray  # (n,) of the images that can be read, () without objects
    max_boxes: int  # objects per image that the pipeline takes
    tallies: dict[str, int]  # how often 'mask', 'keypoints', 'crowd', 'turned', 'stated' were seen


def check(title: str, source: Source, decode: bool = False, max_boxes: int = 100) -> Checked:
    """Reads all of a source, and looks for defects.

    Args:
      title: the source's name in findings.
      source: with objects, labels of images or semantic masks, or without.
      decode: whether to decode images; else their headers are read.
      max_boxes: objects per image that a pipeline takes.
    """
    seen = _Seen(len(source.classes), max_boxes)
    for i in range(len(source)):
        name = _name(source, i)
        try:
            example = source[i]
            size = image_size(example["image"])
            if decode and isinstance(example["image"], bytes):
                decode_image(example["image"])
        except RecordError as error:
            seen.defects[error.defect].append(f"{name}: {error}")
            continue
        except ValueError as error:
            seen.defects["unreadable image"].append(f"{name}: {error}")
            continue
        seen.image(name, example["image"], size)
        seen.tallies["stated"] += isinstance(source, Folder) and source.states_size(i)
        if "label" in example:
            seen.label(name, example["label"])
        if "segmentation" in example:
            seen.segmentation(name, example["segmentation"], size)
        if "boxes" in example:
            seen.objects(name, example, size)
    return seen.result(title, source)


class _Seen:
    """What has been seen of a source so far."""

    def __init__(self, classes: int, max_boxes: int):
        self.defects: dict[str, list[str]] = collections.defaultdict(list)  # examples of each
        self._counts: np.ndarray = np.zeros(classes, np.int64)
        self._images_of_class: np.ndarray = np.zeros(classes, np.int64)
        self._unit = ""
        self._max_boxes = max_boxes
        self.tallies: collections.Counter[str] = collections.Counter()
        self._digests: dict[bytes, str] = {}
        self._sizes: list[tuple[int, int]] = []
        self._boxes: list[np.ndarray] = []
        self._box_sizes: list[tuple[int, int]] = []
        self._beyond = 0
        self._empty_masks: list[str] = []
        self._has_masks = False

    def image(self, name: str, image: bytes | np.ndarray, size: tuple[int, int]) -> None:
        """Notes an image's size, its EXIF orientation, and whether it was there before."""
        self._sizes.append(size)
        turn = orientation(image) if isinstance(image, bytes) else 1
        if turn != 1:
            self.tallies["turned"] += 1
            self.defects["turned by EXIF"].append(
                f"{name}: orientation {turn}, but read as stored; upright=True turns it"
            )
        digest = hashlib.sha256(bytes(image)).digest()
        if digest in self._digests:
            self.defects["the same image twice"].append(f"{name} and {self._digests[digest]}")
        self._digests.setdefault(digest, name)

    def label(self, name: str, label: int | np.ndarray) -> None:
        """Counts an image's class, or classes."""
        self._unit = "image"
        if np.ndim(label):
            self._counts += np.asarray(label) > 0
            self._images_of_class += np.asarray(label) > 0
        elif 0 <= label < len(self._counts):
            self._counts[label] += 1
            self._images_of_class[label] += 1
        else:
            self.defects["label out of range"].append(f"{name}: {label}")

    def segmentation(self, name: str, mask: bytes | np.ndarray, size: tuple[int, int]) -> None:
        """Counts a semantic mask's pixels by class."""
        self._unit = "pixel"
        try:
            labels = decode_labels(mask) if isinstance(mask, bytes) else mask
        except ValueError as error:
            self.defects[MaskError.defect].append(f"{name}: {error}")
            return
        if labels.shape != size:
            shape = "×".join(str(side) for side in labels.shape[::-1])
            self.defects[MaskError.defect].append(
                f"{name}: the mask has {shape} pixels, the image {size[1]}×{size[0]}"
            )
        values, counts = np.unique(labels, return_counts=True)
        known = (values >= 0) & (values < len(self._counts))
        self._counts[values[known]] += counts[known]
        self._images_of_class[values[known]] += 1
        for value, count in zip(values[~known], counts[~known], strict=True):
            if value != VOID:
                self.defects["mask value beyond the classes"].append(
                    f"{name}: {value} at {count} pixels, of {len(self._counts)} classes"
                )

    def objects(self, name: str, example: Example, size: tuple[int, int]) -> None:
        """Looks at an image's objects."""
        self._unit = "object"
        boxes, labels = example["boxes"], example["labels"]
        _check_objects(self.defects, name, example, size, len(self._counts))
        known = labels[(labels >= 0) & (labels < len(self._counts))]
        np.add.at(self._counts, known, 1)
        self._images_of_class[np.unique(known)] += 1
        self.tallies["crowd"] += int(np.sum(example.get("crowd", False)))
        self._boxes.append(boxes)
        self._box_sizes += [size] * len(boxes)
        if len(boxes) > self._max_boxes:
            self._beyond += len(boxes) - self._max_boxes
            self.defects[f"more than max_boxes={self._max_boxes} objects"].append(
                f"{name}: {len(boxes)}; those beyond are cut, in evaluation too"
            )
        if "rle" in example:
            self._masks(name, example, size)
        if "keypoints" in example:
            self._keypoints(name, example["keypoints"], size)

    def _masks(self, name: str, example: Example, size: tuple[int, int]) -> None:
        """Compares instance masks with the image's size and with their boxes."""
        for number, rle in enumerate(example["rle"]):
            try:
                run_lengths.check(rle, *size)
            except ValueError as error:
                self.defects[MaskError.defect].append(f"{name} object {number}: {error}")
                return
        areas, extents = run_lengths.areas_and_boxes(example["rle"], *size)
        self._has_masks |= bool((areas > 0).any())
        self.tallies["mask"] += int((areas > 0).sum())
        for number, (area, extent) in enumerate(zip(areas, extents, strict=True)):
            where = f"{name} object {number}"
            if not area:
                self._empty_masks.append(where)
            elif np.abs(extent - example["boxes"][number]).max() > _MASK_SLACK:
                sides = ", ".join(f"{side:g}" for side in extent)
                box = ", ".join(f"{side:g}" for side in example["boxes"][number])
                self.defects["mask off its box"].append(f"{where}: mask ({sides}), box ({box})")

    def _keypoints(self, name: str, points: np.ndarray, size: tuple[int, int]) -> None:
        """Looks for labelled keypoints that lie off the image."""
        x, y, seen = np.moveaxis(points, -1, 0)
        self.tallies["keypoints"] += int((seen > 0).any(-1).sum())
        outside = (x < -_SLACK) | (y < -_SLACK) | (x > size[1] + _SLACK) | (y > size[0] + _SLACK)
        for number, point in np.argwhere(outside & (seen > 0)):
            place = f"({x[number, point]:g}, {y[number, point]:g})"
            self.defects["keypoint out of the image"].append(
                f"{name} object {number} keypoint {point} {place} on {size[1]}×{size[0]}"
            )

    def result(self, title: str, source: Source) -> Checked:
        """Returns the source after its check."""
        if self._has_masks:  # without any, nobody annotated masks
            self.defects["object without a mask"] += self._empty_masks
        if self._unit:
            absent = [source.classes[k] for k in np.flatnonzero(self._counts == 0)]
            article = "an" if self._unit in ("object", "image") else "a"
            self.defects[f"class without {article} {self._unit}"] += absent
        if self._boxes:
            sizes = np.asarray(self._box_sizes).reshape(-1, 2)
            self.defects["box format"] += _confusion(np.concatenate(self._boxes), sizes)
        findings = []
        for defect, examples in self.defects.items():
            if examples:
                count = self._beyond if "max_boxes" in defect else len(examples)
                serious = defect in _SERIOUS
                findings.append(Finding(serious, defect, title, count, tuple(examples)))
        return Checked(
            title=title,
            classes=source.classes,
            images=len(source),
            objects=sum(len(boxes) for boxes in self._boxes),
            findings=tuple(findings),
            digests=self._digests,
            unit=self._unit,
            counts=self._counts,
            images_of_class=self._images_of_class,
            sizes=np.asarray(self._sizes, np.int64).reshape(-1, 2),
            boxes=np.concatenate([np.zeros((0, 4), np.float32), *self._boxes]),
            box_sizes=np.asarray(self._box_sizes, np.int64).reshape(-1, 2),
            objects_per_image=np.asarray([len(boxes) for boxes in self._boxes], np.int64),
            max_boxes=self._max_boxes,
            tallies=dict(self.tallies),
        )


def compare(sources: list[Checked]) -> list[Finding]:
    """Compares sources: classes in another order, an image in two of them."""
    findings = []
    for number, second in enumerate(sources):
        for first in sources[:number]:
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


def _check_objects(
    defects: dict[str, list[str]], name: str, example: Example, size: tuple[int, int], classes: int
) -> None:
    """Adds an image's defects; `size` is its height and width."""
    boxes, labels = example["boxes"], example["labels"]
    height, width = size
    if not len(boxes):
        defects["image without objects"].append(name)
        return

    def note(defect: str, objects: np.ndarray) -> None:
        for number in np.flatnonzero(objects):
            box = ", ".join(f"{side:g}" for side in boxes[number])
            defects[defect].append(f"{name} object {number} ({box}) on {width}×{height}")

    degenerate = degenerate_boxes(boxes, height, width)
    note("degenerate box", degenerate)
    limit = np.asarray([width, height]) + _SLACK
    outside = (boxes[:, :2] < -_SLACK).any(1) | (boxes[:, 2:] > limit).any(1)
    note("box out of the image", outside & ~degenerate)
    note("label out of range", (labels < 0) | (labels >= classes))
    rows = np.concatenate([boxes, labels[:, None]], 1)
    _, first = np.unique(rows, axis=0, return_index=True)
    note("the same object twice", ~np.isin(np.arange(len(rows)), first))


def _confusion(boxes: np.ndarray, sizes: np.ndarray) -> list[str]:
    """Names the format in which alone the boxes' four numbers make sense; [] if it is xyxy."""
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

    def wrong(corners: tuple[np.ndarray, ...]) -> float:
        """Returns the share of boxes that lie off their images or have no extent."""
        left, top, right, bottom = corners
        inside = (left >= -_SLACK) & (top >= -_SLACK)
        inside &= (right <= width + _SLACK) & (bottom <= height + _SLACK)
        return 1 - float((inside & (right > left) & (bottom > top)).mean())

    as_written = wrong((x0, y0, x1, y1))
    if as_written < _WRONG:
        return []
    best = min(readings, key=lambda reading: wrong(readings[reading]))
    if wrong(readings[best]) > _RIGHT:
        return []
    then = wrong(readings[best])
    return [f"{best}: {as_written:.0%} make no sense as they are, {then:.0%} then"]


def _name(source: Source, i: int) -> str:
    """Returns the part in brackets of an example's description, its file's name; else all of it."""
    text = source.describe(i)
    return text.rpartition("(")[2].rstrip(")") if text.endswith(")") else text
