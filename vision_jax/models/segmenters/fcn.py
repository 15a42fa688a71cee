"""Fully Convolutional Networks for Semantic Segmentation (Long et al. 2015, arXiv:1411.4038).

A classifier's fully connected layers become convolutions, their scores are upsampled by transposed
convolutions, and finer maps' scores are added on the way (32s, 16s, 8s: the stride of the finest
map that is read). Initialisation: scores zero, transposed convolutions bilinear, fc6 and fc7 He
normal where no classifier's weights are given.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, suggest
from vision_jax.models.classifiers.alexnet import AlexNet2014
from vision_jax.models.classifiers.classifier import HEAD_LAYER, Classifier, last_map
from vision_jax.models.classifiers.googlenet import GoogLeNetBackbone
from vision_jax.models.classifiers.resnet import ResNet
from vision_jax.models.classifiers.sliding import fully_convolutional
from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.layers.blocks import Conv, Dropout
from vision_jax.models.layers.upsampling import Grid, Kind, Step, Upsample, grids

HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


@dataclasses.dataclass(frozen=True)
class _Base:
    """A classifier as a segmenter's backbone.

    Attributes:
      backbone: makes it, by compute dtype.
      skips: its endpoints at strides 16 and 8.
      hidden, window: of its fully connected layers.
      padding: of its first convolution.
    """

    backbone: Callable[[str], nn.Module]
    skips: tuple[str, str]
    hidden: tuple[int, ...] = ()
    window: int = 1
    padding: int = 3


BASES = {
    "alexnet": _Base(
        lambda dtype: AlexNet2014(dtype=dtype).backbone.clone(ceil_mode=True),
        ("conv5", "conv2"),
        (4096, 4096),
        6,
        2,
    ),
    "vgg16": _Base(
        lambda dtype: VGG(dtype=dtype, ceil_mode=True), ("pool4", "pool3"), (4096, 4096), 7, 1
    ),
    "googlenet": _Base(
        lambda dtype: GoogLeNetBackbone(dtype=dtype), ("inception4e", "inception3b")
    ),
    "resnet50": _Base(lambda dtype: ResNet(dtype=dtype), ("conv4_x", "conv3_x")),
}


class FCNHead(nn.Module):
    """Scores of the backbone's last map, upsampled, with those of finer maps added.

    Fields:
      num_classes: k, background included.
      hidden: widths of fc6, fc7, …; () where the backbone has no fully connected layers after it.
      window: side of fc6's kernel.
      skips: endpoints to add, coarse to fine: () is 32s, ('pool4',) 16s, ('pool4', 'pool3') 8s.
      scales: factors on the skips' maps before they are scored, for training at once (the paper's
        (0.01, 0.0001)); () are ones.
      kind: what the transposed convolutions begin as, see `upsampling.Upsample`.
      learn: which of them are learned: 'inner', all but the last one (the paper), 'all' or 'none'.
      dropout: probability, of each hidden layer's outputs.
      dtype: compute dtype.
    """

    num_classes: int = 21
    hidden: tuple[int, ...] = (4096, 4096)
    window: int = 7
    skips: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    kind: Kind = "bilinear"
    learn: Literal["inner", "all", "none"] = "inner"
    dropout: float = 0.5
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        endpoints: dict[str, Array | tuple[Array, ...]],
        places: dict[str, Grid],
        size: tuple[int, int],
        pad: bool,
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """`features` (b, h, w, d), `scores` (b, h, w, k) of the last map, `logits` of all pixels.

        Args:
          endpoints: the backbone's.
          places: where their pixels lie in the image.
          size: height and width of the logits.
          pad: give fc6 a padding of half its window.
          train, keys: as of `Classifier`.

        Raises:
          UserError: a skip that is no endpoint, as many scales as not skips, or maps that end
            before the image does.
        """
        if self.scales and len(self.scales) != len(self.skips):
            raise UserError(f"{len(self.scales)} scales for {len(self.skips)} skips")
        x = last_map(endpoints)
        place = next(places[name] for name, value in endpoints.items() if value is x)
        for i, width in enumerate(self.hidden):
            kernel = self.window if i == 0 else 1
            padding = kernel // 2 if pad else 0
            fc = Conv(
                width, kernel, 1, padding, dtype=self.dtype, kernel_init=HE, name=f"fc{i + 6}"
            )
            x = Dropout(self.dropout, HEAD_LAYER + i)(nn.relu(fc(x)), train, keys)
            place = place.moved((kernel - 1) / 2 - padding)
        features = x
        x = scores = self._score("score")(x)
        for name, scale in zip(self.skips, self.scales or (1.0,) * len(self.skips), strict=True):
            if name not in endpoints:
                known = suggest(name, endpoints)
                raise UserError(f"head.skips: the backbone has no map {name!r}{known}")
            finer = self._score(f"score_{name}")(endpoints[name] * scale)
            x, place = self._added(x, place, finer, places[name], f"upscore_{name}")
        return {"features": features, "scores": scores, "logits": self._logits(x, place, size)}

    def _score(self, name: str) -> Conv:
        return Conv(
            self.num_classes, dtype=self.dtype, kernel_init=nn.initializers.zeros, name=name
        )

    def _added(self, x, place, finer, finer_place, name):
        """The coarse scores upsampled, with the finer ones added where there are any; the grid."""
        step = Step.between(place, finer_place)
        size = step.size(x.shape[1]), step.size(x.shape[2])
        up = Upsample(
            step.ratio, step.width, self.kind, self.learn != "none", self.dtype, name=name
        )
        x = up(x, (0, 0), size)
        cut = [(-step.first, step.first + size[axis] - finer.shape[1 + axis], 0) for axis in (0, 1)]
        finer = lax.pad(finer, jnp.zeros((), finer.dtype), [(0, 0, 0), *cut, (0, 0, 0)])
        return x + finer, finer_place.moved(step.first)

    def _logits(self, x, place, size):
        step = Step.between(place, Grid(1, 0.0))
        for axis in (0, 1):
            end = step.first + step.size(x.shape[1 + axis])
            if step.first > 0 or end < size[axis]:
                raise UserError(
                    f"the backbone's maps reach from pixel {step.first} to {end} of {size[axis]}; "
                    "use a larger margin, or ceil_mode in the backbone's pooling"
                )
        up = Upsample(
            step.ratio, step.width, self.kind, self.learn == "all", self.dtype, name="upscore"
        )
        return up(x, (-step.first, -step.first), size)


class FCN(nn.Module):
    """`backbone` and `head`, on images of any size.

    Returns one dict: the backbone's endpoints, `features`, `scores` (see `FCNHead`) and `logits`
    (b, h, w, k) at the image's size.

    Fields:
      backbone: any backbone with the endpoints that the head reads.
      head: an `FCNHead`.
      margin: zeros around the image, beside the backbone's own padding. With 99, VGG's first padding
        is the 100 pixels of the published networks, whose fc6 has none. 0 gives fc6 a padding of
        half its window instead, and pads the image below and on the right to whole strides.
    """

    backbone: nn.Module
    head: nn.Module
    margin: int = 0

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array | tuple[Array, ...]]:
        """See the class, and `Classifier` for the arguments."""
        size = image.shape[1:3]
        if self.margin:
            pads = [(self.margin, self.margin)] * 2
        else:
            stride = max(self.backbone.strides.values())
            pads = [(0, -side % stride) for side in size]
        endpoints = self.backbone(jnp.pad(image, ((0, 0), *pads, (0, 0))), train, keys)
        unbound = self.backbone.clone(parent=None, name=None)
        places = {
            name: Grid(grid.stride, grid.centre - self.margin)
            for name, grid in grids(unbound, image.shape[-1]).items()
        }
        found = self.head(endpoints, places, size, not self.margin, train, keys)
        return {**endpoints, **found}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return self.backbone.strides


def fcn(
    base: Literal["alexnet", "vgg16", "googlenet", "resnet50"] = "vgg16",
    stride: Literal[32, 16, 8] = 32,
    num_classes: int = 21,
    published: bool = True,
    scales: tuple[float, ...] = (),
    kind: Kind = "bilinear",
    learn: Literal["inner", "all", "none"] = "inner",
    dropout: float = 0.5,
    dtype: str = "float32",
) -> FCN:
    """FCN-32s, 16s or 8s on one of the backbones of `BASES`.

    Args:
      base: the backbone: the networks of torchvision's names.
      stride: of the finest map that is scored.
      num_classes: background included.
      published: with a first padding of 100 pixels, instead of a padded fc6; see `FCN`.
      scales, kind, learn, dropout: see `FCNHead`.
      dtype: compute dtype.
    """
    given = BASES[base]
    skips = {32: (), 16: given.skips[:1], 8: given.skips}[stride]
    head = FCNHead(
        num_classes, given.hidden, given.window, skips, scales, kind, learn, dropout, dtype
    )
    return FCN(given.backbone(dtype), head, 100 - given.padding if published else 0)


def FCN32s(num_classes: int = 21, dtype: str = "float32") -> FCN:
    """On VGG-16, with the last layer fixed to be bilinear."""
    return fcn("vgg16", 32, num_classes, dtype=dtype)


def FCN16s(num_classes: int = 21, dtype: str = "float32") -> FCN:
    """On VGG-16, with pool4."""
    return fcn("vgg16", 16, num_classes, dtype=dtype)


def FCN8s(num_classes: int = 21, at_once: bool = False, dtype: str = "float32") -> FCN:
    """On VGG-16, with pool4 and pool3; `at_once` scales them for training without stages."""
    scales = (0.01, 0.0001) if at_once else ()
    return fcn("vgg16", 8, num_classes, scales=scales, dtype=dtype)


def transplant(
    model: FCN,
    variables: dict[str, Any],
    classifier: Classifier,
    given: dict[str, Any],
    size: tuple[int, int, int] = (224, 224, 3),
) -> dict[str, Any]:
    """A segmenter's variables with a classifier's backbone and fully connected layers in them.

    The kernels of fc6, fc7, … are reshaped (`sliding.fully_convolutional`); the classifier's last
    layer, whose classes are others, is left out.

    Args:
      model, variables: the segmenter, and its variables as initialised.
      classifier, given: on the same backbone, and its variables.
      size: height, width and channels of the images that it classifies.

    Raises:
      UserError: a layer's shape differs.
    """
    _, given = fully_convolutional(classifier, given, size)
    params = {**variables["params"], "backbone": given["params"]["backbone"]}
    names = [f"fc{i + 6}" for i in range(len(model.head.hidden))]
    head = {**params["head"], **{name: given["params"]["head"][name] for name in names}}
    params["head"] = head
    found = {**variables, **given, "params": params}
    if jax.tree.map(jnp.shape, found) != jax.tree.map(jnp.shape, variables):
        raise UserError("the classifier's layers are not those of the segmenter")
    return found
