"""What `sweeps/proposal_methods.py` compares: the methods, and the measures beside recall."""

import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from vision_jax import proposals
from vision_jax.config import node
from vision_jax.data.loading import Loader
from vision_jax.evaluation import GatheredMetric, repeatability
from vision_jax.proposals.perturbations import LEVELS, Perturbation

SMALL_SIDES = (8, 16, 32, 64, 128)  # of BING's windows in the embedded images


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A method that takes after the boxes of a training set before its first image.

    Attributes:
      method: `proposals.Uniform`, `Gaussian` or `Bing`.
      source: the training set.
      images: of it, the first.
      sides: of BING's windows, in pixels.
    """

    method: Any
    source: Any
    images: int = 200
    sides: tuple[int, ...] = SMALL_SIDES

    def __call__(self, rgb: np.ndarray, seed: int = 0) -> np.ndarray:
        """Proposes boxes; see `proposals.Method`."""
        return self._fitted(rgb, seed)

    @functools.cached_property
    def _fitted(self) -> proposals.Method:
        examples = list(examples_of(self.source, self.images))
        if isinstance(self.method, proposals.Bing):
            return proposals.learned_bing(examples, sides=self.sides)
        return self.method.fitted(examples)


def examples_of(source: Any, images: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the first images of a source, decoded, and their boxes."""
    load = Loader(source)
    for i in range(min(images, len(source))):
        example = load(i, np.random.default_rng(0))
        yield example["image"], example["boxes"].astype(np.float64)


def methods(training: Any, photographs: bool) -> dict[str, Any]:
    """Makes the methods, by the names of the sweep.

    Args:
      training: the source whose boxes some take after.
      photographs: whether images are large, as in the papers; else methods look for small things.
    """
    sides = (16, 32, 64, 128, 256, 512) if photographs else SMALL_SIDES
    windows = (16, 32, 64, 128, 256, 512) if photographs else (16, 32, 64, 128)
    area = 1000.0 if photographs else 100.0
    of_training = {"source": training, "images": 5011 if photographs else 200, "sides": sides}
    return {
        "selective_search": node(proposals.SelectiveSearch),
        "edge_boxes": node(proposals.EdgeBoxes, min_area=area),
        "bing": node(Fitted, method=node(proposals.Bing), **of_training),
        "objectness": node(proposals.SuperpixelStraddling, min_area=area),
        "superpixels": node(proposals.Superpixels),
        "gaussian": node(Fitted, method=node(proposals.Gaussian), **of_training),
        "sliding_window": node(proposals.SlidingWindow, sides=windows),
        "uniform": node(Fitted, method=node(proposals.Uniform), **of_training),
    }


@dataclasses.dataclass(frozen=True)
class Study(GatheredMetric):
    """A metric of a method beside its recall; it reads the clock.

    Results: `seconds` per image, the median, one image after the other; `repeatability`, the mean
    over all kinds of perturbations and their levels, and `repeatability_KIND`.

    Attributes:
      name: of the method.
      method: whose proposals are compared.
      source: of images with boxes.
      images: of it, the first.
      most: proposals per image (the paper: 1000).
      levels: of each kind of perturbation, the first.
    """

    name: str
    method: Any
    source: Any
    images: int = 4
    most: int = 1000
    levels: int = 3
    outputs: ClassVar[tuple[str, ...]] = ()

    def names(self) -> tuple[str, ...]:
        return ("seconds", "repeatability", *(f"repeatability_{kind}" for kind in LEVELS))

    def collect(self, state: list, outputs: dict[str, Any], batch: Any) -> list:
        return state

    def result(self, state: list) -> dict[str, float]:
        images = [image for image, _ in examples_of(self.source, self.images)]
        self.method(images[0], 0)  # what is learned, is learned now
        seconds, kinds = [], {kind: [] for kind in LEVELS}
        for image in images:
            began = time.perf_counter()
            reference = self.method(image, 0)[: self.most].astype(np.float64)
            seconds.append(time.perf_counter() - began)
            for kind, levels in LEVELS.items():
                for level in levels[: self.levels]:
                    change = Perturbation(kind, level)
                    boxes = self.method(change(image), 0)[: self.most].astype(np.float64)
                    boxes = change.back(boxes, *image.shape[:2])
                    kinds[kind].append(repeatability(reference, boxes))
        by_kind = {f"repeatability_{kind}": float(np.nanmean(v)) for kind, v in kinds.items()}
        mean = float(np.mean(list(by_kind.values())))
        return {"seconds": float(np.median(seconds)), "repeatability": mean, **by_kind}
