"""The CNN cascade for face detection (Li et al. 2015, "A Convolutional Neural Network Cascade").

Three networks look at fewer and fewer windows, at 12, 24 and 48 pixels; after each a calibration
network moves the windows that are left, and suppression thins them out. As in Viola and Jones's
cascade (2001), a network is trained on what those before it let through, and its threshold is then
set so low that nearly all faces pass; `tasks.SetThreshold` does so, and stages put it together.

Parameters: `net12`, `calibration12`, `net24`, …, and `thresholds` (3,), the least probabilities of
a face, which no gradient reaches.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vision_jax.config import UserError, suggest
from vision_jax.models.detectors.cnn_cascade_nets import STRIDE, CalibrationNet, Net12, Net24, Net48
from vision_jax.models.detectors.cnn_cascade_training import Crops, draw_crops
from vision_jax.models.detectors.detector import DetectorModule, Outputs, Sizes, Valid
from vision_jax.models.detectors.mtcnn import (
    MIDDLE,
    SPREAD,
    WINDOW,
    level_images,
    on_valid,
    pyramid,
)
from vision_jax.models.layers import NO_NORM, Images, Keys, Layers
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import cascade, initializers, losses
from vision_jax.ops.calibration import PATTERNS, calibrate_boxes, mean_patterns
from vision_jax.ops.nms import nms
from vision_jax.structs import Detections, Targets, Terms

SIDES = (12, 24, 48)
TRAINED = ("all", "12", "24", "48")


class Windows(NamedTuple):
    """Windows of images, padded to n per image; valid ones come first, but for the pyramid's."""

    boxes: Array  # (b, n, 4) float32 xyxy, pixels
    levels: Array  # (b, n) int32, of the pyramid
    scores: Array  # (b, n), probability of a face by the network that has seen them last
    valid: Array  # (b, n) bool


class CNNCascade(DetectorModule):
    """The cascade as a detector of one class.

    Fields:
      num_classes: 1, faces.
      min_size: side of the smallest faces that are looked for, pixels.
      factor: ratio of the pyramid's scales, below 1.
      width: factor of the networks' numbers of channels; 1 is the paper's.
      nms_thresholds: IoU after the first and the second network, within a level of the pyramid,
        and after the third, over all.
      calibration_threshold: probability from which a pattern counts.
      max_windows: windows per image that the second and the third network see at most, the best.
      max_detections: slots of the answer.
      trained: '12', '24', '48', the networks of one stage, or 'all', each on what those before it
        let through at the time.
      alone: whether the last network sees all windows, and the others none: what a cascade saves is
        measured against it.
      train_faces: jittered faces per image and network that are trained on.
      train_windows: windows per image and network, mined from those that come through.
      chunk: windows per image that a network sees at a time. No more chunks are computed than there
        are windows for. Changes speed only.
      normalized: sides, of 24 and 48, whose windows are normalised one by one, as Viola and Jones
        do: see `ops.cascade.normalize_windows`. The 12-net slides, and cannot.
      layers: the precision in which the networks compute; they have no norms.

    Raises:
      UserError: another `trained`, or a factor that is none.
    """

    num_classes: int = 1
    min_size: int = 20
    factor: float = 0.709
    width: float = 1.0
    nms_thresholds: tuple[float, float, float] = (0.5, 0.5, 0.3)
    calibration_threshold: float = 0.1
    max_windows: tuple[int, int] = (256, 64)
    max_detections: int = 32
    trained: str = "all"
    alone: bool = False
    train_faces: int = 8
    train_windows: int = 24
    chunk: int = 32
    normalized: tuple[int, ...] = ()
    layers: Layers = NO_NORM

    def setup(self):
        if self.trained not in TRAINED:
            raise UserError(f"trained={self.trained!r}{suggest(self.trained, TRAINED)}")
        if not {*self.normalized} <= {*SIDES[1:]}:
            raise UserError(f"CNNCascade: normalized={self.normalized}: some of {SIDES[1:]}")
        if not 0 < self.factor < 1 or self.min_size < 1:
            text = f"min_size={self.min_size}, factor={self.factor}"
            raise UserError(f"CNNCascade: {text}: a size of at least 1, a factor between 0 and 1")
        settings = {"width": self.width, "layers": self.layers}
        self.net12, self.net24, self.net48 = (net(**settings) for net in (Net12, Net24, Net48))
        self.calibration12, self.calibration24, self.calibration48 = (
            CalibrationNet(side, **settings) for side in SIDES
        )
        self.thresholds = self.param("thresholds", initializers.constant(0.5), (len(SIDES),))

    def __call__(
        self,
        images: Images,
        sizes: Sizes,
        targets: Targets | None = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        """Runs the cascade; see `structs.Detector` for the arguments.

        images: RGB, 0..255, not normalised; values are rounded to whole numbers.

        seen: per network the `Windows` that it saw.
        passed: per network those of them that it let through, at most as many as the next one has
          room for; after the last one suppressed.
        calibrated: per network these boxes moved, (b, n, 4).
        detections: boxes within the image.

        With boxes in `targets` nothing is looked for: of each network that is trained `crops12`,
        …, `logits12`, of its crops (b, n, 2), and `patterns12` (b, m, 45).
        """
        pixels = jnp.clip(jnp.round(images), 0, 255).astype(jnp.uint32)
        areas = jax.vmap(cascade.summed_areas)(pixels)
        view = _View(
            areas, jnp.round(sizes).astype(jnp.int32), images.dtype, tuple(self.normalized)
        )
        if self.is_initializing():  # the rest makes no parameters, and takes long to compile
            return self._on_one_window(view)
        if targets is not None and targets.boxes is not None:
            return self._on_faces(view, targets, keys)
        seen, passed, calibrated = [self._pyramid(view)], [], []
        for place in range(len(SIDES) - 1):
            kept, moved, windows = self._stage(place, seen[-1], view)
            if self.alone:
                windows = _valid_first(seen[0])
            passed.append(kept), calibrated.append(moved)
            seen.append(self._scored(place + 1, windows, view))
        kept = self._last(seen[-1])
        moved = self._moved(len(SIDES) - 1, kept, view)
        passed.append(kept), calibrated.append(moved)
        outputs = {"seen": tuple(seen), "passed": tuple(passed), "calibrated": tuple(calibrated)}
        return {**outputs, "detections": _detections(kept, moved, sizes)}

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes `net12`, `calibration12`, …: cross-entropies of faces and of patterns."""
        terms: Terms = {}
        for side in SIDES:
            if f"crops{side}" in outputs:
                crops: Crops = outputs[f"crops{side}"]
                for name, logits, labels in (
                    ("net", outputs[f"logits{side}"], crops.labels),
                    ("calibration", outputs[f"patterns{side}"], crops.patterns),
                ):
                    labels = jnp.where(valid[:, None], labels, -1).reshape(-1)
                    logits = logits.astype(jnp.float32).reshape(len(labels), -1)
                    loss = losses.cross_entropy(logits, labels, mask=labels >= 0)
                    terms[f"{name}{side}"] = loss.sum(), (labels >= 0).sum().astype(jnp.float32)
        return terms

    def metrics(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns `mined12`, …: how many false positives per image came through to be mined."""
        found: Terms = {}
        for side in SIDES:
            if f"crops{side}" in outputs:
                crops: Crops = outputs[f"crops{side}"]
                mined = (crops.mined & (crops.labels == 0) & valid[:, None]).sum()
                found[f"mined{side}"] = mined.astype(jnp.float32), valid.sum().astype(jnp.float32)
        return found

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Returns the detections that the last network left, in pixels of the network's input."""
        return outputs["detections"]

    def _on_faces(self, view, targets, keys):
        """Runs the trained networks on crops of faces and of what comes through to them."""
        if keys is None:
            raise UserError("CNNCascade draws crops in training: it needs keys")
        draw = functools.partial(
            draw_crops, positives=self.train_faces, negatives=self.train_windows
        )
        faces = Targets(boxes=targets.boxes, valid=targets.valid)
        seen, outputs = self._pyramid(view), {}
        for place, side in enumerate(SIDES):
            if self.trained in ("all", str(side)):
                keys_here = jax.vmap(jax.random.fold_in, (0, None))(keys, side)
                crops = jax.vmap(draw)(keys_here, faces, *jax.lax.stop_gradient((seen[0], seen[3])))
                outputs[f"crops{side}"] = crops
                outputs[f"logits{side}"] = self._run(place, view, crops.boxes)["logits"]
                outputs[f"patterns{side}"] = self._patterns(place, view, crops.disturbed)
            if self.trained == str(side) or side == SIDES[-1]:
                return outputs
            _, _, windows = self._stage(place, seen, view)
            seen = self._scored(place + 1, windows, view)
        return outputs

    def _on_one_window(self, view):
        """Runs every network once."""
        boxes = jnp.full((len(view.areas), 1, 4), jnp.float32(WINDOW)).at[..., :2].set(0)
        self._run(len(SIDES) - 1, view, boxes)
        return {f"patterns{side}": self._patterns(i, view, boxes) for i, side in enumerate(SIDES)}

    def _pyramid(self, view) -> Windows:
        """Scores all windows of the image pyramid, the finest level first, row by row."""
        found = []
        for number, level in enumerate(pyramid(view.areas_size, self.min_size, self.factor)):
            images, result = level_images(level, view.areas, view.content)
            logits = self.net12((images.astype(view.dtype) - MIDDLE) / SPREAD)["logits"]
            y, x = (STRIDE * jnp.arange(n, dtype=jnp.int32) for n in logits.shape[1:3])
            inside = (y[None, :, None] + WINDOW <= result[:, :1, None]) & (
                x[None, None] + WINDOW <= result[:, 1:, None]
            )
            inside &= (view.content.min(1) >= level.least_side)[:, None, None]
            low = jnp.stack(jnp.meshgrid(x, y), -1).reshape(-1, 2).astype(jnp.float32)
            boxes = jnp.concatenate([low, low + WINDOW], -1) / level.scale
            shape = (len(images), len(boxes))
            found.append(
                Windows(
                    jnp.broadcast_to(boxes[None], (*shape, 4)),
                    jnp.full(shape, number, jnp.int32),
                    _probability(logits).reshape(shape),
                    inside.reshape(shape),
                )
            )
        return Windows(*(jnp.concatenate(part, 1) for part in zip(*found, strict=True)))

    def _stage(self, place, seen: Windows, view) -> tuple[Windows, Array, Windows]:
        """Lets windows through, calibrates and thins them: passed, their boxes moved, the rest."""
        count = self.max_windows[place]
        passed = seen.valid & (seen.scores >= self.thresholds[place])

        def best(passed, windows):
            room = min(count, len(passed))
            score, index = jax.lax.top_k(jnp.where(passed, windows.scores, -1), room)
            return jax.tree.map(lambda x: x[index], windows)._replace(valid=score >= 0)

        def thinned(windows, boxes):
            kept = nms(
                *(boxes, windows.scores, self.nms_thresholds[place], len(boxes), windows.levels),
                valid=windows.valid,
            )
            kept_boxes = jnp.where(kept.valid[:, None], boxes[kept.index], 0)
            return Windows(kept_boxes, windows.levels[kept.index], kept.score, kept.valid)

        kept = jax.vmap(best)(passed, seen)
        moved = self._moved(place, kept, view)
        return kept, moved, jax.vmap(thinned)(kept, moved)

    def _last(self, seen: Windows) -> Windows:
        """Keeps the windows that the last network is sure of, suppressed over all levels."""
        passed = seen.valid & (seen.scores >= self.thresholds[-1])

        def per_image(passed, windows):
            count = self.max_detections
            kept = nms(windows.boxes, windows.scores, self.nms_thresholds[-1], count, valid=passed)
            boxes = jnp.where(kept.valid[:, None], windows.boxes[kept.index], 0)
            return Windows(boxes, windows.levels[kept.index], kept.score, kept.valid)

        return jax.vmap(per_image)(passed, seen)

    def _scored(self, place, windows: Windows, view) -> Windows:
        """Has a network score windows, chunk by chunk."""

        def run(net, boxes):
            return {"logits": net._run(place, view, boxes)["logits"]}

        found = on_valid(self, run, windows.boxes, windows.valid, self.chunk, {"logits": 2})
        return windows._replace(scores=_probability(found["logits"]))

    def _moved(self, place, windows: Windows, view) -> Array:
        """Calibrates windows, (b, n, 4)."""

        def run(net, boxes):
            return {"patterns": net._patterns(place, view, boxes)}

        answers = {"patterns": len(PATTERNS)}
        found = on_valid(self, run, windows.boxes, windows.valid, self.chunk, answers)
        logits = jax.lax.stop_gradient(found["patterns"]).astype(jnp.float32)
        patterns = mean_patterns(logits, self.calibration_threshold)
        return calibrate_boxes(windows.boxes, patterns)

    def _run(self, place, view, boxes) -> dict[str, Array]:
        """Runs a network on boxes (b, n, 4): `logits` (b, n, 2) and `features` (b, n, k)."""
        found = self.net12(view.crops(boxes, SIDES[0]))
        found = {k: v[:, 0, 0] for k, v in found.items()}
        for net, side in ((self.net24, 24), (self.net48, 48))[:place]:
            found = net(view.crops(boxes, side), jax.lax.stop_gradient(found["features"]))
        return {k: v.reshape(*boxes.shape[:2], -1) for k, v in found.items()}

    def _patterns(self, place, view, boxes) -> Array:
        nets = self.calibration12, self.calibration24, self.calibration48
        return nets[place](view.crops(boxes, SIDES[place])).reshape(*boxes.shape[:2], -1)


class _View(NamedTuple):
    """Images as the cascade cuts them."""

    areas: Array  # (b, h + 1, w + 1, c), of `ops.cascade.summed_areas`
    content: Array  # (b, 2) int32
    dtype: jnp.dtype
    normalized: tuple[int, ...]

    @property
    def areas_size(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self.areas.shape[1] - 1, self.areas.shape[2] - 1

    def crops(self, boxes: Array, side: int) -> Array:
        """Cuts boxes (b, n, 4) out and normalises them: (b · n, side, side, c)."""
        one = jnp.array([[[1, 1, 0, 0]]], boxes.dtype)  # pixels are counted from 1 there
        crops = cascade.area_crops(self.areas, self.content, boxes + one, side).astype(self.dtype)
        crops = (crops.reshape(-1, side, side, crops.shape[-1]) - MIDDLE) / SPREAD
        return cascade.normalize_windows(crops) if side in self.normalized else crops


def _valid_first(windows: Windows) -> Windows:
    order = jnp.argsort(~windows.valid, axis=1)  # stable
    return jax.tree.map(lambda x: jax.vmap(lambda x, i: x[i])(x, order), windows)


def _probability(logits: Array) -> Array:
    """Returns the probability of a face; no gradient goes through what is chosen by it."""
    return jax.nn.softmax(jax.lax.stop_gradient(logits).astype(jnp.float32))[..., 1]


def _detections(kept: Windows, boxes: Array, sizes: Array) -> Detections:
    """Cuts the last boxes at the image's border."""
    inside = jax.vmap(lambda boxes, size: box_ops.clip(boxes, size[0], size[1]))(boxes, sizes)
    return Detections(
        jnp.where(kept.valid[..., None], inside, 0),
        kept.scores,
        jnp.where(kept.valid, 0, -1).astype(jnp.int32),
        kept.valid,
    )
