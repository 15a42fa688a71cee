"""Fully Convolutional Networks for Semantic Segmentation (Long et al. 2015, arXiv:1411.4038).

A classifier's fully connected layers become convolutions, their scores are upsampled by transposed
convolutions, and finer maps' scores are added on the way (32s, 16s, 8s: the stride of the finest
map that is read). Initialisation: scores zero, transposed convolutions bilinear, fc6 and fc7 He
normal where no classifier's weights are given.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array

from vision_jax.config import UserError, suggest
from vision_jax.models.classifiers.alexnet import AlexNet2014
from vision_jax.models.classifiers.classifier import Classifier
from vision_jax.models.classifiers.googlenet import GoogLeNetBackbone
from vision_jax.models.classifiers.resnet import ResNet
from vision_jax.models.classifiers.sliding import fully_convolutional
from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.layers import (
    HEAD_LAYER,
    Conv,
    Dropout,
    Endpoints,
    Images,
    Keys,
    Layers,
    he_fan_in,
    last_map,
    variant,
)
from vision_jax.models.layers.upsampling import Grid, Kind, Step, Upsample, grids
from vision_jax.ops import initializers

PIXELS = Grid(1, 0.0)  # of the image itself


@dataclasses.dataclass(frozen=True)
class Base:
    """A classifier's backbone in the form that FCNs are built on.

    Attributes:
      backbone: the backbone, in the settings of its paper or of torchvision.
      skips: its endpoints at strides 16 and 8.
      hidden, window: of its fully connected layers, see `FCNHead`.
      padding: of its first convolution, pixels.
    """

    backbone: nn.Module
    skips: tuple[str, str]
    hidden: tuple[int, ...] = ()
    window: int = 1
    padding: int = 3


BASES = {
    "alexnet": Base(
        AlexNet2014().backbone.clone(ceil_mode=True), ("conv5", "conv2"), (4096, 4096), 6, 2
    ),
    "vgg16": Base(VGG(ceil_mode=True), ("pool4", "pool3"), (4096, 4096), 7, 1),
    "googlenet": Base(GoogLeNetBackbone(), ("inception4e", "inception3b")),
    "resnet50": Base(ResNet(), ("conv4_x", "conv3_x")),
}


def find_base(name: str) -> Base:
    """Returns one of `BASES`.

    Raises:
      UserError: an unknown name.
    """
    if name not in BASES:
        raise UserError(f"base={name!r}: no FCN is built on it{suggest(name, BASES)}")
    return BASES[name]


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
      layers: settings; the head has no norm.
    """

    num_classes: int = 21
    hidden: tuple[int, ...] = (4096, 4096)
    window: int = 7
    skips: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    kind: Kind = "bilinear"
    learn: Literal["inner", "all", "none"] = "inner"
    dropout: float = 0.5
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self,
        endpoints: Endpoints,
        endpoint_grids: dict[str, Grid],
        size: tuple[int, int],
        pad: bool,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> dict[str, Array]:
        """Scores every pixel.

        Args:
          endpoints: the backbone's.
          endpoint_grids: where their pixels lie in the image.
          size: height and width of the logits.
          pad: give fc6 a padding of half its window.
          train, keys: see `Classifier`.

        Returns:
          `features` (b, h, w, d), `scores` (b, h, w, k) of the last map, `logits` of all pixels.

        Raises:
          UserError: a skip that is no endpoint, as many scales as not skips, or maps that end
            before the image does.
        """
        if self.scales and len(self.scales) != len(self.skips):
            raise UserError(f"{len(self.scales)} scales for {len(self.skips)} skips")
        x = last_map(endpoints)
        grid = next(endpoint_grids[name] for name, value in endpoints.items() if value is x)
        x, grid = self._hidden(x, grid, pad, train, keys)
        features = x
        x = scores = self._score("score")(x)
        for name, scale in zip(self.skips, self.scales or (1.0,) * len(self.skips), strict=True):
            if name not in endpoints:
                known = suggest(name, endpoints)
                raise UserError(f"head.skips: the backbone has no map {name!r}{known}")
            finer = self._score(f"score_{name}")(endpoints[name] * scale)
            x, grid = self._added(x, grid, finer, endpoint_grids[name], f"upscore_{name}")
        return {"features": features, "scores": scores, "logits": self._logits(x, grid, size)}

    def _hidden(self, x, grid, pad, train, keys):
        """Applies fc6, fc7, … to a map; also returns the grid of the result."""
        for i, width in enumerate(self.hidden):
            kernel = self.window if i == 0 else 1
            padding = kernel // 2 if pad else 0
            options = {"kernel_init": he_fan_in, "layers": self.layers, "name": f"fc{i + 6}"}
            x = nn.relu(Conv(width, kernel, 1, padding, **options)(x))
            x = Dropout(self.dropout, HEAD_LAYER + i)(x, train=train, keys=keys)
            grid = grid.moved((kernel - 1) / 2 - padding)
        return x, grid

    def _score(self, name: str) -> Conv:
        zeros = initializers.zeros
        return Conv(self.num_classes, kernel_init=zeros, layers=self.layers, name=name)

    def _upsample(self, step: Step, learned: bool, name: str) -> Upsample:
        return Upsample(step.stride, step.kernel, self.kind, learned, self.layers, name=name)

    def _added(self, x, grid, finer, finer_grid, name):
        """Adds finer scores to the upsampled coarse ones; also returns the grid of the sum.

        The sum has the upsampled map's size; where there are no finer scores, nothing is added.
        """
        step = Step.between(grid, finer_grid)
        size = step.size(x.shape[1]), step.size(x.shape[2])
        x = self._upsample(step, self.learn != "none", name)(x, (0, 0), size)
        cut = [(-step.first, step.first + size[axis] - finer.shape[1 + axis], 0) for axis in (0, 1)]
        finer = lax.pad(finer, jnp.zeros((), finer.dtype), [(0, 0, 0), *cut, (0, 0, 0)])
        return x + finer, finer_grid.moved(step.first)

    def _logits(self, x, grid, size):
        step = Step.between(grid, PIXELS)
        for axis in (0, 1):
            end = step.first + step.size(x.shape[1 + axis])
            if step.first > 0 or end < size[axis]:
                raise UserError(
                    f"the backbone's maps reach from pixel {step.first} to {end} of {size[axis]}; "
                    "use a larger margin, or ceil_mode in the backbone's pooling"
                )
        upsample = self._upsample(step, self.learn == "all", "upscore")
        return upsample(x, (-step.first, -step.first), size)


class FCN(nn.Module):
    """`backbone` and `head`, on images of any size.

    Returns one dict: the backbone's endpoints, `features`, `scores` (see `FCNHead`) and `logits`
    (b, h, w, k) at the image's size.

    Fields:
      backbone: any backbone with the endpoints that the head reads.
      head: an `FCNHead`.
      margin: zeros around the image, beside the backbone's own padding. With 99, VGG's first
        padding is the 100 pixels of the published networks, whose fc6 has none. 0 gives fc6 a
        padding of half its window instead, and pads the image below and on the right to whole
        strides.
    """

    backbone: nn.Module
    head: nn.Module
    margin: int = 0

    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Scores every pixel; see `Classifier` for the arguments."""
        size = images.shape[1:3]
        if self.margin:
            pads = [(self.margin, self.margin)] * 2
        else:
            stride = max(self.backbone.strides.values())
            pads = [(0, -side % stride) for side in size]
        padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))
        endpoints = self.backbone(padded, train=train, keys=keys)
        unbound = self.backbone.clone(parent=None, name=None)
        endpoint_grids = {
            name: Grid(grid.stride, grid.centre - self.margin)
            for name, grid in grids(unbound, images.shape[-1]).items()
        }
        arguments = endpoints, endpoint_grids, size, not self.margin
        return {**endpoints, **self.head(*arguments, train=train, keys=keys)}

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
    layers: Layers | None = None,
) -> FCN:
    """Makes FCN-32s, 16s or 8s on one of the backbones of `BASES`.

    Args:
      base: the backbone: the networks of torchvision's names.
      stride: of the finest map that is scored.
      num_classes: background included.
      published: with a first padding of 100 pixels, instead of a padded fc6; see `FCN`.
      scales, kind, learn, dropout: see `FCNHead`.
      layers: how layers normalise and compute; None is as the backbone does by itself: AlexNet and
        VGG-16 have no norm.

    Raises:
      UserError: an unknown base.
    """
    chosen = find_base(base)
    backbone = chosen.backbone if layers is None else chosen.backbone.clone(layers=layers)
    skips = {32: (), 16: chosen.skips[:1], 8: chosen.skips}[stride]
    fc = chosen.hidden, chosen.window
    head = FCNHead(num_classes, *fc, skips, scales, kind, learn, dropout, backbone.layers)
    return FCN(backbone, head, 100 - chosen.padding if published else 0)


FCN32s = variant("FCN32s", fcn, "Makes FCN-32s on VGG-16; see `fcn`.", base="vgg16", stride=32)
FCN16s = variant("FCN16s", fcn, "Makes FCN-16s on VGG-16; see `fcn`.", base="vgg16", stride=16)
FCN8s = variant("FCN8s", fcn, "Makes FCN-8s on VGG-16; see `fcn`.", base="vgg16", stride=8)


def transplant(
    model: FCN,
    variables: dict[str, Any],
    classifier: Classifier,
    classifier_variables: dict[str, Any],
    size: tuple[int, int, int] = (224, 224, 3),
) -> dict[str, Any]:
    """Puts a classifier's backbone and fully connected layers into a segmenter's variables.

    The kernels of fc6, fc7, … are reshaped (`sliding.fully_convolutional`); the classifier's last
    layer, whose classes are others, is left out.

    Args:
      model, variables: the segmenter, and its variables as initialised.
      classifier, classifier_variables: on the same backbone, and its variables.
      size: height, width and channels of the images that it classifies.

    Raises:
      UserError: a layer's shape differs.
    """
    _, given = fully_convolutional(classifier, classifier_variables, size)
    names = [f"fc{i + 6}" for i in range(len(model.head.hidden))]
    fc = {name: given["params"]["head"][name] for name in names}
    params = {
        **variables["params"],
        "backbone": given["params"]["backbone"],
        "head": {**variables["params"]["head"], **fc},
    }
    transplanted = {**variables, **given, "params": params}
    if jax.tree.map(jnp.shape, transplanted) != jax.tree.map(jnp.shape, variables):
        raise UserError("the classifier's layers are not those of the segmenter")
    return transplanted
