"""The convolution and its gradients as lax has them: the forms for GPUs and TPUs.

Images (b, h, w, c), kernels (kh, kw, c / groups, o), outputs (b, ho, wo, o).
"""

from typing import NamedTuple

import jax
from jax import lax
from jaxtyping import Array

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """The geometry that a convolution and its gradients have in common.

    Pairs are (rows, columns), `padding` is ((top, bottom), (left, right)).
    """

    image: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int

    @property
    def output(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        rows, columns = (
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(*self[:-1], strict=True)
        )
        return rows, columns

    def image_shape(self, output: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the images' shape, from those of output and kernel."""
        return output[0], *self.image, kernel[2] * self.groups

    def kernel_shape(self, output: tuple[int, ...], image: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the kernel's shape, from those of output and images."""
        return *self.kernel, image[3] // self.groups, output[3]

    def output_shape(self, image: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the output's shape, from those of images and kernel."""
        return image[0], *self.output, kernel[3]


def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """Computes the output, from images and kernel."""
    return lax.conv_general_dilated(
        x,
        w,
        geometry.stride,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=DIMENSIONS,
        feature_group_count=geometry.groups,
    )


def image_gradient(dy: Array, w: Array, geometry: Geometry) -> Array:
    """Computes the gradient at the images, from that at the output."""
    shape = geometry.image_shape(dy.shape, w.shape)
    return transposed(lambda x: forward(x, w, geometry), shape, dy)


def kernel_gradient(dy: Array, x: Array, geometry: Geometry) -> Array:
    """Computes the gradient at the kernel, from that at the output."""
    shape = geometry.kernel_shape(dy.shape, x.shape)
    return transposed(lambda w: forward(x, w, geometry), shape, dy)


def transposed(linear, shape, dy):
    """Applies the transpose of a linear function of an array of that shape to `dy`."""
    return jax.linear_transpose(linear, jax.ShapeDtypeStruct(shape, dy.dtype))(dy)[0]
