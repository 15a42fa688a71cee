"""Transposed convolutions that bring a coarse map to a finer map's pixels.

Where the pixels of a map lie in the image follows from its backbone's program (`grids`); so do the
crops that the papers' networks hold as numbers (19 for FCN-32s on VGG-16, 5 and 27 for 16s, ...).
"""

import dataclasses
import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.models.layers.arrays import compute_dtype
from vision_jax.models.layers.settings import Layers
from vision_jax.ops.conv import conv_transpose2d
from vision_jax.ops.reach import receptive_fields

Kind = Literal["bilinear", "nearest", "nails", "random"]
TRACED = 256  # side of the image that a backbone is traced with


@dataclasses.dataclass(frozen=True)
class Grid:
    """Pixel i of a map looks at the image around its coordinate stride * i + centre."""

    stride: int
    centre: float

    def moved(self, pixels: int | float) -> "Grid":
        """The grid of a map whose pixel 0 is this one's pixel `pixels`."""
        return Grid(self.stride, self.centre + self.stride * pixels)


@functools.cache
def grids(backbone: nn.Module, channels: int = 3) -> dict[str, Grid]:
    """Finds where the pixels of each endpoint lie; the same along rows and columns.

    Args:
      backbone: unbound, with its settings as the field `layers`.
      channels: of its images.
    """
    # Statistics of a whole map would say nothing about places.
    backbone = backbone.clone(layers=backbone.layers.without_norm())
    image = jax.ShapeDtypeStruct((1, TRACED, TRACED, channels), jnp.float32)
    variables = jax.eval_shape(backbone.init, jax.random.key(0), image)
    fields = receptive_fields(backbone.apply, variables, image)
    return {
        name: Grid(field.stride[0], field.start[0] + (field.size[0] - 1) / 2)
        for name, field in fields.items()
    }


@dataclasses.dataclass(frozen=True)
class Step:
    """How one grid is brought to a finer one by a transposed convolution.

    Attributes:
      ratio: the stride: fine pixels per coarse pixel.
      width: of the kernel: 2 * ratio, or 2 * ratio - 1 where the coarse pixels' centres lie on the
        fine pixels' and not between them.
      first: the fine map's pixel on which the result's pixel 0 lies; negative outside of it.
    """

    ratio: int
    width: int
    first: int

    @classmethod
    def between(cls, coarse: Grid, fine: Grid) -> "Step":
        ratio = coarse.stride // fine.stride
        place = round(2 * (coarse.centre - fine.centre) / fine.stride)  # in half pixels
        width = 2 * ratio - 1 if place % 2 == 0 else 2 * ratio
        return cls(ratio, width, (place - (width - 1)) // 2)

    def size(self, pixels: int) -> int:
        """Pixels of the result along an axis."""
        return self.ratio * (pixels - 1) + self.width


class Upsample(nn.Module):
    """A transposed convolution from a map to as many channels, or its fixed form.

    Fields:
      ratio, width: as of `Step`.
      kind: what the kernel is, or begins as: 'bilinear'; 'nearest', which repeats each value;
        'nails', which leaves zeros between the values (bed of nails); 'random', learned only.
      learned: parameter `kernel` (width, width, c, c), whose channels begin apart; otherwise there
        are no parameters, and each channel is two matrix products.
      layers: settings of the learned form; it has no norm.
    """

    ratio: int
    width: int
    kind: Kind = "bilinear"
    learned: bool = True
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], first: tuple[int, int], size: tuple[int, int]
    ) -> Float[Array, "b ho wo c"]:
        """Rows and columns first … first + size of the result.

        Raises:
          UserError: a random kernel that is not learned.
        """
        if not self.learned:
            return self._fixed(x, first, size)
        channels = x.shape[-1]
        shape = (self.width, self.width, channels, channels)
        kernel = self.param("kernel", self._start, shape)
        dtype = compute_dtype(self.layers.dtype, kernel)
        y = conv_transpose2d(x.astype(dtype), kernel.astype(dtype), self.ratio)
        return y[:, first[0] : first[0] + size[0], first[1] : first[1] + size[1]]

    def _start(self, key: Array, shape: tuple[int, ...]) -> Array:
        if self.kind == "random":  # each output pixel reads width / ratio inputs per axis
            fan_in = shape[2] * (self.width / self.ratio) ** 2
            return jax.random.normal(key, shape) / math.sqrt(fan_in)
        line = profile(self.kind, self.width, self.ratio)
        eye = np.eye(shape[2])
        return jnp.asarray(np.outer(line, line)[:, :, None, None] * eye[None, None], jnp.float32)

    def _fixed(self, x, first, size):
        line = profile(self.kind, self.width, self.ratio)
        for axis in (0, 1):
            matrix = np.zeros((size[axis], x.shape[1 + axis]))
            for i in range(x.shape[1 + axis]):
                place = self.ratio * i - first[axis] + np.arange(self.width)
                inside = (place >= 0) & (place < size[axis])
                matrix[place[inside], i] = line[inside]
            # At full precision: accelerators would round the factors of a default product.
            y = jnp.tensordot(
                jnp.asarray(matrix, x.dtype),
                x,
                ((1,), (1 + axis,)),
                precision=lax.Precision.HIGHEST,
            )
            x = jnp.moveaxis(y, 0, 1 + axis)
        return x


def profile(kind: str, width: int, ratio: int) -> np.ndarray:
    """The kernel along one axis, (width,), for upsampling by `ratio`.

    Raises:
      UserError: a kind that has none.
    """
    place = np.arange(width) - (width - 1) / 2
    if kind == "bilinear":
        return 1 - np.abs(place) / ratio
    if kind == "nearest":
        start = (width - ratio) // 2
        return ((np.arange(width) >= start) & (np.arange(width) < start + ratio)).astype(float)
    if kind == "nails":
        return (np.arange(width) == (width - 1) // 2).astype(float)
    raise UserError(f"kind={kind!r}: fixed kernels are 'bilinear', 'nearest' and 'nails'")
