"""Rethinking the Inception Architecture (Szegedy et al. 2015, arXiv:1512.00567): Inception v3.

Layers and endpoints carry the released model's names (Conv2d_1a_3x3 … Mixed_7c). Initialisation:
normal with deviation 0.1 cut at two deviations, as the released code has it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.classifier import Classifier
from vision_jax.models.classifiers.googlenet import to_half_range
from vision_jax.models.layers import (
    HEAD_LAYER,
    ConvNorm,
    Dense,
    Dropout,
    Endpoints,
    Images,
    Keys,
    Layers,
    last_map,
)
from vision_jax.ops import initializers
from vision_jax.ops.conv import Padding, Size
from vision_jax.ops.pool import avg_pool, global_avg_pool, max_pool

BATCH_NORM = Layers(eps=1e-3)
CUT_NORMAL = initializers.cut_normal(0.1)


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
    """Returns the branches of Figure 5, with the 5x5 that the released model kept."""
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
    """Returns the branches of Figure 6: 7x7 as 1x7 and 7x1."""
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
    """Returns the branches of Figure 7: 3x3 forks into 1x3 and 3x1."""
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
AUXILIARY_SIDE = 17  # the smallest map that the auxiliary head can read


class Chains(nn.Module):
    """An Inception module: branches side by side, whose channels are joined."""

    branches: tuple[Branch, ...]
    multiplier: float = 1.0
    layers: Layers = BATCH_NORM

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b ho wo o"]:
        def conv(x, step):
            return convolution(step, self.multiplier, self.layers)(x, train=train)

        ends = []
        for branch in self.branches:
            y = x
            for step in branch:
                if step == POOL:
                    y = avg_pool(y, 3, 1, 1)
                elif step == LAST:
                    y = max_pool(y, 3, 2)
                elif isinstance(step, Layer):
                    y = conv(y, step)
                else:
                    y = jnp.concatenate([conv(y, s) for s in step], axis=-1)
            ends.append(y)
        return jnp.concatenate(ends, axis=-1)


class InceptionV3Backbone(nn.Module):
    """Inception v3's backbone, up to Mixed_7c.

    Fields:
      multiplier: thins every layer, as MobileNet's does; 1 is the published network, less is for
        small experiments.
      transform_input: see `GoogLeNetBackbone`.
      layers: how layers normalise and compute.
    """

    multiplier: float = 1.0
    transform_input: bool = False
    layers: Layers = BATCH_NORM

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        options = self.multiplier, self.layers
        x = to_half_range(images) if self.transform_input else images
        endpoints = {}
        for step in STEM:
            if step == LAST:
                with jax.named_scope(f"{name}_pool"):
                    x = max_pool(x, 3, 2)
            else:
                name = step.name
                x = endpoints[name] = convolution(step, *options)(x, train=train)
        for name, branches in MODULES.items():
            x = endpoints[name] = Chains(branches, *options, name=name)(x, train=train)
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides, stride = stem_strides(STEM)
        for name in MODULES:
            stride *= 2 if name in ("Mixed_6a", "Mixed_7a") else 1
            strides[name] = stride
        return strides


class InceptionV3Head(nn.Module):
    """Inception v3's head: global average, dropout and the linear layer `fc`.

    With `aux` it also gives `aux_logits`, a tuple of one, read from Mixed_6e. The auxiliary head
    needs a map of at least 17x17 there, which images of 299 pixels give. Smaller images train
    without `aux` only; in evaluation they have no `aux_logits`.

    Fields:
      multiplier: thins the auxiliary head's convolutions.
      layers: how the auxiliary head normalises; in what precision all compute.
    """

    num_classes: int = 1000
    multiplier: float = 1.0
    aux: bool = True
    dropout: float = 0.5
    layers: Layers = BATCH_NORM

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> Endpoints:
        """Classifies the backbone's last endpoint.

        Raises:
          UserError: training on images that are too small for the auxiliary head.
        """
        features = global_avg_pool(last_map(endpoints))
        x = Dropout(self.dropout, HEAD_LAYER)(features, train=train, keys=keys)
        outputs = {"features": features, "logits": self._dense("fc")(x)}
        if not self.aux:
            return outputs
        x = endpoints[AUXILIARY_INPUT]
        if train or min(x.shape[1:3]) >= AUXILIARY_SIDE:
            outputs["aux_logits"] = (self._auxiliary(x, train),)
        elif self.is_initializing():  # the parameters' shapes are the same for all maps
            self._auxiliary(jnp.zeros((1, AUXILIARY_SIDE, AUXILIARY_SIDE, x.shape[-1])), train)
        return outputs

    def _auxiliary(self, x, train):
        x = avg_pool(x, 5, 3)
        for layer in (Layer("aux_conv0", 128), Layer("aux_conv1", 768, 5)):
            x = convolution(layer, self.multiplier, self.layers)(x, train=train)
        return self._dense("aux_fc")(global_avg_pool(x))

    def _dense(self, name):
        return Dense(self.num_classes, kernel_init=CUT_NORMAL, layers=self.layers, name=name)


def InceptionV3(
    num_classes: int = 1000,
    multiplier: float = 1.0,
    aux: bool = True,
    transform_input: bool = False,
    dropout: float = 0.5,
    layers: Layers = BATCH_NORM,
) -> Classifier:
    """Makes Inception v3, for 299x299 images; the loss is main + 0.4 aux.

    It evaluates images from 75 pixels, and without `aux` trains on them. `multiplier` thins every
    layer; see `InceptionV3Backbone`.
    """
    return Classifier(
        InceptionV3Backbone(multiplier, transform_input, layers),
        InceptionV3Head(num_classes, multiplier, aux, dropout, layers),
    )


def stem_strides(stem: tuple[Layer | str, ...]) -> tuple[dict[str, int], int]:
    """Returns the strides of a stem's layers, and that of its end."""
    strides, stride = {}, 1
    for step in stem:
        stride *= 2 if step == LAST else step.stride
        if step != LAST:
            strides[step.name] = stride
    return strides, stride


def convolution(layer: Layer, multiplier: float, layers: Layers) -> ConvNorm:
    """Makes the layer, `multiplier` times as wide, with normalisation and ReLU."""
    return ConvNorm(
        round(layer.features * multiplier),
        layer.kernel,
        layer.stride,
        layer.padding,
        kernel_init=CUT_NORMAL,
        layers=layers,
        name=layer.name,
    )
