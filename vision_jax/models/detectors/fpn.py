"""Feature Pyramid Networks for Object Detection (Lin et al. 2017, arXiv:1612.03144).

Parameters: per endpoint `lateral_<endpoint>` (1x1) and `output_<endpoint>` (3x3), each with `conv`
and `norm` where the pyramid is normalised; `p6`, `p7`.
Initialisation: U(-sqrt(3 / fan_in), sqrt(3 / fan_in)), zero biases, as the authors' code.
"""

import functools
from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.layers import Conv, ConvNorm, Layers, residual_add
from vision_jax.ops import initializers
from vision_jax.ops.resize import resize

fan_in_uniform = initializers.Distribution("symmetric", 1.0, "in")


class FPN(nn.Module):
    """A pyramid of maps of one width, each made of the backbone's map and of the coarser level.

    Fields:
      endpoints: the backbone's maps that are read, from fine to coarse.
      width: channels of every level.
      extra: coarser levels beyond: 'none'; 'pool', one that takes every second pixel of the
        coarsest (the paper's P6, for the RPN); 'p6p7', two stride-2 3x3 convolutions with a ReLU
        between (RetinaNet, Lin et al. 2017, arXiv:1708.02002).
      source: what P6 of 'p6p7' reads: 'c5', the backbone's last map (RetinaNet's paper), or 'p5',
        the pyramid's (torchvision's first RetinaNet).
      normalized: the two convolutions of each endpoint have the norm of `layers` in place of
        biases (torchvision's second R-CNNs; Li et al. 2021, arXiv:2111.11429).
      layers: settings.
    """

    endpoints: tuple[str, ...] = ("conv2_x", "conv3_x", "conv4_x", "conv5_x")
    width: int = 256
    extra: Literal["none", "pool", "p6p7"] = "pool"
    source: Literal["c5", "p5"] = "p5"
    normalized: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: dict[str, Array], *, train: bool = False
    ) -> tuple[Float[Array, "b _ _ c"], ...]:
        """Finds the levels (b, h, w, width), from fine to coarse, extra ones last; see `strides`.

        Args:
          endpoints: the backbone's outputs, of which `self.endpoints` are read.
          train: of the norms.
        """
        conv = functools.partial(Conv, self.width, kernel_init=fan_in_uniform, layers=self.layers)
        levels, coarser = [], None
        for name in reversed(self.endpoints):
            x = self._conv(f"lateral_{name}", endpoints[name], 1, train)
            if coarser is not None:
                x = residual_add(x, resize(coarser, x.shape[1:3], "nearest"))
            coarser = x
            levels.insert(0, self._conv(f"output_{name}", x, 3, train))
        if self.extra == "pool":
            levels.append(levels[-1][:, ::2, ::2])
        elif self.extra == "p6p7":
            x = levels[-1] if self.source == "p5" else endpoints[self.endpoints[-1]]
            p6 = conv(3, 2, 1, name="p6")(x)
            levels += [p6, conv(3, 2, 1, name="p7")(nn.relu(p6))]
        return tuple(levels)

    def _conv(self, name: str, x: Array, kernel: int, train: bool) -> Array:
        settings = {"padding": kernel // 2, "kernel_init": fan_in_uniform, "layers": self.layers}
        if not self.normalized:
            return Conv(self.width, kernel, **settings, name=name)(x)
        return ConvNorm(self.width, kernel, act=None, **settings, name=name)(x, train=train)

    def strides(self, backbone: nn.Module) -> tuple[int, ...]:
        """Returns input pixels per pixel of each level, for the backbone whose maps are read."""
        strides = [backbone.strides[name] for name in self.endpoints]
        for _ in range({"none": 0, "pool": 1, "p6p7": 2}[self.extra]):
            strides.append(2 * strides[-1])
        return tuple(strides)


class OneMap(nn.Module):
    """One of the backbone's maps, in place of a pyramid: a single level.

    Fields:
      endpoint: the map's name.
    """

    endpoint: str = "conv4_x"

    def __call__(
        self, endpoints: dict[str, Array], *, train: bool = False
    ) -> tuple[Float[Array, "b _ _ c"], ...]:
        """Returns the level (b, h, w, c)."""
        return (endpoints[self.endpoint],)

    def strides(self, backbone: nn.Module) -> tuple[int, ...]:
        """Returns input pixels per pixel of the map."""
        return (backbone.strides[self.endpoint],)
