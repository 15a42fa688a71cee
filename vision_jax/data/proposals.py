"""Proposals that were made beforehand, as an input of networks that make none (Fast R-CNN).

An example then has `proposals` (n, 4) float32 xyxy in pixels of its image, the best first, and
`proposal_valid` (n,) bool, False on padding; transforms move them along.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np

from vision_jax.config import UserError
from vision_jax.data.geometry import with_extent
from vision_jax.data.loading import Transform
from vision_jax.data.sources import Example, Wrapped


@dataclasses.dataclass(frozen=True)
class WithProposals(Wrapped):
    """A source with the proposals of a file, such as `tasks.WriteProposals` writes.

    The file is an npz: `counts` (n,) proposals per image; `boxes` (Σ counts, 4) xyxy in pixels of
    the original images, image after image, the best first; and `ids` (n,), the images' identifiers
    in the source (`image_id`), or without `ids` its examples in order.

    Attributes:
      source: the source of the images.
      file: the npz; may be an earlier stage's, 'stage:NAME/proposals.npz'.
      max_proposals: proposals per image; further ones are left out.

    Raises:
      UserError: no such file, or one that does not fit the source.
    """

    file: str
    max_proposals: int = 2000

    def __post_init__(self):
        _ = self._ranges  # a wrong file is reported now, not when training starts

    def __getitem__(self, i: int) -> Example:
        start, end = self._ranges[i]
        boxes = self._content["boxes"][start:end]
        return {**self.source[i], **pad(boxes, self.max_proposals)}

    @functools.cached_property
    def _content(self) -> dict[str, np.ndarray]:
        """The file's arrays, of fitting shapes."""
        path = pathlib.Path(self.file).expanduser()
        try:
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                content = {key: file[key] for key in file.files}
        except OSError as error:
            raise UserError(f"proposals {self.file!r}: {error.strerror}") from error
        except Exception as error:  # zipfile, zlib, numpy: each has its own
            raise UserError(f"proposals {self.file!r} is no npz file ({error})") from error
        missing = {"counts", "boxes"} - content.keys()
        if missing:
            raise UserError(f"proposals {self.file!r} has no {min(missing)!r}")
        boxes, total = content["boxes"], int(content["counts"].sum())
        if boxes.shape != (total, 4) or not np.isfinite(boxes).all():
            raise UserError(
                f"proposals {self.file!r}: boxes are {boxes.shape}, not ({total}, 4) finite numbers"
            )
        return content

    @functools.cached_property
    def _ranges(self) -> np.ndarray:
        """(n, 2): where each example's boxes begin and end in the file."""
        counts = self._content["counts"].astype(np.int64)
        ends = np.cumsum(counts)
        ranges = np.stack([ends - counts, ends], 1)
        if "ids" not in self._content:
            if len(ranges) != len(self.source):
                raise UserError(
                    f"proposals {self.file!r} are of {len(ranges)} images, the source has "
                    f"{len(self.source)}"
                )
            return ranges
        rows = {str(name): row for row, name in enumerate(self._content["ids"].tolist())}
        names = [str(self.image_id(i)) for i in range(len(self.source))]
        absent = [name for name in names if name not in rows]
        if absent:
            raise UserError(
                f"proposals {self.file!r} lack {len(absent)} images of the source, {absent[0]} "
                "first"
            )
        return ranges[[rows[name] for name in names]]


@dataclasses.dataclass(frozen=True)
class Propose(Transform):
    """A transform that proposes boxes while images are read, for methods that are fast enough.

    Others are better run once, by `python -m vision_jax.proposals`, and read by `WithProposals`:
    images that come with proposals keep them.

    Attributes:
      method: image, uint8 RGB, and seed → boxes (n, 4) xyxy, the best first, such as one of
        `vision_jax.proposals`.
      max_proposals: proposals per image; further ones are left out.
    """

    method: Callable[[np.ndarray, int], np.ndarray]
    max_proposals: int = 1000

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if "proposals" in example:
            return example
        boxes = self.method(example["image"], int(rng.integers(2**31)))
        return {**example, **pad(boxes, self.max_proposals)}


@dataclasses.dataclass(frozen=True)
class JitteredTruth(Transform):
    """A transform that proposes the objects' own boxes, moved and resized at random, and others.

    For tests and first steps: no network proposes so well.

    Attributes:
      count: proposals per image.
      spread: standard deviation of the centre's shift as a share of the sides, and of the
        logarithm of the sides.
      background: share of proposals that lie anywhere; all of them in images without objects.
    """

    count: int = 100
    spread: float = 0.2
    background: float = 0.5

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        height, width = example["image"].shape[:2]
        limit = np.asarray([width, height, width, height], np.float64)
        low, high = np.sort(rng.uniform(0, 1, (2, self.count, 2)), axis=0)
        proposals = np.concatenate([low, high], 1) * limit
        boxes = example["boxes"].astype(np.float64)
        if len(boxes):
            chosen = boxes[rng.integers(len(boxes), size=self.count)]
            sides = chosen[:, 2:] - chosen[:, :2]
            middle = (chosen[:, 2:] + chosen[:, :2]) / 2
            middle += rng.normal(0, self.spread, middle.shape) * sides
            sides *= np.exp(rng.normal(0, self.spread, sides.shape))
            near = np.concatenate([middle - sides / 2, middle + sides / 2], 1).clip(0, limit)
            anywhere = rng.random(self.count) < self.background
            proposals = np.where(anywhere[:, None], proposals, near)
        return {**example, **pad(proposals, self.count)}


def pad(boxes: np.ndarray, rows: int) -> dict[str, np.ndarray]:
    """Returns `proposals` and `proposal_valid` of the first boxes, in so many rows.

    Rows beyond the boxes are zeros; boxes without extent are not valid.
    """
    boxes = np.asarray(boxes[:rows], np.float32)
    proposals = np.zeros((rows, 4), np.float32)
    proposals[: len(boxes)] = boxes
    return {"proposals": proposals, "proposal_valid": with_extent(proposals)}
