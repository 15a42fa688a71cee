"""MTCNN: joint face detection and alignment (Zhang et al. 2016, arXiv:1604.02878).

A cascade: P-Net scores all windows of 12×12 pixels of an image pyramid, R-Net what is left of them
as crops of 24×24, O-Net what is left of these as crops of 48×48. The conventions are those of the
authors' code, which facenet and facenet-pytorch repeat (see `ops.cascade`); they decide which faces
are found. All of it is one program per size of the input, within which images of any smaller size
lie at the top left.

Parameters: `p_net`, `r_net`, `o_net`, see `mtcnn_nets`. Initialisation: Glorot uniform, zero
biases, slopes of 0.25.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, UInt32

from vision_jax.config import UserError
from vision_jax.models.detectors.detector import DetectorModule, Outputs, Sizes, Valid
from vision_jax.models.detectors.mtcnn_nets import LANDMARKS, ONet, PNet, RNet
from vision_jax.models.detectors.mtcnn_training import crop_losses, draw_crops
from vision_jax.models.layers import NO_NORM, Images, Keys, Layers
from vision_jax.ops import cascade
from vision_jax.ops.nms import nms
from vision_jax.structs import Detections, Targets, Terms

# Of R-Net and O-Net by the side of their crops: answers, and how many numbers each has.
ANSWERS = {
    24: {"logits": 2, "deltas": 4},
    48: {"logits": 2, "deltas": 4, "landmarks": 2 * LANDMARKS},
}
WINDOW = 12  # pixels that P-Net sees
MIDDLE, SPREAD = 127.5, 128.0  # the networks see (pixel - 127.5) / 128


class Stage(NamedTuple):
    """The boxes that a stage passes on, padded to n per image."""

    boxes: Array  # (b, n, 4) float32 xyxy, pixels: refined
    squares: Array  # (b, n, 4), the boxes made square, which the next stage crops
    scores: Array  # (b, n), falling, 0 on padding
    valid: Array  # (b, n) bool


class Level(NamedTuple):
    """A level of the image pyramid of a canvas; tables are by the image's own height or width."""

    scale: float  # pixels per pixel of the image
    least_side: int  # the pyramid of an image with a shorter side does not have the level
    rows: np.ndarray  # (height + 1,) int32: rows of the level for images of so many rows
    columns: np.ndarray  # (width + 1,) int32


class MTCNN(DetectorModule):
    """The cascade as a detector of one class with five keypoints.

    Fields:
      num_classes: 1, faces.
      min_size: side of the smallest faces that are looked for, pixels.
      factor: ratio of the pyramid's scales, below 1.
      score_thresholds: of P-Net (at least), R-Net and O-Net (more than).
      nms_thresholds: IoU within a level, over all levels, of R-Net's boxes, and of O-Net's the
        shared area over the smaller box.
      max_per_level: boxes that a level of the pyramid passes on at most, the best.
      max_refined: boxes per image that R-Net sees at most, the best.
      max_detections: boxes per image that O-Net sees at most; slots of the answer.
      train_crops: crops per image that the networks are trained on, see `mtcnn_training`.
      hard_share: share of them, the hardest, whose scores count.
      box_weight, landmark_weight: factors of these terms of the loss; the paper has 0.5 and 1.
      chunk: crops per image that R-Net sees at a time; O-Net a quarter. No more chunks are computed
        than there are boxes for. Changes speed only.
      layers: the precision in which the networks compute; they have no norms.
    """

    num_classes: int = 1
    min_size: int = 20
    factor: float = 0.709
    score_thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    nms_thresholds: tuple[float, float, float, float] = (0.5, 0.7, 0.7, 0.7)
    max_per_level: int = 256
    max_refined: int = 512
    max_detections: int = 128
    train_crops: int = 64
    hard_share: float = 0.7
    box_weight: float = 0.5
    landmark_weight: float = 1.0
    chunk: int = 64
    layers: Layers = NO_NORM

    def setup(self):
        if not 0 < self.factor < 1 or self.min_size < 1:
            text = f"min_size={self.min_size}, factor={self.factor}"
            raise UserError(f"MTCNN: {text}: a size of at least 1, a factor between 0 and 1")
        self.p_net = PNet(layers=self.layers)
        self.r_net = RNet(layers=self.layers)
        self.o_net = ONet(layers=self.layers)

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

        level_logits: per level of the pyramid (b, h, w, 2); level_deltas: (b, h, w, 4).
        proposals, refined: the `Stage`s after P-Net and R-Net.
        detections: boxes, and keypoints (b, n, 5, 3) with the face's score; boxes may reach over
          the image's border.

        With boxes in `targets` nothing is looked for: `crops`, and of each network `p_net`, `r_net`
        and `o_net` what it says of them.
        """
        pixels = jnp.clip(jnp.round(images), 0, 255).astype(jnp.uint32)
        areas = jax.vmap(cascade.summed_areas)(pixels)
        content = jnp.round(sizes).astype(jnp.int32)
        if self.is_initializing():  # the rest makes no parameters, and takes long to compile
            box = jnp.full((len(images), 1, 4), jnp.float32(WINDOW)).at[..., :2].set(0)
            nets = ((self.p_net, WINDOW), (self.r_net, 24), (self.o_net, 48))
            return {str(side): _run(net, side, areas, content, box) for net, side in nets}
        if targets is not None and targets.boxes is not None:
            return self._on_faces(areas, content, targets, keys)
        levels = pyramid(images.shape[1:3], self.min_size, self.factor)
        maps = [self._level(level, areas, content, images.dtype) for level in levels]
        candidates = [
            _candidates(level, scores, deltas, self._limits)
            for level, (scores, _, deltas) in zip(levels, maps, strict=True)
        ]
        proposals = _merged(candidates, len(images), self.nms_thresholds[1], self.max_refined)
        answers = self._on_crops(self.r_net, 24, self.chunk, areas, content, proposals)
        refined, chunk = self._refined(proposals, answers, content), -(-self.chunk // 4)
        answers = self._on_crops(self.o_net, 48, chunk, areas, content, refined)
        return {
            "level_logits": tuple(logits for _, logits, _ in maps),
            "level_deltas": tuple(deltas for _, _, deltas in maps),
            "proposals": proposals,
            "refined": refined,
            "detections": self._detected(refined, answers, content),
        }

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes `p_face`, `p_box`, `r_face`, …, `o_landmark`, see `crop_losses`."""
        crops, terms = outputs["crops"], {}
        labels = jnp.where(valid[:, None], crops.labels, -1)
        boxed, marked = crops.boxed & valid[:, None], crops.marked & valid[:, None]
        crops = crops._replace(labels=labels, boxed=boxed, marked=marked)
        factors = {"face": 1.0, "box": self.box_weight, "landmark": self.landmark_weight}
        for name in ("p_net", "r_net", "o_net"):
            found = crop_losses(outputs[name], crops, self.hard_share)
            for term, (total, count) in found.items():
                terms[f"{name[0]}_{term}"] = factors[term] * total, count
        return terms

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Returns the detections that the last stage found, in pixels of the network's input."""
        return outputs["detections"]

    def _on_faces(self, areas, content, targets, keys):
        """Runs all three networks on crops around and beside faces."""
        if keys is None:
            raise UserError("MTCNN draws crops in training: it needs keys")
        draw = functools.partial(draw_crops, count=self.train_crops)
        faces = Targets(boxes=targets.boxes, valid=targets.valid, keypoints=targets.keypoints)
        crops = jax.vmap(draw)(keys, faces, content.astype(jnp.float32))
        outputs = {"crops": crops}
        for name, net, side in (
            ("p_net", self.p_net, 12),
            ("r_net", self.r_net, 24),
            ("o_net", self.o_net, 48),
        ):
            answers = _run(net, side, areas, content, crops.squares)
            outputs[name] = answers
        return outputs

    @property
    def _limits(self):
        return self.score_thresholds[0], self.nms_thresholds[0], self.max_per_level

    def _level(self, level, areas, content, dtype):
        """Scores a level: face probabilities, 0 where there is no window; logits and deltas."""
        images, result = level_images(level, areas, content)
        images = images.astype(dtype)
        outputs = self.p_net((images - MIDDLE) / SPREAD, result)
        windows = -(-(result - 2) // 2) - 4  # rows and columns of the map that see no padding
        height, width = outputs["logits"].shape[1:3]
        inside = jnp.arange(height)[None, :, None] < windows[:, :1, None]
        inside &= jnp.arange(width)[None, None] < windows[:, 1:, None]
        inside &= (content.min(1) >= level.least_side)[:, None, None]
        scores = jax.nn.softmax(outputs["logits"])[..., 1]
        return jnp.where(inside, scores, 0), outputs["logits"], outputs["deltas"]

    def _on_crops(self, net, side, chunk, areas, content, stage):
        """Runs a network on the squares of a stage, as many chunks as hold valid ones."""

        def run(net, boxes):
            return _run(net, side, areas, content, boxes)

        return on_valid(net, run, stage.squares, stage.valid, chunk, ANSWERS[side])

    def _refined(self, proposals, answers, content):
        """Keeps the boxes that R-Net is sure of; suppresses, refines and squares them."""

        def per_image(boxes, deltas, scores, valid):
            valid = valid & (scores > self.score_thresholds[1])
            kept = nms(boxes, scores, self.nms_thresholds[2], self.max_detections, valid=valid)
            boxes = cascade.refine_boxes(boxes[kept.index], deltas[kept.index])
            return _stage(boxes, kept.score, kept.valid)

        scores = jax.nn.softmax(answers["logits"])[..., 1]
        valid = _croppable(proposals, content)
        return jax.vmap(per_image)(proposals.squares, answers["deltas"], scores, valid)

    def _detected(self, refined, answers, content):
        """Keeps the boxes that O-Net is sure of, with landmarks; refines and suppresses them."""

        def per_image(squares, answers, scores, valid):
            valid = valid & (scores > self.score_thresholds[2])
            shares = answers["landmarks"].reshape(-1, 2, LANDMARKS).swapaxes(1, 2)
            sides = squares[:, 2:] - squares[:, :2] + 1
            points = sides[:, None] * shares + squares[:, None, :2] - 1
            boxes = cascade.refine_boxes(squares, answers["deltas"])
            threshold = self.nms_thresholds[3]
            kept = cascade.suppress_inclusive(boxes, scores, threshold, valid, of_smaller=True)
            score = jnp.broadcast_to(kept.score[:, None, None], (*points.shape[:2], 1))
            points = jnp.concatenate([points[kept.index], score], -1)
            there = kept.valid[:, None]
            return Detections(
                jnp.where(there, boxes[kept.index], 0),
                kept.score,
                jnp.where(kept.valid, 0, -1),
                kept.valid,
                keypoints=jnp.where(there[..., None], points, 0),
            )

        scores = jax.nn.softmax(answers["logits"])[..., 1]
        valid = _croppable(refined, content)
        return jax.vmap(per_image)(refined.squares, answers, scores, valid)


def _run(net, side, areas, content, boxes):
    """Runs a network on boxes (b, n, 4), cut out and resized to `side`; its answers (b, n, …)."""
    crops = cascade.area_crops(areas, content, boxes, side).astype(boxes.dtype)
    outputs = net((crops.reshape(-1, side, side, 3) - MIDDLE) / SPREAD)
    return {k: v.reshape(*boxes.shape[:2], -1) for k, v in outputs.items()}


def on_valid(
    net: nn.Module,
    run: Callable,
    boxes: Array,
    valid: Array,
    chunk: int,
    answers: dict[str, int],
) -> dict[str, Array]:
    """Runs a network on boxes, chunk by chunk, no more chunks than hold valid ones.

    Args:
      net: the module whose parameters are used.
      run: (net, boxes (b, chunk, 4)) → answers by name, (b, chunk, k) each.
      boxes: (b, n, 4).
      valid: (b, n) bool; valid ones come first.
      chunk: boxes per image at a time.
      answers: their names, and k of each.

    Returns:
      The answers, (b, n, k) each, in the precision of `boxes`; zeros where nothing was run.
    """
    images, count = valid.shape
    chunk = min(chunk, count)
    boxes = jnp.pad(boxes, ((0, 0), (0, -count % chunk), (0, 0)))
    empty = {k: jnp.zeros((images, boxes.shape[1], n), boxes.dtype) for k, n in answers.items()}

    def step(net, state):
        i, answers = state
        part = jax.lax.dynamic_slice_in_dim(boxes, i * chunk, chunk, 1)
        put = functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=1)
        found = {k: v.astype(boxes.dtype) for k, v in run(net, part).items()}
        return i + 1, jax.tree.map(lambda x, y: put(x, y, i * chunk), answers, found)

    chunks = -(-valid.sum(1).max() // chunk)
    _, found = nn.while_loop(lambda _, s: s[0] < chunks, step, net, (jnp.int32(0), empty))
    return {k: v[:, :count] for k, v in found.items()}


def level_images(
    level: Level, areas: UInt32[Array, "b y x c"], content: Int[Array, "b 2"]
) -> tuple[Float[Array, "b h w c"], Int[Array, "b 2"]]:
    """Resizes images to a level of the pyramid; returns it with each one's rows and columns."""
    rows, columns = jnp.asarray(level.rows), jnp.asarray(level.columns)
    result = jnp.stack([rows[content[:, 0]], columns[content[:, 1]]], -1)
    size = int(level.rows[-1]), int(level.columns[-1])

    def resized(areas, content, result):
        span = jnp.array([1, content[0], 1, content[1]])
        return cascade.area_resize(areas, span, size, result)

    return jax.vmap(resized)(areas, content, result), result


def pyramid(canvas: tuple[int, int], min_size: int, factor: float) -> list[Level]:
    """Lists the levels of the image pyramid for images within a canvas, the finest first.

    Scales are 12 / min_size · factor^k while the shorter side is at least 12 pixels there; sides
    are cut to int(side · scale + 1).

    Args:
      canvas: height and width in pixels.
      min_size: side of the smallest faces.
      factor: ratio of the scales.

    Raises:
      UserError: a canvas so small that no window fits.
    """
    scale, levels = WINDOW / min_size, []
    shrunk = np.arange(min(canvas) + 1) * scale  # of each shorter side, multiplied as the ports do
    while shrunk[-1] >= WINDOW:
        rows, columns = ((np.arange(side + 1) * scale + 1).astype(np.int32) for side in canvas)
        levels.append(Level(scale, int(np.argmax(shrunk >= WINDOW)), rows, columns))
        scale, shrunk = scale * factor, shrunk * factor
    if not levels:
        height, width = canvas
        raise UserError(
            f"MTCNN: an image of {height}×{width} pixels is smaller than min_size={min_size}"
        )
    return levels


def _candidates(level, scores, deltas, limits):
    """Finds a level's windows, suppressed and refined: boxes (b, n, 4), scores and valid (b, n)."""
    score_threshold, nms_threshold, count = limits

    def per_image(scores, deltas):
        rows, valid = cascade.face_windows(scores, deltas, level.scale, score_threshold)
        room = min(count, len(rows))
        kept = nms(rows[:, :4], rows[:, 4], nms_threshold, room, valid=valid)
        return rows[kept.index], kept.valid

    return jax.vmap(per_image)(scores, deltas)


def _merged(candidates, images: int, nms_threshold: float, count: int) -> Stage:
    """Suppresses the boxes of all levels together; refines and squares those that are left."""

    def per_image(rows, valid):
        kept = nms(rows[:, :4], rows[:, 4], nms_threshold, count, valid=valid)
        rows = rows[kept.index]
        boxes = cascade.refine_boxes(rows[:, :4], rows[:, 5:], extra=0)
        return _stage(boxes, kept.score, kept.valid)

    rows, valid = (jnp.concatenate(part, 1) for part in zip(*candidates, strict=True))
    return jax.vmap(per_image)(rows, valid)


def _stage(boxes: Float[Array, "n 4"], scores: Array, valid: Array) -> Stage:
    boxes = jnp.where(valid[:, None], boxes, 0)
    return Stage(boxes, cascade.square_boxes(boxes), scores, valid)


def _croppable(stage: Stage, content: Array) -> Array:
    """Says which squares hold a pixel of the image, (b, n)."""
    y0, y1, x0, x1 = jnp.moveaxis(
        cascade.pixel_spans(stage.squares, content[:, :1], content[:, 1:]), -1, 0
    )
    return stage.valid & (y1 >= y0) & (x1 >= x0)
