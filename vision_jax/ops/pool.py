"""Pooling with torch's geometry, on NHWC images.

Windows are taken apart by axis: the maximum (or sum) over a window is the one over its rows of
those over its columns. Each axis is a few shifted slices, which on CPU makes the gradient of max
pooling several times faster than that of `lax.reduce_window`; nothing is scattered, so it is
bit-repeatable everywhere.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.config import UserError
from vision_jax.ops.conv import Padding, Size, pads, pair
from vision_jax.ops.dtypes import at_least_float32


@dataclasses.dataclass(frozen=True)
class _Windows:
    """The windows along one axis of a map."""

    axis: int  # of the array
    size: int  # of the map, without padding
    width: int
    stride: int
    before: int  # padding
    after: int
    count: int  # of windows

    @property
    def starts(self) -> np.ndarray:
        """Places at which windows begin; negative in the padding."""
        return np.arange(self.count) * self.stride - self.before


def max_pool(
    x: Float[Array, "b h w c"],
    window: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> Float[Array, "b ho wo c"]:
    """Takes the largest value of each window, as torch.nn.functional.max_pool2d does.

    The gradient goes to the first maximum of a window in row-major order.

    Args:
      x: images.
      window: rows and columns of the window.
      stride: step of the window; None means the window's own size.
      padding: -inf added on each side.
      ceil_mode: also keep a last window that reaches over the border, if it starts inside.

    Raises:
      UserError: the padded image is smaller than the window.
    """
    rows, columns = _windows(x.shape, window, stride, padding, ceil_mode)
    return _max(x, rows, columns)


def max_pool_indices(
    x: Float[Array, "b h w c"],
    window: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> tuple[Float[Array, "b ho wo c"], Int[Array, "b ho wo c"]]:
    """Takes the largest value of each window, as `max_pool` does, and where it lies.

    Returns:
      The maxima, and the index of each: row * w + column in its own channel's image.
      `upsample.max_unpool` puts values back there.
    """
    rows, columns = _windows(x.shape, window, stride, padding, ceil_mode)
    best, column = _max_and_tap(lax.stop_gradient(x), columns)
    column = _along(columns.starts, 2) + column.astype(jnp.int32)
    _, row_tap = _max_and_tap(best, rows)
    column = _pick(column, row_tap, rows)
    row = _along(rows.starts, 1) + row_tap.astype(jnp.int32)
    pooled = max_pool(x, window, stride, padding, ceil_mode)
    return pooled, row * x.shape[2] + column


def avg_pool(
    x: Float[Array, "b h w c"],
    window: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "b ho wo c"]:
    """Takes the mean of each window, as torch.nn.functional.avg_pool2d does.

    Args:
      x: images.
      window: rows and columns of the window.
      stride: step of the window; None means the window's own size.
      padding: zeros added on each side.
      ceil_mode: also keep a last window that reaches over the border, if it starts inside.
      count_include_pad: divide by the number of pixels under the window with the padding, or
        without it; pixels beyond the padding, under a ceil_mode window, never count.

    Raises:
      UserError: the padded image is smaller than the window.
    """
    counts = []
    for axis in _windows(x.shape, window, stride, padding, ceil_mode):
        x = functools.reduce(jnp.add, _taps(x, (axis,), 0))
        low, high = (-axis.before, axis.size + axis.after) if count_include_pad else (0, axis.size)
        stops = np.minimum(axis.starts + axis.width, high)
        counts.append(stops - np.maximum(axis.starts, low))
    area = np.outer(*counts)[None, :, :, None]
    return x / jnp.asarray(area, x.dtype)


def adaptive_avg_pool(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b ho wo c"]:
    """Takes means over `size` bins per axis, as torch.nn.functional.adaptive_avg_pool2d does.

    Bin i of o covers rows floor(i h / o) up to, not including, ceil((i + 1) h / o): bins overlap
    where o does not divide h, and repeat pixels where o > h.
    """
    for axis, out in enumerate(pair(size), start=1):
        n = x.shape[axis]
        if out == n:
            continue
        weights = np.zeros((out, n))
        for i, (start, stop) in enumerate(_bins(n, out)):
            weights[i, start:stop] = 1 / (stop - start)
        # At full precision: accelerators would round the factors of a default product.
        mean = jnp.tensordot(
            jnp.asarray(weights, x.dtype), x, ((1,), (axis,)), precision=lax.Precision.HIGHEST
        )
        x = jnp.moveaxis(mean, 0, axis)
    return x


def adaptive_max_pool(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b ho wo c"]:
    """Takes maxima over the bins of `adaptive_avg_pool`; the gradient goes to the first one.

    These are also the bins of SPP-net's pyramid levels (He et al. 2014).
    """
    rows, columns = pair(size)
    return jnp.concatenate(
        [
            jnp.concatenate(
                [
                    max_pool(x[:, top:bottom, left:right], (bottom - top, right - left))
                    for left, right in _bins(x.shape[2], columns)
                ],
                axis=2,
            )
            for top, bottom in _bins(x.shape[1], rows)
        ],
        axis=1,
    )


def global_avg_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """Takes the mean over all pixels, summed in at least float32."""
    return at_least_float32(x).mean((1, 2)).astype(x.dtype)


def _windows(shape, window, stride, padding, ceil_mode) -> tuple[_Windows, _Windows]:
    """Lays windows along rows and columns; their number follows torch's rule."""
    widths, strides = pair(window), pair(window if stride is None else stride)
    windows = []
    for axis, (before, after) in enumerate(pads(padding)):
        size, width, step = shape[1 + axis], widths[axis], strides[axis]
        room = size + before + after - width
        if room < 0:
            raise UserError(
                f"pooling: a map of {shape[1]}x{shape[2]} pixels is smaller than its window of "
                f"{widths[0]}x{widths[1]}; give a larger image"
            )
        count = (-(-room // step) if ceil_mode else room // step) + 1
        if (count - 1) * step >= size + before:
            count -= 1  # it would start in the padding
        windows.append(_Windows(1 + axis, size, width, step, before, after, count))
    return tuple(windows)


def _taps(x, axes, fill):
    """Returns, for each place in the window, row-major, the pixels there: one for each window."""
    config, limit, stride = [(0, 0, 0)] * x.ndim, list(x.shape), [1] * x.ndim
    for windows in axes:
        reach = (windows.count - 1) * windows.stride + windows.width
        config[windows.axis] = (windows.before, reach - windows.size - windows.before, 0)
        limit[windows.axis] = (windows.count - 1) * windows.stride + 1
        stride[windows.axis] = windows.stride
    x = lax.pad(x, jnp.asarray(fill, x.dtype), config)
    taps = []
    for place in itertools.product(*(range(windows.width) for windows in axes)):
        start = [0] * x.ndim
        for windows, tap in zip(axes, place, strict=True):
            start[windows.axis] = tap
        stop = [a + b for a, b in zip(start, limit, strict=True)]
        taps.append(lax.slice(x, start, stop, stride))
    return taps


def _max_and_tap(x, windows):
    """Takes the largest value of each window along one axis, and its first place in the window."""
    best, *others = _taps(x, (windows,), -jnp.inf)
    tap = jnp.zeros(best.shape, jnp.int8 if windows.width < 128 else jnp.int32)
    for i, other in enumerate(others, start=1):
        tap = jnp.where(other > best, jnp.asarray(i, tap.dtype), tap)
        best = jnp.maximum(best, other)
    return best, tap


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max(x, rows, columns):
    if rows.width * columns.width <= 16:  # one fused pass over all places of a small window
        return functools.reduce(jnp.maximum, _taps(x, (rows, columns), -jnp.inf))
    for windows in (rows, columns):
        x = functools.reduce(jnp.maximum, _taps(x, (windows,), -jnp.inf))
    return x


def _max_forward(x, rows, columns):
    """Pools columns first, so that the first of equal maxima is the first in row-major order."""
    x, column_tap = _max_and_tap(x, columns)
    x, row_tap = _max_and_tap(x, rows)
    return x, (row_tap, column_tap)


def _max_backward(rows, columns, taps, gradient):
    for windows, tap in zip((rows, columns), taps, strict=True):
        gradient = _to_taps(gradient, tap, windows)
    return (gradient,)


_max.defvjp(_max_forward, _max_backward)


def _to_taps(x, tap, windows):
    """Adds each window's value to the pixel along one axis that `tap` names.

    The axis is taken apart into windows' starts and the pixels from one start to the next, so that
    windows that overlap are whole steps apart: nothing is spread with gaps, which is slow on CPU.
    """
    axis, stride = windows.axis, windows.stride
    steps = -(-(windows.before + windows.size) // stride)
    x, tap = jnp.expand_dims(x, axis + 1), jnp.expand_dims(tap, axis + 1)
    between = [stride if i == axis + 1 else 1 for i in range(x.ndim)]
    total = 0
    for late in range(-(-windows.width // stride)):
        places = lax.broadcasted_iota(tap.dtype, between, axis + 1) + late * stride
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (late, steps - windows.count - late, 0)
        total += lax.pad(jnp.where(tap == places, x, 0), jnp.zeros((), x.dtype), config)
    every = total.reshape(*x.shape[:axis], steps * stride, *x.shape[axis + 2 :])
    return lax.slice_in_dim(every, windows.before, windows.before + windows.size, axis=axis)


def _pick(x, tap, windows):
    """Picks the pixel of each window along one axis that `tap` names."""
    chosen, *others = _taps(x, (windows,), 0)
    for i, other in enumerate(others, start=1):
        chosen = jnp.where(tap == i, other, chosen)
    return chosen


def _along(values, axis):
    """Lays a vector along one axis of an NHWC array."""
    return jnp.asarray(values, jnp.int32).reshape([-1 if i == axis else 1 for i in range(4)])


def _bins(n: int, out: int) -> list[tuple[int, int]]:
    """Returns the start and the end of each of `out` bins over n pixels."""
    return [(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]
