"""BING (Cheng et al. 2014): one linear filter on 8×8 gradients finds windows of any size.

The image is resized so that windows of a size have 8×8 pixels; the filter, as two binary ones, and
the upper four bits of the gradients give each window a score, which each size then calibrates.
Where the paper is silent the rules are those of OpenCV's contributed module.
"""

import dataclasses
import itertools
import pathlib

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from vision_jax.config import UserError

WINDOW = 8  # pixels of a side of the filter
_BASES = 2  # binary filters that stand for the one
_SIDES = (16, 32, 64, 128, 256, 512)  # of windows, in the paper
_PUBLISHED = {"rgb": "MAXBGR", "hsv": "HSV", "gray": "I"}


@dataclasses.dataclass(frozen=True)
class BingModel:
    """What BING has learned for one kind of gradient.

    Attributes:
      gradient: of `GRADIENTS`: 'rgb' (the greatest of the three), 'hsv' or 'gray'.
      weights: 64, row by row.
      sizes: height and width of windows, in pixels.
      calibration: factor and offset for the scores of each size.
    """

    gradient: str
    weights: tuple[float, ...]
    sizes: tuple[tuple[int, int], ...]
    calibration: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Bing:
    """The settings of BING, and what it has learned.

    Attributes:
      models: learned by `learned_bing`, or read by `Bing.read`; it needs one.
      per_size: windows of each size, at most. (The paper: 130; OpenCV: 250.)
      count: boxes, at most.
    """

    models: tuple[BingModel, ...] = ()
    per_size: int = 130
    count: int = 2000

    @classmethod
    def read(cls, folder: str | pathlib.Path) -> "Bing":
        """Reads the published weights, as OpenCV ships them.

        Args:
          folder: holds 'ObjNessB2W8MAXBGR.wS1.yml.gz', '….wS2.yml.gz' and '….idx.yml.gz', and the
            same of HSV and I.

        Raises:
          UserError: a file that is missing, or is not such a file.
        """
        models = []
        for gradient, name in _PUBLISHED.items():
            parts = [_matrix(pathlib.Path(folder), f"ObjNessB2W8{name}.{p}") for p in _SHAPES]
            weights, calibration, sizes = parts
            pairs = tuple(itertools.product(_SIDES, _SIDES))
            models.append(
                BingModel(
                    gradient,
                    tuple(weights.ravel().tolist()),
                    tuple(pairs[i] for i in sizes.ravel().tolist()),
                    tuple((v, t) for v, t in calibration.tolist()),
                )
            )
        return cls(tuple(models))

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], seed: int = 0) -> Float[np.ndarray, "_n 4"]:
        """Proposes boxes, xyxy within the image, none twice, the best first; nothing is random.

        Raises:
          UserError: there are no weights.
        """
        if not self.models:
            raise UserError("bing has no weights: it must be fitted, or its weights be read")
        boxes, scores = self.scored(rgb)
        boxes = boxes[np.argsort(-scores, kind="stable")]
        first = np.sort(np.unique(boxes, axis=0, return_index=True)[1])
        return boxes[first[: self.count]].astype(np.float64)

    def scored(
        self, rgb: UInt8[np.ndarray, "h w 3"]
    ) -> tuple[Int[np.ndarray, "_n 4"], Float[np.ndarray, " _n"]]:
        """Returns all windows, model after model, and their calibrated scores."""
        boxes, scores = [np.zeros((0, 4), np.int64)], [np.zeros(0)]
        for model in self.models:
            for size, (factor, offset) in zip(model.sizes, model.calibration, strict=True):
                windows, raw = windows_of_size(
                    rgb, model.gradient, model.weights, size, self.per_size
                )
                boxes.append(windows)
                scores.append(raw * factor + offset)
        return np.concatenate(boxes), np.concatenate(scores)


def windows_of_size(
    rgb: UInt8[np.ndarray, "h w 3"],
    gradient: str,
    weights: tuple[float, ...],
    size: tuple[int, int],
    most: int,
) -> tuple[Int[np.ndarray, "_n 4"], Float[np.ndarray, " _n"]]:
    """Returns the best windows of a size, none near a better one, and their scores, falling.

    Args:
      gradient, weights, size: see `BingModel`.
      most: windows, at most.

    Returns:
      boxes, xyxy in pixels with exclusive ends; none where the window is more than twice as long
      as the image. Windows that are longer than the image are cut to it.
    """
    height, width = rgb.shape[:2]
    if size[0] > 2 * height or size[1] > 2 * width:
        return np.zeros((0, 4), np.int64), np.zeros(0)
    high, wide = min(size[0], height), min(size[1], width)
    shape = (round(WINDOW * width / wide), round(WINDOW * height / high))
    # The kind of interpolation that OpenCV's module has: others give other windows.
    resized = cv2.resize(np.ascontiguousarray(rgb), shape, interpolation=cv2.INTER_LINEAR_EXACT)
    scores = _responses(gradient_map(resized, gradient), weights)
    y, x = _maxima(scores, most)
    # The steps are whole pixels, as in OpenCV.
    left = np.rint(x * float(wide // WINDOW)).astype(np.int64)
    top = np.rint(y * float(high // WINDOW)).astype(np.int64)
    boxes = np.stack([left, top, left + wide, top + high], 1).clip(0, [width, height] * 2)
    return boxes, scores[y, x].astype(np.float64)


def gradient_map(rgb: UInt8[np.ndarray, "h w 3"], gradient: str) -> UInt8[np.ndarray, "h w"]:
    """Returns |across| + |down|, at most 255, of one of `GRADIENTS`; at least 2×2 pixels.

    Differences are between the two neighbours, at the image's border to the one that there is.
    """
    planes, joined, inside, border = GRADIENTS[gradient]
    values = np.atleast_3d(planes(rgb)).astype(np.int32)
    total = np.zeros(values.shape[:2], np.int32)
    for v, t in ((values, total), (values.swapaxes(0, 1), total.T)):
        t[1:-1] += joined(np.abs(v[2:] - v[:-2]), -1) // inside
        t[0] += joined(np.abs(v[1] - v[0]), -1) * border
        t[-1] += joined(np.abs(v[-1] - v[-2]), -1) * border
    return np.minimum(total, 255).astype(np.uint8)


# Planes, how their differences are joined, their divisor within, and their factor at the border.
GRADIENTS = {
    "rgb": (lambda rgb: rgb, np.max, 1, 2),
    "hsv": (lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV), np.sum, 2, 1),
    "gray": (lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.max, 1, 2),
}


def _responses(gradients: np.ndarray, weights: tuple[float, ...]) -> Float32[np.ndarray, "_h _w"]:
    """Returns the filter's score at each place where it fits."""
    upper = (gradients >> 4).astype(np.float32)
    rest = np.array(weights, np.float32)
    scores = np.zeros((upper.shape[0] - WINDOW + 1, upper.shape[1] - WINDOW + 1), np.float32)
    for _ in range(_BASES):
        signs = np.where(rest >= 0, np.float32(1), np.float32(-1))
        # One after the other, as OpenCV does: which of equals is better depends on it.
        share = (rest * signs).cumsum(dtype=np.float32)[-1] / np.float32(rest.size)
        rest = rest - share * signs
        kernel = signs.reshape(WINDOW, WINDOW)
        sums = cv2.filter2D(upper, cv2.CV_32F, kernel, anchor=(0, 0))
        scores += share * sums[: scores.shape[0], : scores.shape[1]]
    return scores


def _maxima(scores: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best places, none within two pixels of a better one; of equals the later."""
    open_ = np.pad(np.ones(scores.shape, bool), 2)
    found: list[tuple[int, int]] = []
    order = np.argsort(scores, axis=None, kind="stable")[::-1]
    for y, x in zip(
        *(part.tolist() for part in np.unravel_index(order, scores.shape)), strict=True
    ):
        if not open_[y + 2, x + 2]:
            continue
        found.append((y, x))
        if len(found) == most:
            break
        open_[y : y + 5, x : x + 5] = False
    places = np.array(found, np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


_SHAPES = {"wS1": (8, 8), "wS2": (28, 2), "idx": (28, 1)}


def _matrix(folder: pathlib.Path, name: str) -> np.ndarray:
    """Reads one of the published arrays."""
    path, (stem, _, part) = folder / f"{name}.yml.gz", name.partition(".")
    if not path.is_file():
        raise UserError(f"bing's weights: there is no {path}")
    try:
        file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
        matrix = file.getNode(stem).mat()
        file.release()
    except (cv2.error, SystemError) as error:
        raise UserError(f"bing's weights: {path} is no array of OpenCV's") from error
    if matrix is None or matrix.shape != _SHAPES[part]:
        raise UserError(f"bing's weights: {path} does not hold {_SHAPES[part]} numbers")
    return matrix
