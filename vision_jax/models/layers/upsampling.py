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
TRACE_SIZE = 256  # height and width of the image that a backbone is traced with


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where a map's pixels lie in the image: pixel i at the coordinate stride * i + centre.

    Attributes:
      stride: image pixels from one pixel to the next, the same along rows and columns.
      centre: the image coordinate of pixel 0; the image's own pixels have whole coordinates.
    """

    stride: int
    centre: float

    def moved(self, pixels: int | float) -> "Grid":
        """Returns the grid of a map whose pixel 0 is this one's pixel `pixels`."""
        return Grid(self.stride, self.centre + self.stride * pixels)


@functools.cache
def grids(backbone: nn.Module, channels: int = 3) -> dict[str, Grid]:
    """Finds the grid of each endpoint of a backbone from its traced program.

    Args:
      backbone: an unbound module with the field `layers`.
      channels: number of channels of its images.
    """
    # Statistics of a whole map would say nothing about places.
    backbone = backbone.clone(layers=backbone.layers.without_norm())
    image = jax.ShapeDtypeStruct((1, TRACE_SIZE, TRACE_SIZE, channels), jnp.float32)
    variables = jax.eval_shape(backbone.init, jax.random.key(0), image)
    fields = receptive_fields(backbone.apply, variables, image)
    return {
        name: Grid(field.stride[0], field.start[0] + (field.size[0] - 1) / 2)
        for name, field in fields.items()
    }


@dataclasses.dataclass(frozen=True)
class Step:
    """How a transposed convolution brings a coarse grid to a finer one.

    Attributes:
      stride: fine pixels per coarse pixel.
      kernel: the kernel's side: 2 * stride, or 2 * stride - 1 where the coarse pixels' centres lie
        on the fine pixels' and not between them.
      first: the fine map's pixel on which the result's pixel 0 lies; negative outside of it.
    """

    stride: int
    kernel: int
    first: int

    @classmethod
    def between(cls, coarse: Grid, fine: Grid) -> "Step":
        """Finds the step from one grid to another, whose stride divides the first one's."""
        stride = coarse.stride // fine.stride
        half_pixels = round(2 * (coarse.centre - fine.centre) / fine.stride)
        kernel = 2 * stride - 1 if half_pixels % 2 == 0 else 2 * stride
        return cls(stride, kernel, (half_pixels - (kernel - 1)) // 2)

    def size(self, pixels: int) -> int:
        """Returns how many pixels `pixels` of the coarse map become along an axis."""
        return self.stride * (pixels - 1) + self.kernel


class Upsample(nn.Module):
    """A transposed convolution from a map to one of as many channels, learned or fixed.

    Fields:
      stride, kernel: see `Step`.
      kind: what the kernel is, or begins as: 'bilinear'; 'nearest', which repeats each value;
        'nails', which leaves zeros between the values (bed of nails); 'random', learned only.
      learned: parameter `kernel` (kernel, kernel, c, c), whose channels begin apart; otherwise
        there are no parameters, and each channel is two matrix products.
      layers: settings of the learned form; it has no norm.
    """

    stride: int
    kernel: int
    kind: Kind = "bilinear"
    learned: bool = True
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], first: tuple[int, int], size: tuple[int, int]
    ) -> Float[Array, "b ho wo c"]:
        """Upsamples a map and cuts rows and columns first … first + size out of the result.

        Raises:
          UserError: a random kernel that is not learned.
        """
        if not self.learned:
            return self._fixed(x, first, size)
        channels = x.shape[-1]
        shape = (self.kernel, self.kernel, channels, channels)
        kernel = self.param("kernel", self._start, shape)
        dtype = compute_dtype(self.layers.dtype, kernel)
        y = conv_transpose2d(x.astype(dtype), kernel.astype(dtype), self.stride)
        return y[:, first[0] : first[0] + size[0], first[1] : first[1] + size[1]]

    def _start(self, key: Array, shape: tuple[int, ...]) -> Array:
        if self.kind == "random":  # each output pixel reads kernel / stride inputs per axis
            fan_in = shape[2] * (self.kernel / self.stride) ** 2
            return jax.random.normal(key, shape) / math.sqrt(fan_in)
        line = profile(self.kind, self.kernel, self.stride)
        eye = np.eye(shape[2])
        return jnp.asarray(np.outer(line, line)[:, :, None, None] * eye[None, None], jnp.float32)

    def _fixed(self, x, first, size):
        line = profile(self.kind, self.kernel, self.stride)
        for axis in (0, 1):
            matrix = np.zeros((size[axis], x.shape[1 + axis]))
            for i in range(x.shape[1 + axis]):
                rows = self.stride * i - first[axis] + np.arange(self.kernel)
                inside = (rows >= 0) & (rows < size[axis])
                matrix[rows[inside], i] = line[inside]
            # At full precision: accelerators would round the factors of a default product.
            y = jnp.tensordot(
                jnp.asarray(matrix, x.dtype),
                x,
                ((1,), (1 + axis,)),
                precision=lax.Precision.HIGHEST,
            )
            x = jnp.moveaxis(y, 0, 1 + axis)
        return x


def profile(kind: str, kernel: int, stride: int) -> np.ndarray:
    """Returns the upsampling kernel along one axis, (kernel,).

    Raises:
      UserError: a kind that is not fixed.
    """
    distance = np.arange(kernel) - (kernel - 1) / 2
    if kind == "bilinear":
        return 1 - np.abs(distance) / stride
    if kind == "nearest":
        start = (kernel - stride) // 2
        return ((np.arange(kernel) >= start) & (np.arange(kernel) < start + stride)).astype(float)
    if kind == "nails":
        return (np.arange(kernel) == (kernel - 1) // 2).astype(float)
    raise UserError(f"kind={kind!r}: fixed kernels are 'bilinear', 'nearest' and 'nails'")
