"""Data sets of your own: images in a folder, with annotations in COCO's format."""

import dataclasses
import functools
import pathlib
from typing import Any, ClassVar

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import coco_document, coco_json
from vision_jax.data.checked_values import filled, printable, shown
from vision_jax.data.coco_json import Key
from vision_jax.data.folders import Listed, ObjectFolder, choose, file_at, folder_at


@dataclasses.dataclass(frozen=True)
class CocoFolder(ObjectFolder):
    """Images in a folder, with a JSON file in COCO's format.

    Attributes:
      annotations: the JSON file.
      images: the folder that its `file_name`s are in.
      fields: some of 'objects', 'rle' (instance masks), 'keypoints', 'captions'; see `tfds.TFDS`.
      names: the classes, in the order of their labels; () is the file's, by category id.
      upright, check_sizes: see `folders.Folder`.

    Raises:
      UserError: no such file or folder, JSON that is damaged or lacks what COCO's has, two entries
        with one id, a value of a wrong type, a category that is not among `names`.
    """

    offers: ClassVar[tuple[str, ...]] = ("objects", "rle", "keypoints", "captions")

    annotations: str
    images: str
    fields: tuple[str, ...] = ("objects",)
    names: tuple[str, ...] = ()

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        """The file's own id of each class; -1 for those it lacks."""
        ids = {category.name: category.id for category in self._document.categories}
        return tuple(ids.get(name, -1) for name in self.classes)

    @property
    def annotated_fields(self) -> tuple[str, ...]:
        """The fields of objects that the file has something for."""
        names = {"rle": "segmentation", "keypoints": "keypoints"}
        return ("objects", *(field for field, name in names.items() if self._document.has(name)))

    def image_id(self, i: int) -> int | str:
        """Returns the image's id in the file; its name without suffix where that is null."""
        own = self._listed[i].fields["image_id"]
        return self._listed[i].file.stem if own is None else own

    @property
    def _annotations(self) -> str:
        return self.annotations

    @functools.cached_property
    def _document(self) -> coco_document.Document:
        return coco_document.read(self.annotations, categories={*self.fields} != {"captions"})

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        document, folder = self._document, folder_at(self.images)
        names = [category.name for category in document.categories]
        classes = choose(names, self.names, self.annotations)
        labels = {kind.key: classes.index(kind.name) for kind in document.categories}
        try:
            points = coco_document.keypoint_count(document) if "keypoints" in self.fields else 0
        except ValueError as error:
            raise UserError(f"{self.annotations}, {error}") from error
        if "keypoints" in self.fields and not points:
            raise UserError(
                f"{self.annotations}: keypoints are asked for, but neither categories nor "
                "annotations have any"
            )
        listed = []
        for image in document.images:
            try:
                file = file_at(folder, image.file_name)
                fields = self._fields(image, file, labels, points)
            except (KeyError, ValueError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else error
                where = f"{self.annotations}, {printable(image.file_name)}"
                raise UserError(f"{where}: {reason}") from error
            listed.append(Listed(file, fields, image.size))
        return classes, listed

    def _fields(
        self, image: coco_document.Image, file: pathlib.Path, labels: dict[Key, int], points: int
    ) -> dict[str, Any]:
        """Returns the example's fields that are asked for."""
        annotations = image.annotations
        fields: dict[str, Any] = {"image_id": image.id}
        if "captions" in self.fields:
            texts = [a["caption"] for a in annotations if "caption" in a]
            fields["captions"] = [filled(text, "caption") for text in texts]
            annotations = [a for a in annotations if "caption" not in a]
        if not {"objects", "rle", "keypoints"} & {*self.fields}:
            return fields
        masks = "rle" in self.fields
        height, width = (image.size or self._size_of(file)) if masks else (0, 0)
        objects = coco_json.objects(annotations, height, width, points, masks)
        for row, category in enumerate(objects.categories):
            if category not in labels:
                raise ValueError(
                    f"{coco_json.title(annotations[row], row)}: category {shown(category)} is not "
                    "in the file's categories"
                )
        fields["boxes"] = objects.boxes
        fields["labels"] = np.asarray([labels[k] for k in objects.categories], np.int32)
        fields["crowd"], fields["area"] = objects.crowd, objects.area
        fields["category_ids"] = self._own_ids(objects.categories)
        if masks:
            fields["rle"] = objects.rle
        if "keypoints" in self.fields:
            fields["keypoints"] = objects.keypoints
        return fields

    def _own_ids(self, categories: list[Key]) -> np.ndarray:
        """Returns categories' ids as in the file: int64 (n,), or objects where one is no number."""
        written = {category.key: category.id for category in self._document.categories}
        ids = np.empty(len(categories), object)
        ids[:] = [written[key] for key in categories]
        small = all(isinstance(own, int) and abs(own) < 2**63 for own in ids)
        return ids.astype(np.int64) if small else ids
