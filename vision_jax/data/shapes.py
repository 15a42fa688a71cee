"""The embedded data set `shapes`: a TFDS builder that draws its images, without TensorFlow.

Example i of a split is a function of (configuration, seed, split, i) alone, so a larger split
begins with the smaller one. It has labels, boxes, instance masks, keypoints, semantic masks and
captions; fields and conventions are those that TFDS's own VOC and COCO builders use, with masks as
COCO's compressed RLE.
"""

import dataclasses
import io
from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow_datasets as tfds
from pycocotools import mask as coco_mask

from vision_jax.data import shapes_draw
from vision_jax.data.shapes_draw import CLASSES, KEYPOINTS, Look

# Part of the seed, so that no two splits share a scene.
_SPLITS = {"train": 0, "validation": 1}


@dataclasses.dataclass(kw_only=True)
class ShapesConfig(tfds.core.BuilderConfig):
    """A named difficulty and size of the data set."""

    look: Look = Look()
    train: int = 4000  # examples
    validation: int = 500
    seed: int = 0
    image_format: str = "jpeg"  # or png, which small images need: JPEG halves the colour resolution


CONFIGS = (
    ShapesConfig(
        name="cls32",
        description="one shape, 32x32: the classification demo",
        look=Look(
            size=32,
            shapes=(1, 1),
            radius=(0.32, 0.44),
            spread=0.08,
            stretch=1.2,
            strokes=(1, 3),
            texture=20.0,
        ),
        train=6000,
        validation=1000,
        image_format="png",
    ),
    ShapesConfig(
        name="det64",
        description="1 to 3 shapes, 64x64: the detection demo",
        look=Look(size=64, radius=(0.12, 0.26)),
    ),
    ShapesConfig(
        name="det128",
        description="1 to 5 shapes over a wider range of sizes, 128x128",
        look=Look(size=128, shapes=(1, 5), radius=(0.07, 0.26), spread=0.4),
    ),
    ShapesConfig(
        name="seg64",
        description="1 to 3 large shapes, 64x64, void edges: the segmentation demo",
        look=Look(size=64, radius=(0.16, 0.34), void=True),
    ),
    ShapesConfig(
        name="hard",
        description="3 to 9 shapes down to 6 pixels, crowds, low contrast, clutter, 128x128",
        look=Look(
            size=128,
            shapes=(3, 9),
            radius=(0.05, 0.3),
            spread=0.45,
            strokes=(3, 8),
            contrast=60.0,
            noise=10.0,
            crowd=0.4,
        ),
    ),
)


class Shapes(tfds.core.GeneratorBasedBuilder):
    """Eight flat shapes on textured backgrounds; `shapes_draw` draws them."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = list(CONFIGS)

    def _info(self) -> tfds.core.DatasetInfo:
        size, label = self.builder_config.look.size, tfds.features.ClassLabel(names=CLASSES)
        objects = {
            "bbox": tfds.features.BBoxFeature(),  # ymin, xmin, ymax, xmax over the size
            "label": label,
            "area": np.float32,  # visible pixels
            "is_crowd": np.bool_,
            "is_difficult": np.bool_,  # less than 30 % is visible
            "rle": tfds.features.Text(),  # the visible part
            "keypoints": tfds.features.Tensor(shape=(len(KEYPOINTS), 3), dtype=np.float32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(size, size, 3), encoding_format=self.builder_config.image_format
                    ),
                    "label": label,
                    "objects": tfds.features.Sequence(objects),
                    "segmentation": tfds.features.Image(
                        shape=(size, size, 1), encoding_format="png"
                    ),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,  # example i of the split is record i
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in _SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        count = {"train": config.train, "validation": config.validation}[split]
        for i in range(count):
            yield i, example(config, split, i)


def scene(config: ShapesConfig, split: str, i: int) -> shapes_draw.Scene:
    """Draws scene i of a split.

    The classes of the first-drawn shapes are balanced: each block of eight consecutive scenes has
    every class once, in an order of its own.
    """
    stream = [config.seed, _SPLITS[split]]
    block, place = divmod(i, len(CLASSES))
    order = np.random.Generator(np.random.PCG64([*stream, 0, block])).permutation(len(CLASSES))
    return shapes_draw.draw(
        config.look, np.random.Generator(np.random.PCG64([*stream, 1, i])), int(order[place])
    )


def example(config: ShapesConfig, split: str, i: int) -> dict:
    """Returns scene i in the form that the builder's features encode, images as encoded bytes."""
    drawn, size = scene(config, split, i), config.look.size
    rles = coco_mask.encode(np.asfortranarray(drawn.masks.transpose(1, 2, 0), np.uint8))
    boxes = coco_mask.toBbox(rles)  # x, y, width, height
    objects = [
        {
            "bbox": tfds.features.BBox(
                ymin=float(y) / size,
                xmin=float(x) / size,
                ymax=float(y + h) / size,
                xmax=float(x + w) / size,
            ),
            "label": shape.label,
            "area": float(area),
            "is_crowd": shape.crowd,
            "is_difficult": bool(difficult),
            "rle": rle["counts"],
            "keypoints": keypoints,
        }
        for shape, (x, y, w, h), area, difficult, rle, keypoints in zip(
            drawn.shapes,
            boxes,
            coco_mask.area(rles),
            drawn.difficult,
            rles,
            drawn.keypoints,
            strict=True,
        )
    ]
    return {
        "image": _encoded(drawn.image[..., ::-1], config.image_format),
        "label": drawn.label,
        "objects": objects,
        "segmentation": _encoded(drawn.segmentation, "png"),
        "captions": list(drawn.captions),
    }


def _encoded(image: np.ndarray, image_format: str) -> io.BytesIO:
    """Encodes an image as a file object: TFDS would need TensorFlow to encode an array."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if image_format == "jpeg" else []
    return io.BytesIO(cv2.imencode(f".{image_format}", image, options)[1].tobytes())
