"""The weights of DETR's authors, from their README and hubconf.py."""

import functools
from collections.abc import Iterator

from vision_jax import models
from vision_jax.weights.download import Digest
from vision_jax.weights.zoo.entry import Entry
from vision_jax.weights.zoo.preprocessing import Preprocessing

_URL = "https://dl.fbaipublicfiles.com/detr/"
_DETECT = Preprocessing("short", "pillow-bilinear", short=800, longest=1333)

# File, hash, depth, dilated, metric, megabytes, experiment, golden.
_ROWS: tuple[tuple[str, str, int, bool, str, int, str, str], ...] = (
    ("detr-r50", "e632da11", 50, False, "box AP 42.0", 159, "detr_r50_coco", "detr_resnet50"),
    ("detr-r50-dc5", "f0fb7ef5", 50, True, "box AP 43.3", 159, "detr_dc5_r50_coco", ""),
    ("detr-r101", "2c7b67e5", 101, False, "box AP 43.5", 232, "detr_r101_coco", ""),
    ("detr-r101-dc5", "a2e86def", 101, True, "box AP 44.9", 232, "detr_dc5_r50_coco", ""),
)


def entries() -> Iterator[Entry]:
    """Yields the rows; the files tell COCO's 80 classes by its numbers."""
    for name, digest, depth, dilated, metric, megabytes, experiment, golden in _ROWS:
        file = f"{name}-{digest}.pth"
        network = functools.partial(models.detr_resnet, depth, dilated=dilated)
        yield Entry(
            f"facebookresearch/{name}-{digest}", f"{_URL}{file}", file, "facebookresearch",
            network, _DETECT, metric, "Apache-2.0", "Apache-2.0",
            Digest("sha256", digest), megabytes, experiment, golden,
        )  # fmt: skip
