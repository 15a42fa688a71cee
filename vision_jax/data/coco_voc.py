"""COCO's instances of VOC's twenty classes as semantic labels."""

import dataclasses
import functools
from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import coco_json, voc_xml
from vision_jax.data.decode import image_size
from vision_jax.data.geometry import VOID

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
class CocoAsVoc:
    """Labels 0, the background, and 1..20, VOC's classes, painted from instance masks.

    As torchvision's reference training does it: objects of other classes are background, crowds
    count, and pixels of two objects or more are void (255).

    Attributes:
      source: a `TFDS` or `CocoFolder` of COCO with the fields 'objects' and 'rle'.
      least_area: images whose objects of the twenty classes have no more than so many pixels
        (annotated areas, added up) are left out; the references train with 1000. Above 0 all
        annotations are read once, when they are first needed.

    Raises:
      UserError: a source without those fields, or whose classes lack one of VOC's.
    """

    source: Any
    least_area: float = 0.0

    def __post_init__(self):
        missing = [field for field in _FIELDS if field not in self.source.fields]
        if missing:
            raise UserError(f"CocoAsVoc: the source's fields lack {missing[0]!r}")
        _ = self._labels  # a class that is missing is reported now

    def __getstate__(self) -> dict:
        """The settings, and which images are kept: no worker process reads all of them again."""
        names = [field.name for field in dataclasses.fields(self)] + ["_kept"]
        return {name: self.__dict__[name] for name in names if name in self.__dict__}

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", *voc_xml.CLASSES)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int) -> dict:
        example = self.source[int(self._kept[i])]
        size = image_size(example["image"])
        masks = coco_json.decode(example["rle"], *size)
        labels = self._labels[example["labels"]]
        return {"image": example["image"], "segmentation": painted(masks, labels, size)}

    def describe(self, i: int) -> str:
        return self.source.describe(int(self._kept[i]))

    def image_id(self, i: int) -> int | str:
        return self.source.image_id(int(self._kept[i]))

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        """VOC's label of each of the source's classes, 0 for the others."""
        names = list(self.source.classes)
        labels = np.zeros(len(names), np.uint8)
        for label, name in enumerate(voc_xml.CLASSES, start=1):
            wanted = _RENAMED.get(name, name)
            if wanted not in names:
                raise UserError(f"CocoAsVoc: the source has no class {wanted!r}")
            labels[names.index(wanted)] = label
        return labels

    @functools.cached_property
    def _kept(self) -> np.ndarray:
        """The source's numbers of the images that are not left out."""
        everything = np.arange(len(self.source))
        if self.least_area <= 0:
            return everything
        return np.asarray([i for i in everything if self._area(int(i)) > self.least_area], int)

    def _area(self, i: int) -> float:
        example = self.source[i]
        return float(example["area"][self._labels[example["labels"]] > 0].sum())


def painted(masks: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Semantic labels from instance masks; see `CocoAsVoc`.

    Args:
      masks: (n, h, w) 0 or 1.
      labels: (n,) of each; those with 0 are not painted.
      size: h and w.

    Returns:
      uint8 (h, w).
    """
    masks, labels = masks[labels > 0], labels[labels > 0]
    result = np.zeros(size, np.uint8)
    for mask, label in zip(masks, labels, strict=True):
        result[mask > 0] = label
    result[masks.sum(0) > 1] = VOID
    return result
