"""A part of a source: what is trained on, or what is held out to evaluate on."""

import dataclasses
import functools
import hashlib
from typing import Literal

import numpy as np

from vision_jax.config import UserError
from vision_jax.data.sources import Wrapped

_MOST = 2000  # images that are held out, unless a share is given


@dataclasses.dataclass(frozen=True)
class HeldOut(Wrapped):
    """The images of a source that are trained on, or the others, which are held out.

    Which these are follows from each image's id and the seed alone: it is the same in every run,
    and images that are added later change little. Of sources that know their images' labels, each
    class is divided in the same way.

    Attributes:
      source: the source that is divided.
      part: 'train', or 'val' for what is held out.
      share: of the images that are held out, 0..1; at least one on either side. None is a fifth, or
        2000 of more than 10,000 images.
      seed: of the division.

    Raises:
      UserError: another part or share, or fewer than two images.
    """

    part: Literal["train", "val"] = "train"
    share: float | None = None
    seed: int = 0

    def __post_init__(self):
        if self.part not in ("train", "val"):
            raise UserError(f"HeldOut: part={self.part!r} is neither 'train' nor 'val'")
        if self.share is not None and not 0 < self.share < 1:
            raise UserError(f"HeldOut: share={self.share} is not between 0 and 1")
        if len(self.source) < 2:
            raise UserError(
                f"{self.source.describe(0)} is the only image: none can be held out to evaluate on"
            )

    def __len__(self) -> int:
        return len(self._positions)

    def position(self, i: int) -> int:
        return int(self._positions[i])

    def image_labels(self) -> np.ndarray | None:
        labels = self.source.image_labels()
        return None if labels is None else labels[self._positions]

    @functools.cached_property
    def _positions(self) -> np.ndarray:
        """The source's numbers of this part's images, increasing."""
        total = len(self.source)
        share = min(0.2, _MOST / total) if self.share is None else self.share
        wanted = min(max(1, round(share * total)), total - 1)
        held = np.zeros(total, bool)
        held[self._order()[:wanted]] = True
        return np.flatnonzero(held if self.part == "val" else ~held)

    def _order(self) -> np.ndarray:
        """Returns all images' numbers, in the order in which they are held out."""
        total = len(self.source)
        drawn = [(self._draw(i), i) for i in range(total)]
        labels = self.source.image_labels()
        if labels is None:
            return np.asarray([i for _, i in sorted(drawn)], int)
        # Each class's k-th of n images comes at (k + 1/2) / n: all classes are used up evenly.
        counts, seen = np.bincount(labels), np.zeros(int(labels.max()) + 1, int)
        places = []
        for draw, i in sorted(drawn):
            places.append(((seen[labels[i]] + 0.5) / counts[labels[i]], draw, i))
            seen[labels[i]] += 1
        return np.asarray([i for _, _, i in sorted(places)], int)

    def _draw(self, i: int) -> bytes:
        """Returns the image's draw: a digest of the seed and of its id."""
        text = f"{self.seed}:{self.source.image_id(i)}"
        return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
