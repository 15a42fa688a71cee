"""How BING learns (Cheng et al. 2014, section 3.2): a filter, and a calibration for each size.

Both are linear support vector machines: the filter's tells objects' windows from others, and each
size's the scores of windows that meet an object by half from the scores of the others.
"""

import itertools
from collections.abc import Iterable

import cv2
import numpy as np
from sklearn import svm

from vision_jax.config import UserError
from vision_jax.proposals.baselines import Example
from vision_jax.proposals.bing import WINDOW, Bing, BingModel, gradient_map, windows_of_size
from vision_jax.proposals.windows import iou

_HALF = 0.5  # the IoU from which on a window is an object's


def learned_bing(
    examples: Iterable[Example],
    gradient: str = "rgb",
    sides: tuple[int, ...] = (16, 32, 64, 128, 256, 512),
    per_size: int = 130,
    negatives: int = 50,
    least: int = 10,
    seed: int = 0,
) -> Bing:
    """Learns BING from images and the boxes of their objects, xyxy.

    Args:
      examples: they are gone through once, and kept.
      gradient: of `bing.GRADIENTS`.
      sides: of windows, in pixels; each goes with each.
      per_size: see `Bing`.
      negatives: windows without an object that are drawn in each image.
      least: a size of which the training set has fewer windows with objects is left out.
      seed: of what is drawn.

    Raises:
      UserError: there are no boxes, or no size has enough of them.
    """
    examples = [(rgb, boxes) for rgb, boxes in examples]
    weights = _filter(examples, gradient, negatives, seed)
    sizes, calibration = [], []
    for size in itertools.product(sides, sides):
        scores, hits = _judged(examples, gradient, weights, size, per_size)
        if hits.sum() < least or hits.all():
            continue
        sizes.append(size)
        calibration.append(_calibrated(scores, hits))
    if not sizes:
        raise UserError(f"bing: no size of window has {least} objects in the training set")
    return Bing((BingModel(gradient, weights, tuple(sizes), tuple(calibration)),), per_size)


def _filter(examples: list[Example], gradient: str, negatives: int, seed: int) -> tuple[float, ...]:
    """Learns the 64 weights from objects, also mirrored, and from windows drawn at random."""
    random = np.random.default_rng(seed)
    features, objects = [], []
    for rgb, boxes in examples:
        low, high = np.sort(random.uniform(size=(2, negatives, 2)), axis=0)
        drawn = np.concatenate([low, high], 1) * ([rgb.shape[1], rgb.shape[0]] * 2)
        drawn = drawn[(drawn[:, 2:] - drawn[:, :2]).min(1) >= WINDOW]
        drawn = drawn[iou(drawn, boxes).max(1, initial=0) < _HALF]
        for windows, positive in ((boxes, True), (drawn, False)):
            maps = [_window_map(rgb, box, gradient) for box in windows]
            maps += [m[:, ::-1] for m in maps if positive]
            features += maps
            objects += [positive] * len(maps)
    if not any(objects) or all(objects):
        raise UserError("bing: the training set must have objects, and room beside them")
    machine = svm.LinearSVC(C=1.0, dual=False, random_state=seed)
    machine.fit(np.array(features).reshape(len(features), -1) / 255.0, objects)
    return tuple(machine.coef_[0].tolist())


def _window_map(rgb: np.ndarray, box: np.ndarray, gradient: str) -> np.ndarray:
    """Returns the 8×8 gradients of a box, as they are in the resized image: with neighbours."""
    scale = (box[2:] - box[:2]) / WINDOW
    corner = box[:2] + (0.5 - 1) * scale - 0.5  # of a frame of one pixel
    into = np.array([[scale[0], 0, corner[0]], [0, scale[1], corner[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sides = (WINDOW + 2, WINDOW + 2)
    resized = cv2.warpAffine(rgb, into, sides, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return gradient_map(resized, gradient)[1:-1, 1:-1]


def _judged(
    examples: list[Example],
    gradient: str,
    weights: tuple[float, ...],
    size: tuple[int, int],
    per_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores of all images' windows of a size, and which meet an object by half."""
    scores, hits = [np.zeros(0)], [np.zeros(0, bool)]
    for rgb, boxes in examples:
        windows, raw = windows_of_size(rgb, gradient, weights, size, per_size)
        scores.append(raw)
        hits.append(iou(windows, boxes).max(1, initial=0) >= _HALF)
    return np.concatenate(scores), np.concatenate(hits)


def _calibrated(scores: np.ndarray, hits: np.ndarray) -> tuple[float, float]:
    """Learns the factor and the offset that make the scores of a size comparable to others'."""
    mean, spread = scores.mean(), max(float(scores.std()), 1e-12)
    machine = svm.LinearSVC(C=1.0, dual=False).fit(((scores - mean) / spread)[:, None], hits)
    factor = float(machine.coef_[0, 0]) / spread
    return factor, float(machine.intercept_[0]) - factor * float(mean)
