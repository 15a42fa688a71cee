"""Sliding window at the price of one pass: a classifier's fully connected layers as convolutions.

A fully connected layer over a g×g map is a g×g convolution that happens to have one output pixel;
on a larger image it has one for each window (OverFeat, Sermanet et al. 2013, section 3.5; VGG,
section 3.2). The network's weights are reshaped, not changed.

Where the backbone pads, its maps near a window's border differ from those of the window cut out of
the image: there the equality is between windows of the backbone's last map.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import Classifier, FcHead, PoolHead
from vision_jax.models.classifiers.lenet import ACTIVATIONS, LeNetHead
from vision_jax.models.layers import (
    HEAD_LAYER,
    Conv,
    Dropout,
    Endpoints,
    Images,
    Keys,
    Layers,
    last_map,
)
from vision_jax.ops.pool import avg_pool

Variables = dict[str, Any]


class SlidingHead(nn.Module):
    """A head of fully connected layers, evaluated at every window of the last map.

    Fields:
      names, widths: of the layers; the last one gives the logits.
      window: (rows, columns) of the map that the first layer saw.
      average: the first layer saw the window's average (`PoolHead`) instead of all its pixels.
      act: of all layers but the last: 'relu', or one of `lenet.ACTIVATIONS`.
      dropout: probability, of each hidden layer's outputs.
      layers: in what precision layers compute; the head has no norm.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    window: tuple[int, int]
    average: bool = False
    act: str = "relu"
    dropout: float = 0.0
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b h w _"]]:
        """Finds `features` (b, h, w, d) and `logits` (b, h, w, k), a pixel for each window."""
        x, size = last_map(endpoints), self.window
        if self.average:
            x, size = avg_pool(x, size, 1), (1, 1)
        features = x
        for i, (name, width) in enumerate(zip(self.names, self.widths, strict=True)):
            features = x
            x = Conv(width, size, layers=self.layers, name=name)(x)
            size = (1, 1)
            if i + 1 < len(self.names):
                x = ACTIVATIONS[self.act](x)
                drop = Dropout(self.dropout, layer=HEAD_LAYER + i)
                x = drop(x, train=train, keys=keys)
        return {"features": features, "logits": x}


def fully_convolutional(
    model: Classifier, variables: Variables, size: tuple[int, int, int]
) -> tuple[Classifier, Variables]:
    """Makes the fully convolutional network that equals a classifier at every window.

    Args:
      model: with an `FcHead`, `LeNetHead` or `PoolHead`.
      variables: its own.
      size: height, width and channels of the images that it classifies: the window.

    Returns:
      A network whose `logits` are (b, h, w, k), at least for images of `size`, where h = w = 1; and
      its variables, in which each fully connected kernel (i, o) is (rows, columns, channels, o).

    Raises:
      UserError: another head, or an `FcHead` that pools the map of such an image, which no window
        of a larger map repeats.

    Dropout stays with the hidden layers' outputs; one before the first layer is left out.
    """
    backbone = {kind: tree["backbone"] for kind, tree in variables.items() if "backbone" in tree}

    def backbone_map(images: Array) -> Array:
        return last_map(model.backbone.apply(backbone, images))

    shape = jax.eval_shape(backbone_map, jax.ShapeDtypeStruct((1, *size), jnp.float32)).shape
    head = _sliding(model.head, variables["params"]["head"], shape[1:3])
    params = {}
    for i, name in enumerate(head.names):
        old = variables["params"]["head"][name]
        window = (1, 1) if i or head.average else head.window
        kernel = old["kernel"].reshape(*window, -1, old["kernel"].shape[1])
        params[name] = {"kernel": kernel, "bias": old["bias"]}
    changed = {**variables, "params": {**variables["params"], "head": params}}
    return Classifier(model.backbone, head), changed


def over_scales(
    apply: Callable[[Images], Float[Array, "b ho wo k"]],
    images: Images,
    scales: tuple[float, ...],
    combine: Literal["mean", "max"] = "mean",
) -> Float[Array, "b k"]:
    """Computes class probabilities from all windows of an image at several scales.

    Args:
      apply: normalised images to maps of logits; each scale compiles once under `jit`.
      images: normalised.
      scales: factors on the image's sides; each result must hold at least one window.
      combine: over the windows of a scale, whose probabilities are averaged ('mean', VGG), or the
        most confident of which counts for each class ('max', OverFeat; made to sum to 1 again).
        Scales are averaged.
    """
    total = 0
    for scale in scales:
        sides = [max(1, round(side * scale)) for side in images.shape[1:3]]
        shape = (images.shape[0], *sides, images.shape[3])
        resized = images if scale == 1 else jax.image.resize(images, shape, "bilinear")
        probabilities = jax.nn.softmax(apply(resized), axis=-1)
        if combine == "mean":
            total += probabilities.mean((1, 2))
        else:
            highest = probabilities.max((1, 2))
            total += highest / highest.sum(-1, keepdims=True)
    return total / len(scales)


def _sliding(head: nn.Module, params: dict[str, Any], window: tuple[int, int]) -> SlidingHead:
    """Makes the sliding form of a head whose first layer sees `window` of the map."""
    widths = {name: layer["kernel"].shape[1] for name, layer in params.items()}
    if isinstance(head, FcHead):
        if head.grid and window != (head.grid, head.grid):
            raise UserError(
                f"the head pools a map of {window[0]}x{window[1]} into {head.grid}x{head.grid}; "
                "give the image size at which the backbone's map has that size"
            )
        names = tuple(f"fc{i + 6}" for i in range(len(head.hidden) + 1))
        options = {"dropout": 0.0 if head.dropout_first else head.dropout}
    elif isinstance(head, LeNetHead):
        names, options = ("C5", "F6", "out"), {"act": head.act}
    elif isinstance(head, PoolHead) and head.num_classes:
        names, options = ("fc",), {"average": True}
    else:
        raise UserError(f"{type(head).__name__} has no form as convolutions here")
    features = tuple(widths[name] for name in names)
    return SlidingHead(names, features, window, layers=head.layers, **options)
