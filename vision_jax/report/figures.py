"""The lectures' pictures and tables, computed by the ops and networks of this package.

python -m vision_jax.report figures --out figures

Those of convolutions and upsampling are here.
"""

import functools
import pathlib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from PIL import Image

from vision_jax.ops import conv, pool, upsample
from vision_jax.report import (
    figures_boxes,
    figures_detection,
    figures_networks,
    figures_training,
)
from vision_jax.system import disk
from vision_jax.visualize.grids import below, beside, grid

SMALL = np.array([[1, 2], [3, 4]], np.float32)
IMAGE = np.array([[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]], np.float32)
FILTER = np.array([[1, 2, 1], [0, 3, 0], [2, 1, 1]], np.float32)
LINE = np.array([[2, 3]], np.float32)  # and its filter, of one dimension
LINE_FILTER = np.array([[1, 2, 1]], np.float32)
STRIDES = (1, 2)  # of the convolutions that are drawn, with a padding of 1
# Filter's side, stride, padding, and the responses' side: three convolutions to transpose.
GEOMETRIES = ((3, 1, 0, 2), (2, 2, 0, 2), (3, 2, 1, 3))


def write_figures(folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes every picture as FOLDER/NAME.png, every table as FOLDER/NAME.md.

    Args:
      folder: made if missing.

    Returns:
      The files.
    """
    disk.make_folder(folder)
    paths = []
    for name, draw in PICTURES.items():
        paths.append(folder / f"{name}.png")
        Image.fromarray(draw()).save(paths[-1])
    for name, count in TABLES.items():
        paths.append(folder / f"{name}.md")
        paths[-1].write_text(count().markdown())
    return paths


def convolution(stride: int) -> np.ndarray:
    """Draws a convolution of 4×4 pixels with 3×3 taps and padding 1: what two responses read."""
    response = _plain(conv.conv2d(_map(IMAGE), _kernel(FILTER), stride, 1))
    padded = np.pad(IMAGE, 1)
    seen = []
    for column in (0, 1):
        groups = np.full(padded.shape, -1)
        groups[:3, column * stride : column * stride + 3] = column
        seen.append(grid(padded, groups, f"{_entry(0, column)} reads these"))
    groups = np.full(response.shape, -1)
    groups[0, :2] = (0, 1)
    shown = [*seen, grid(FILTER, title="F"), grid(response, groups, "S")]
    title = f"convolution 3×3, padding 1: {stride} to the right here is 1 to the right in S"
    return beside(shown, ["and", "∗", "="], title)


def windows_as_convolution() -> np.ndarray:
    """Draws a layer that reads a 3×3 map, and the same weights as a convolution of a larger one."""
    inside = np.full(IMAGE.shape, -1)
    inside[:3, :3] = 0
    one = _plain(conv.conv2d(_map(IMAGE[:3, :3]), _kernel(FILTER)))
    every = _plain(conv.conv2d(_map(IMAGE), _kernel(FILTER)))
    first = np.array([[0, -1], [-1, -1]])
    small = [grid(IMAGE[:3, :3], title="a map"), grid(FILTER, title="weights")]
    small.append(grid(one, title="its answer"))
    large = [grid(IMAGE, inside, "a larger map"), grid(FILTER, title="the same weights")]
    large.append(grid(every, first, "an answer for each window"))
    return below(
        [
            beside(small, ["·", "="], "fully connected: the map has the size of the weights"),
            beside(large, ["∗", "="], "as a convolution: the map may have any size"),
        ]
    )


def transposed_line() -> np.ndarray:
    """Draws a transposed convolution of two numbers with three taps, stride 2."""
    kernel = jnp.asarray(LINE_FILTER)[:, :, None, None]
    stamps = []
    for place in (0, 1):
        one = jnp.asarray(np.where(np.arange(2) == place, LINE, 0))[None, :, :, None]
        touched = _plain(conv.conv_transpose2d(one, jnp.ones_like(kernel), 2, 0)) > 0
        stamp = _plain(conv.conv_transpose2d(one, kernel, 2, 0))
        stamps.append(grid(stamp, np.where(touched, place, -1), f"{'ab'[place]} · filter"))
    total = _plain(conv.conv_transpose2d(_map(LINE), kernel, 2, 0))
    groups = np.array([[0, 0, 7, 1, 1]])
    shown = [grid(LINE, _numbered(LINE), "a, b"), grid(LINE_FILTER, title="filter"), *stamps]
    shown.append(grid(total, groups, "copies overlap, and add up"))
    title = "transposed convolution, 1-D, stride 2: copies of the filter, weighted by the input"
    return beside(shown, ["by", "→", "+", "="], title)


def upsampling() -> np.ndarray:
    """Draws nearest neighbour, bed of nails and bilinear, from 2×2 to 4×4."""
    numbers = _numbered(SMALL)
    same = np.kron(numbers, np.ones((2, 2), int))
    ways = (
        ("nearest neighbour", upsample.nearest, same),
        ("bed of nails", upsample.bed_of_nails, None),
        ("bilinear", upsample.bilinear, same),
    )
    rows = []
    for name, way, groups in ways:
        large = _plain(way(_map(SMALL), 2))
        groups = np.where(large > 0, same, -1) if groups is None else groups
        pictures = [grid(SMALL, numbers, "input: 2×2"), grid(large, groups, "output: 4×4")]
        rows.append(beside(pictures, ["→"], name))
    return below(rows)


def max_unpooling() -> np.ndarray:
    """Draws how max pooling 2×2 remembers positions, to which a later map's values go back."""
    pooled, places = pool.max_pool_indices(_map(IMAGE), 2)
    later = _map(SMALL)
    back = _plain(upsample.max_unpool(later, places, IMAGE.shape))
    groups = np.full(IMAGE.shape, -1)
    groups.reshape(-1)[np.asarray(places).reshape(-1)] = np.arange(4)
    four = np.arange(4).reshape(2, 2)
    pictures = [
        grid(IMAGE, groups, "input: 4×4"),
        grid(_plain(pooled), four, "max pooling 2×2"),
        grid(_plain(places), four, "positions:\n4 · row + column"),
        grid(SMALL, four, "a later map"),
        grid(back, groups, "max unpooling:\nat the positions"),
    ]
    return beside(pictures, ["→", "and", "…", "→"], "max pooling and unpooling")


def convolution_matrix() -> np.ndarray:
    """Draws a convolution of 4×4 pixels with 3×3 taps, and vec(S) = M_F vec(X)."""
    matrix = np.asarray(upsample.convolution_matrix(jnp.asarray(FILTER), IMAGE.shape))
    taps = np.asarray(upsample.convolution_matrix(_tap_numbers(3), IMAGE.shape)).astype(int)
    response = _plain(conv.conv2d(_map(IMAGE), _kernel(FILTER)))
    product = matrix @ IMAGE.reshape(-1, 1)
    nine = np.arange(9).reshape(3, 3)
    four = np.arange(4).reshape(-1, 1)
    first = [
        grid(IMAGE, title="X"),
        grid(FILTER, nine, "F"),
        grid(response, four.reshape(2, 2), "S"),
    ]
    second = [
        grid(product, four, "vec(S)"),
        grid(matrix, taps - 1, "M_F: a row for each response, a column for each pixel"),
        grid(IMAGE.reshape(-1, 1), title="vec(X)"),
    ]
    title = "convolution, stride 1, no padding"
    return below(
        [
            beside(first, ["∗", "="], title),
            beside(second, ["=", "·"], "the same as a matrix product"),
        ]
    )


def transposed_convolution(f: int, s: int, p: int, side: int) -> np.ndarray:
    """Draws a transposed convolution of `side`² responses with f×f taps, stride s and padding p.

    First every response stamps the filter, times itself, onto the larger map, where stamps add up;
    then the same as a convolution with the turned filter over the map with zeros in it.
    """
    small = np.arange(1, side**2 + 1, dtype=np.float32).reshape(side, side)
    taps = FILTER[:f, :f]
    large = _plain(conv.conv_transpose2d(_map(small), _kernel(taps), s, p))
    stamps = []
    for row, column in ((0, 0), (0, 1), (side - 1, side - 1)):
        one = np.where(_numbered(small) == row * side + column, small, 0)
        stamp = _plain(conv.conv_transpose2d(_map(one), _kernel(taps), s, p))
        touched = _plain(conv.conv_transpose2d(_map(one), _kernel(np.ones((f, f))), s, p)) > 0
        group = np.where(touched, row * side + column, -1)
        stamps.append(grid(stamp, group, f"{_entry(row, column)} · F"))
    total = grid(large, np.full(large.shape, 0), f"{large.shape[0]}×{large.shape[1]}")
    stamped = [grid(small, _numbered(small), "S"), grid(taps, title="F"), *stamps, total]
    spread = _plain(upsample.zero_inserted(_map(small), f, s, p))
    origin = _plain(upsample.zero_inserted(_map(_numbered(small) + 1), f, s, p)).astype(int) - 1
    again = _plain(upsample.transposed_as_convolution(_map(small), _kernel(taps), s, p))
    turned = [
        grid(spread, origin, f"{s - 1} zeros between, {f - p - 1} around"),
        grid(taps[::-1, ::-1], title="F turned by 180°"),
        grid(again, title="the same"),
    ]
    return below(
        [
            beside(
                stamped,
                ["by", "→", "+", "+ … +", "="],
                f"transposed convolution: filter {f}×{f}, stride {s}, padding {p}",
            ),
            beside(turned, ["∗", "="], "as a convolution with stride 1"),
        ]
    )


def _entry(row: int, column: int) -> str:
    """Names an entry of S: 'S₁₂' for row 0, column 1."""
    return "S" + "".join(chr(0x2081 + place) for place in (row, column))


def _numbered(x: np.ndarray) -> np.ndarray:
    return np.arange(x.size).reshape(x.shape)


def _tap_numbers(f: int) -> jnp.ndarray:
    return jnp.arange(1.0, f * f + 1).reshape(f, f)


def _map(x: np.ndarray) -> jnp.ndarray:
    return jnp.asarray(x, jnp.float32)[None, :, :, None]


def _kernel(taps: np.ndarray) -> jnp.ndarray:
    return jnp.asarray(taps, jnp.float32)[:, :, None, None]


def _plain(x: jnp.ndarray) -> np.ndarray:
    return np.asarray(x)[0, :, :, 0]


PICTURES: dict[str, Callable[[], np.ndarray]] = {  # by the name of the file
    **{f"convolution_s{s}": functools.partial(convolution, s) for s in STRIDES},
    "windows_as_convolution": windows_as_convolution,
    "transposed_line": transposed_line,
    "upsampling": upsampling,
    "max_unpooling": max_unpooling,
    "convolution_matrix": convolution_matrix,
    **{
        f"transposed_f{f}_s{s}_p{p}": functools.partial(transposed_convolution, f, s, p, side)
        for f, s, p, side in GEOMETRIES
    },
    "stacked_filters": figures_networks.stacked_filters,
    **figures_detection.PICTURES,
    **figures_boxes.PICTURES,
    **figures_training.PICTURES,
}
TABLES: dict[str, Callable[[], figures_networks.Table]] = (
    figures_networks.TABLES | figures_boxes.TABLES | figures_training.TABLES
)
