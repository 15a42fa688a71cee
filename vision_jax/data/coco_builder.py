"""COCO as a TFDS builder of our own, prepared without TensorFlow from the official archives.

It differs from TFDS's `coco`: boxes are in pixels as annotated, areas keep their fractions, and
there are the original category, image and annotation ids, masks, people's keypoints and captions,
all in one; records keep the files' order; and no archives but train's and validation's are needed.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from vision_jax.data import coco_json

_LABELS: dict[coco_json.Key, int] = {
    category: label for label, category in enumerate(coco_json.CATEGORIES)
}


def archives(year: str) -> tuple[str, ...]:
    """Returns the names of the archives that a year is made of."""
    return (f"train{year}.zip", f"val{year}.zip", f"annotations_trainval{year}.zip")


class CocoObjects(tfds.core.GeneratorBasedBuilder):
    """COCO's boxes, instance masks, keypoints and captions; images without any are kept."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=year) for year in ("2014", "2017")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the official archives into manual_dir."

    def _info(self) -> tfds.core.DatasetInfo:
        names = list(coco_json.CATEGORIES.values())
        objects = {
            # xyxy in pixels. The file's x, y, w, h have two decimals, which float32 keeps.
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "label": tfds.features.ClassLabel(names=names),
            "area": np.float32,  # of the mask, pixels
            "is_crowd": np.bool_,
            "category_id": np.int32,  # 1..90
            "id": np.int64,  # of the annotation
            "rle": tfds.features.Text(),  # COCO's compressed run lengths
            "keypoints": tfds.features.Tensor(shape=(coco_json.KEYPOINTS, 3), dtype=np.float32),
        }
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": image,
                    "image/filename": tfds.features.Text(),
                    "image/id": np.int64,
                    "objects": tfds.features.Sequence(objects),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                }
            ),
            homepage="https://cocodataset.org",
            disable_shuffling=True,  # records keep the order of the annotation file
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder, year = Path(dl_manager.manual_dir), self.builder_config.name
        return {
            "train": self._generate_examples(folder, year, f"train{year}"),
            "validation": self._generate_examples(folder, year, f"val{year}"),
        }

    def _generate_examples(self, folder: Path, year: str, part: str) -> Iterator[tuple[int, dict]]:
        images, instances, captions = _annotations(folder / archives(year)[2], part)
        with zipfile.ZipFile(folder / f"{part}.zip") as pixels:
            for image in images:
                number, name = image["id"], image["file_name"]
                annotations, size = instances.pop(number, []), (image["height"], image["width"])
                try:
                    objects = coco_json.objects(annotations, *size, coco_json.KEYPOINTS)
                except ValueError as error:
                    raise ValueError(f"instances_{part}.json, {name}: {error}") from error
                yield (
                    number,
                    {
                        "image": io.BytesIO(pixels.read(f"{part}/{name}")),
                        "image/filename": name,
                        "image/id": number,
                        "objects": _records(objects),
                        "captions": captions.pop(number, []),
                    },
                )


def _records(objects: coco_json.Objects) -> list[dict]:
    """Returns the objects in the form that the builder's features encode."""
    return [
        {
            "box": objects.boxes[row],
            "label": _LABELS[objects.categories[row]],
            "area": float(objects.area[row]),
            "is_crowd": bool(objects.crowd[row]),
            "category_id": objects.categories[row],
            "id": int(objects.ids[row]),
            "rle": objects.rle[row],
            "keypoints": objects.keypoints[row],
        }
        for row in range(len(objects.boxes))
    ]


def _annotations(archive: Path, part: str) -> tuple[list[dict], dict, dict]:
    """Returns the images, and by image id their annotations (keypoints included) and captions."""
    with zipfile.ZipFile(archive) as files:

        def read(kind: str) -> dict:
            return json.loads(files.read(f"annotations/{kind}_{part}.json"))

        document = read("instances")
        for category in document["categories"]:
            if coco_json.CATEGORIES.get(category["id"]) != category["name"]:
                raise ValueError(f"{archive.name} has {category}, which is not one of COCO's 80")
        points = {a["id"]: a["keypoints"] for a in read("person_keypoints")["annotations"]}
        captions: dict[int, list[str]] = {}
        for annotation in read("captions")["annotations"]:
            captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    for annotation in document["annotations"]:
        if annotation["id"] in points:
            annotation["keypoints"] = points[annotation["id"]]
    return document["images"], coco_json.by_image(document["annotations"]), captions
