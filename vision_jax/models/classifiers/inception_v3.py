"""Rethinking the Inception Architecture (Szegedy et al. 2015, arXiv:1512.00567): Inception v3.

Layers and endpoints carry the released model's names (Conv2d_1a_3x3 … Mixed_7c). Initialisation:
normal with deviation 0.1 cut at two deviations, as the released code has it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.classifiers.classifier import HEAD_LAYER, Classifier, last_map
from vision_jax.models.classifiers.googlenet import to_half_range
from vision_jax.models.layers.blocks import ConvNorm, Dense, Dropout, Norm
from vision_jax.ops.conv import Padding, Size
from vision_jax.ops.pool import avg_pool, global_avg_pool, max_pool

EPS = 1e-3
CUT_NORMAL = nn.initializers.truncated_normal(0.1)


class Layer(NamedTuple):
    """One convolution: its name, channels and geometry."""

    name: str
    features: int
    kernel: Size = 1
    stride: int = 1
    padding: Padding = 0


POOL = "avg"  # a branch that begins with 3x3 averages
LAST = "max"  # a branch that is a 3x3 maximum at stride 2
# A branch is a chain of layers; a tuple of layers in it is a fork whose ends are joined.
Branch = tuple[Layer | tuple[Layer, ...] | str, ...]

STEM: tuple[Layer | str, ...] = (
    Layer("Conv2d_1a_3x3", 32, 3, 2),
    Layer("Conv2d_2a_3x3", 32, 3),
    Layer("Conv2d_2b_3x3", 64, 3, 1, 1),
    LAST,
    Layer("Conv2d_3b_1x1", 80),
    Layer("Conv2d_4a_3x3", 192, 3),
    LAST,
)


def grid35(pool: int) -> tuple[Branch, ...]:
    """Figure 5, with the 5x5 that the released model kept."""
    return (
        (Layer("branch1x1", 64),),
        (Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, 5, 1, 2)),
        (
            Layer("branch3x3dbl_1", 64),
            Layer("branch3x3dbl_2", 96, 3, 1, 1),
            Layer("branch3x3dbl_3", 96, 3, 1, 1),
        ),
        (POOL, Layer("branch_pool", pool)),
    )


def grid17(width: int) -> tuple[Branch, ...]:
    """Figure 6: 7x7 as 1x7 and 7x1."""
    row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
    return (
        (Layer("branch1x1", 192),),
        (
            Layer("branch7x7_1", width),
            Layer("branch7x7_2", width, **row),
            Layer("branch7x7_3", 192, **column),
        ),
        (
            Layer("branch7x7dbl_1", width),
            Layer("branch7x7dbl_2", width, **column),
            Layer("branch7x7dbl_3", width, **row),
            Layer("branch7x7dbl_4", width, **column),
            Layer("branch7x7dbl_5", 192, **row),
        ),
        (POOL, Layer("branch_pool", 192)),
    )


def grid8() -> tuple[Branch, ...]:
    """Figure 7: 3x3 forks into 1x3 and 3x1."""
    row, column = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
    return (
        (Layer("branch1x1", 320),),
        (
            Layer("branch3x3_1", 384),
            (Layer("branch3x3_2a", 384, **row), Layer("branch3x3_2b", 384, **column)),
        ),
        (
            Layer("branch3x3dbl_1", 448),
            Layer("branch3x3dbl_2", 384, 3, 1, 1),
            (Layer("branch3x3dbl_3a", 384, **row), Layer("branch3x3dbl_3b", 384, **column)),
        ),
        (POOL, Layer("branch_pool", 192)),
    )


MODULES: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": grid35(32),
    "Mixed_5c": grid35(64),
    "Mixed_5d": grid35(64),
    "Mixed_6a": (
        (Layer("branch3x3", 384, 3, 2),),
        (
            Layer("branch3x3dbl_1", 64),
            Layer("branch3x3dbl_2", 96, 3, 1, 1),
            Layer("branch3x3dbl_3", 96, 3, 2),
        ),
        (LAST,),
    ),
    "Mixed_6b": grid17(128),
    "Mixed_6c": grid17(160),
    "Mixed_6d": grid17(160),
    "Mixed_6e": grid17(192),
    "Mixed_7a": (
        (Layer("branch3x3_1", 192), Layer("branch3x3_2", 320, 3, 2)),
        (
            Layer("branch7x7x3_1", 192),
            Layer("branch7x7x3_2", 192, (1, 7), 1, (0, 3)),
            Layer("branch7x7x3_3", 192, (7, 1), 1, (3, 0)),
            Layer("branch7x7x3_4", 192, 3, 2),
        ),
        (LAST,),
    ),
    "Mixed_7b": grid8(),
    "Mixed_7c": grid8(),
}
AUXILIARY_INPUT = "Mixed_6e"


class Chains(nn.Module):
    """Branches side by side, whose channels are joined."""

    branches: tuple[Branch, ...]
    multiplier: float = 1.0
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b i j o"]:
        conv = functools.partial(
            convolution, multiplier=self.multiplier, norm=self.norm, dtype=self.dtype
        )
        ends = []
        for branch in self.branches:
            y = x
            for step in branch:
                if step == POOL:
                    y = avg_pool(y, 3, 1, 1)
                elif step == LAST:
                    y = max_pool(y, 3, 2)
                elif isinstance(step, Layer):
                    y = conv(step)(y, train)
                else:
                    fork = [conv(s)(y, train) for s in step]
                    y = jnp.concatenate(fork, axis=-1)
            ends.append(y)
        return jnp.concatenate(ends, axis=-1)


class InceptionV3Backbone(nn.Module):
    """Up to Mixed_7c. `transform_input`: see `GoogLeNetBackbone`.

    `multiplier` thins every layer, as MobileNet's does; 1 is the published network, less is for
    small experiments, such as the twin of `experiments/sweeps/bag_of_tricks.py`.
    """

    multiplier: float = 1.0
    transform_input: bool = False
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """Endpoints; see `Classifier` for the arguments."""
        options = {"multiplier": self.multiplier, "norm": self.norm, "dtype": self.dtype}
        x = to_half_range(image) if self.transform_input else image
        endpoints = {}
        for step in STEM:
            if step == LAST:
                with jax.named_scope(f"{name}_pool"):
                    x = max_pool(x, 3, 2)
            else:
                name = step.name
                x = endpoints[name] = convolution(step, **options)(x, train)
        for name, branches in MODULES.items():
            x = endpoints[name] = Chains(branches, **options, name=name)(x, train)
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        found, stride = {}, 1
        for step in STEM:
            stride *= 2 if step == LAST else step.stride
            if step != LAST:
                found[step.name] = stride
        for name in MODULES:
            stride *= 2 if name in ("Mixed_6a", "Mixed_7a") else 1
            found[name] = stride
        return found


class InceptionV3Head(nn.Module):
    """Global average, dropout, `fc`; with `aux` also `aux_logits` of one, read from Mixed_6e.

    The auxiliary head needs a map of at least 17x17 there: images of 299 pixels. `multiplier` thins
    its convolutions.
    """

    num_classes: int = 1000
    multiplier: float = 1.0
    aux: bool = True
    dropout: float = 0.5
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        endpoints: dict[str, Array | tuple[Array, ...]],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array | tuple[Array, ...]]:
        features = global_avg_pool(last_map(endpoints))
        x = Dropout(self.dropout, HEAD_LAYER)(features, train, keys)
        dense = functools.partial(Dense, self.num_classes, dtype=self.dtype, kernel_init=CUT_NORMAL)
        outputs = {"features": features, "logits": dense(name="fc")(x)}
        if not self.aux:
            return outputs
        x = avg_pool(endpoints[AUXILIARY_INPUT], 5, 3)
        for layer in (Layer("aux_conv0", 128), Layer("aux_conv1", 768, 5)):
            x = convolution(layer, self.multiplier, self.norm, self.dtype)(x, train)
        return {**outputs, "aux_logits": (dense(name="aux_fc")(global_avg_pool(x)),)}


def InceptionV3(
    num_classes: int = 1000,
    multiplier: float = 1.0,
    aux: bool = True,
    transform_input: bool = False,
    dropout: float = 0.5,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """Inception v3 for 299x299 images, without `aux` from 75; the loss is main + 0.4 aux.

    `multiplier` thins every layer; see `InceptionV3Backbone`.
    """
    return Classifier(
        InceptionV3Backbone(multiplier, transform_input, norm, dtype),
        InceptionV3Head(num_classes, multiplier, aux, dropout, norm, dtype),
    )


def convolution(layer: Layer, multiplier: float, norm: Norm, dtype: str) -> ConvNorm:
    """The layer, so many times as wide, with batch normalisation (eps 1e-3) and ReLU."""
    return ConvNorm(
        round(layer.features * multiplier),
        layer.kernel,
        layer.stride,
        layer.padding,
        norm=norm,
        eps=EPS,
        dtype=dtype,
        kernel_init=CUT_NORMAL,
        name=layer.name,
    )
