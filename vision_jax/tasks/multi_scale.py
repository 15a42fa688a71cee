"""A trained segmenter tested on whole images: several scales, mirrored, or window by window."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError
from vision_jax.ops.resize import resize_content
from vision_jax.ops.windows import over_windows
from vision_jax.structs import Batch
from vision_jax.tasks.segmentation import Segmentation

_LEAST = 1e-30  # probabilities below it are as good as 0, and have a logarithm


@dataclasses.dataclass(frozen=True)
class MultiScale:
    """`Segmentation`, whose `predict` averages class probabilities.

    With `original` the labels are those of the original image (`data.OriginalLabels`), whatever the
    size of the network's input: the probabilities of the image's pixels are brought there before
    the decision. Nothing is predicted for padding. Training is the inner task's.

    Attributes:
      task: the segmenter.
      scales: factors on the sides of the network's input, whose probabilities are averaged.
      flip: each scale is also seen mirrored.
      window: side of a window in pixels, of which the network sees one at a time at each scale;
        0 shows it the whole image. A smaller image is filled up.
      stride: pixels between windows; 0 is two thirds of the window.
      original: the labels have the original image's size, and the answers get it.

    Raises:
      UserError: no scale, one that is not above 0, or a stride that leaves pixels out.
    """

    task: Segmentation
    scales: tuple = (1.0,)
    flip: bool = False
    window: int = 0
    stride: int = 0
    original: bool = False

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple] = ("segmentation",)

    def __post_init__(self):
        if not self.scales or min(self.scales) <= 0:
            raise UserError(f"scales={self.scales}: give one or more factors above 0")
        if min(self.window, self.stride) < 0 or self.stride > self.window:
            raise UserError(f"stride={self.stride} does not fit window={self.window}")

    @property
    def model(self) -> nn.Module:
        """The inner task's."""
        return self.task.model

    def init(self, key: Key[Array, ""], batch: Batch) -> dict[str, Any]:
        """As `Segmentation.init`."""
        return self.task.init(key, batch)

    def normalize(self, image: Array) -> Float[Array, "*b h w c"]:
        """As `Segmentation.normalize`."""
        return self.task.normalize(image)

    def loss(
        self, variables: dict[str, Any], batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[dict[str, tuple[Array, Array]], dict[str, Any]]:
        """As `Segmentation.loss`: one scale, and labels at the network's input."""
        return self.task.loss(variables, batch, key, train)

    def describe(self, outputs: dict[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """As `Segmentation.describe`."""
        return self.task.describe(outputs, classes)

    def predict(self, variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        """`logits` (b, h, w, k), logarithms of mean probabilities, and `segmentation` (b, h, w).

        h and w are the input's; with `original` the labels', where the batch has labels.
        """
        image = self.normalize(batch.image)
        content, wanted, size = _places(batch, self.original)

        def probabilities(x: Array) -> Array:
            logits = self.model.apply(variables, x)["logits"]
            return jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))

        total = 0.0
        for scale in self.scales:
            total += self._at_scale(probabilities, image, scale, content, size, wanted)
        mean = total / len(self.scales)
        logits = jnp.log(jnp.maximum(mean, _LEAST))
        return {"logits": logits, "segmentation": jnp.argmax(logits, -1).astype(jnp.int32)}

    def _at_scale(self, probabilities, image, scale, content, size, wanted):
        """Probabilities of one scale at the labels' size."""
        if scale != 1:
            sides = tuple(max(1, round(side * scale)) for side in image.shape[1:3])
            scaled = jnp.clip(jnp.round(content * scale), 1, jnp.asarray([sides], content.dtype))
            image, content = resize_content(image, content, sides, scaled), scaled
        found = self._windows(probabilities, image)
        if self.flip:
            found = (found + self._windows(probabilities, image[:, :, ::-1])[:, :, ::-1]) / 2
        return resize_content(found, content.astype(found.dtype), size, wanted.astype(found.dtype))

    def _windows(self, probabilities, image):
        if not self.window:
            return probabilities(image)
        height, width = image.shape[1:3]
        room = [(0, max(0, self.window - side)) for side in (height, width)]
        image = jnp.pad(image, ((0, 0), *room, (0, 0)))
        stride = self.stride or max(1, 2 * self.window // 3)
        found = over_windows(probabilities, image, (self.window, self.window), (stride, stride))
        return found[:, :height, :width]


def _places(
    batch: Batch, original: bool
) -> tuple[Float[Array, "b 2"], Float[Array, "b 2"], tuple[int, int]]:
    """Height and width of the images in the network's input, and among the labels; and those of
    the labels' array."""
    rows, *sides = batch.image.shape[:3]
    whole = jnp.broadcast_to(jnp.asarray([sides], jnp.float32), (rows, 2))
    content = whole
    if batch.size is not None and batch.scale is not None:
        # Rows that only fill the batch have no size; so they take a pixel.
        content = jnp.clip(jnp.round(batch.size * batch.scale), 1, whole)
    labels = batch.targets.segmentation
    if not original or labels is None or batch.size is None:
        return content, content, tuple(sides)
    return content, jnp.maximum(batch.size, 1), labels.shape[1:]
