"""The lectures' pictures and tables, computed by the ops and networks of this package.

python -m vision_jax.report figures --out figures

Those of upsampling are here.
"""

import functools
import pathlib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from PIL import Image

from vision_jax.ops import conv, pool, upsample
from vision_jax.report import figures_detection, figures_networks
from vision_jax.system import disk
from vision_jax.visualize.grids import below, beside, grid

SMALL = np.array([[1, 2], [3, 4]], np.float32)
IMAGE = np.array([[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]], np.float32)
FILTER = np.array([[1, 2, 1], [0, 3, 0], [2, 1, 1]], np.float32)
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
    for name, count in figures_networks.TABLES.items():
        paths.append(folder / f"{name}.md")
        paths[-1].write_text(count().markdown())
    return paths


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
    "upsampling": upsampling,
    "max_unpooling": max_unpooling,
    "convolution_matrix": convolution_matrix,
    **{
        f"transposed_f{f}_s{s}_p{p}": functools.partial(transposed_convolution, f, s, p, side)
        for f, s, p, side in GEOMETRIES
    },
    "stacked_filters": figures_networks.stacked_filters,
    **figures_detection.PICTURES,
}
