"""COCO's instances of VOC's twenty classes as semantic labels."""

import dataclasses
import functools
from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import run_lengths, voc_xml
from vision_jax.data.coco_folder import CocoFolder
from vision_jax.data.decode import image_size
from vision_jax.data.geometry import VOID
from vision_jax.data.sources import Example, Wrapped
from vision_jax.data.tfds import TFDS

_FIELDS = ("objects", "rle")
# Where COCO calls a class of VOC's by another name.
_RENAMED = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


@dataclasses.dataclass(frozen=True)
class CocoAsVoc(Wrapped):
    """Labels 0, the background, and 1..20, VOC's classes, painted from instance masks.

    It follows torchvision's reference training: objects of other classes are background, crowds
    count, and pixels of two objects or more are void (255).

    Attributes:
      source: a `TFDS` or `CocoFolder` of COCO with the fields 'objects' and 'rle'.
      min_area: images whose objects of the twenty classes have no more than so many pixels
        (annotated areas, added up) are left out; the references train with 1000. Above 0 all
        annotations are read once, when they are first needed.

    Raises:
      UserError: a source without those fields, or whose classes lack one of VOC's.
    """

    source: TFDS | CocoFolder
    min_area: float = 0.0

    def __post_init__(self):
        missing = [field for field in _FIELDS if field not in self.source.fields]
        if missing:
            raise UserError(f"CocoAsVoc: the source's fields lack {missing[0]!r}")
        _ = self._labels  # a class that is missing is reported now

    def __getstate__(self) -> dict[str, Any]:
        """Returns the fields, and `_positions` if known: no worker reads all annotations again."""
        known = {k: v for k, v in self.__dict__.items() if k == "_positions"}
        return {**super().__getstate__(), **known}

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", *voc_xml.CLASSES)

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        return ()

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, i: int) -> Example:
        example = self.source[self.position(i)]
        image = example["image"]
        size = image_size(image)
        masks = run_lengths.decode(example["rle"], *size)
        labels = self._labels[example["labels"]]
        return {"image": image, "segmentation": paint(masks, labels, size)}

    def position(self, i: int) -> int:
        return int(self._positions[i])

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        """VOC's label of each of the source's classes, 0 for the others."""
        names = list(self.source.classes)
        labels = np.zeros(len(names), np.uint8)
        for label, voc_name in enumerate(voc_xml.CLASSES, start=1):
            name = _RENAMED.get(voc_name, voc_name)
            if name not in names:
                raise UserError(f"CocoAsVoc: the source has no class {name!r}")
            labels[names.index(name)] = label
        return labels

    @functools.cached_property
    def _positions(self) -> np.ndarray:
        """The source's numbers of the images that are not left out."""
        everything = np.arange(len(self.source))
        if self.min_area <= 0:
            return everything
        return np.asarray([i for i in everything if self._area(int(i)) > self.min_area], int)

    def _area(self, i: int) -> float:
        example = self.source[i]
        return float(example["area"][self._labels[example["labels"]] > 0].sum())


def paint(masks: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Paints instance masks as semantic labels, by the rules of `CocoAsVoc`.

    Args:
      masks: (n, h, w) 0 or 1.
      labels: (n,), one per mask; masks with label 0 are not painted.
      size: h and w.

    Returns:
      uint8 (h, w).
    """
    masks, labels = masks[labels > 0], labels[labels > 0]
    semantic = np.zeros(size, np.uint8)
    for mask, label in zip(masks, labels, strict=True):
        semantic[mask > 0] = label
    semantic[masks.sum(0) > 1] = VOID
    return semantic
