"""Networks of small images on a large one: windows are laid over it, and their answers averaged."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def starts(size: int, window: int, stride: int) -> list[int]:
    """Lays windows along an axis: at multiples of the stride, the last one at the end.

    Raises:
      ValueError: a window larger than the axis, or a stride of less than 1 or more than the window,
        which would leave pixels out.
    """
    if not 1 <= stride <= window <= size:
        raise ValueError(f"no windows of {window} every {stride} pixels in {size}")
    return [*range(0, size - window, stride), size - window]


def over_windows(
    apply: Callable[[Float[Array, "b s t c"]], Float[Array, "b s t k"]],
    images: Float[Array, "b h w c"],
    window: tuple[int, int],
    stride: tuple[int, int],
) -> Float[Array, "b h w k"]:
    """Averages for each pixel the answers of all windows that it lies in.

    One window after the other (`lax.scan`), so that the network is compiled once and the memory is
    that of one window.

    Args:
      apply: answers for each pixel of an image of `window` size.
      images: at least as large as a window.
      window: rows and columns.
      stride: rows and columns between windows.

    Raises:
      ValueError: see `starts`.
    """
    rows, columns = (
        starts(size, *step) for size, *step in zip(images.shape[1:3], window, stride, strict=True)
    )
    corners = jnp.asarray([(row, column) for row in rows for column in columns], jnp.int32)

    def cut(array: Array, corner: Array, shape: tuple[int, ...]) -> Array:
        return lax.dynamic_slice(array, (0, corner[0], corner[1], 0), shape)

    def add(total: Array, corner: Array) -> tuple[Array, None]:
        answer = apply(cut(images, corner, (len(images), *window, images.shape[3])))
        answer = answer + cut(total, corner, answer.shape)
        return lax.dynamic_update_slice(total, answer, (0, corner[0], corner[1], 0)), None

    part = jax.ShapeDtypeStruct((len(images), *window, images.shape[3]), images.dtype)
    answer = jax.eval_shape(apply, part)
    total = jnp.zeros((*images.shape[:3], answer.shape[3]), answer.dtype)
    total, _ = lax.scan(add, total, corners)
    counts = [
        _count(*axis) for axis in zip(images.shape[1:3], window, (rows, columns), strict=True)
    ]
    return total / jnp.asarray(np.outer(*counts)[None, :, :, None], total.dtype)


def _count(size: int, window: int, begins: list[int]) -> np.ndarray:
    """Counts the windows that each pixel of an axis lies in."""
    pixel = np.arange(size)
    return sum(((pixel >= start) & (pixel < start + window)).astype(int) for start in begins)
