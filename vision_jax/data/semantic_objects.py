"""Instance masks of any source as semantic labels."""

import dataclasses

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import run_lengths
from vision_jax.data.decode import image_size
from vision_jax.data.folders import ObjectFolder
from vision_jax.data.geometry import VOID
from vision_jax.data.sources import Example, Wrapped
from vision_jax.data.tfds import TFDS


@dataclasses.dataclass(frozen=True)
class ObjectsAsSemantic(Wrapped):
    """Label 0, the background, and the source's classes from 1, painted from instance masks.

    Where objects overlap, the smaller one lies on top: a cup on its table.

    Attributes:
      source: a source with the field 'rle', such as `CocoFolder`, `Labelme` or `Yolo`.
      background: the name of label 0.

    Raises:
      UserError: a source without masks, or with more classes than 254.
    """

    source: TFDS | ObjectFolder
    background: str = "background"

    def __post_init__(self):
        if "rle" not in self.source.fields:
            raise UserError("ObjectsAsSemantic: the source's fields lack 'rle'")
        if len(self.source.classes) >= VOID:
            raise UserError(f"{len(self.source.classes)} classes: labels go to {VOID - 1} alone")

    @property
    def classes(self) -> tuple[str, ...]:
        return (self.background, *self.source.classes)

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        return ()

    def __getitem__(self, i: int) -> Example:
        example = self.source[i]
        size = image_size(example["image"])
        masks = run_lengths.decode(example["rle"], *size)
        labels = np.zeros(size, np.uint8)
        for number in np.argsort(-masks.sum((1, 2), dtype=np.int64), kind="stable"):
            labels[masks[number] > 0] = 1 + example["labels"][number]
        return {"image": example["image"], "segmentation": labels}
