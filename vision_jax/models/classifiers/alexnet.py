"""ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al. 2012), and the
single tower of "One weird trick" (Krizhevsky 2014, arXiv:1404.5997) as torchvision has it.

Endpoints: conv1 to conv5 (after their ReLU), pool5. Initialisation as in the paper, section 5:
N(0, 0.01), biases of conv2, conv4, conv5 and the hidden fully connected layers 1, others 0.
"""

import jax
from flax import linen as nn

from vision_jax.models.classifiers.classifier import Classifier, FcHead
from vision_jax.models.layers import NO_NORM, Conv, Endpoints, Images, Keys, Layers
from vision_jax.ops import initializers
from vision_jax.ops.normalize import local_response_norm
from vision_jax.ops.pool import max_pool


class AlexNetBackbone(nn.Module):
    """AlexNet's five convolutions; fields that are tuples hold one entry for each.

    Fields:
      features, kernels, steps, paddings, groups: of the convolutions.
      biases: initial biases.
      std: of the initial weights; the paper's suits its widths, narrower networks need more.
      lrn: local response normalisation (n = 5, alpha = 1e-4, beta = 0.75) follows.
      pools: padding of the max pooling that follows, None where there is none.
      window: of the max pooling, whose stride is 2; 3 overlaps, 2 does not.
      lrn_mean: divide alpha by n, as Caffe and torch do and the paper does not.
      lrn_k: see `local_response_norm`; the paper has 2, Caffe 1.
      lrn_last: normalise after the pooling instead of before it, as CaffeNet does.
      ceil_mode: max pooling keeps a last window that reaches over the border, as Caffe does.
      layers: in what precision layers compute; the network predates batch norm and has none.
    """

    features: tuple[int, ...] = (96, 256, 384, 384, 256)
    kernels: tuple[int, ...] = (11, 5, 3, 3, 3)
    steps: tuple[int, ...] = (4, 1, 1, 1, 1)
    paddings: tuple[int, ...] = (0, 2, 1, 1, 1)
    groups: tuple[int, ...] = (1, 2, 1, 2, 2)
    biases: tuple[float, ...] = (0.0, 1.0, 0.0, 1.0, 1.0)
    std: float = 0.01
    lrn: tuple[bool, ...] = (True, True, False, False, False)
    pools: tuple[int | None, ...] = (0, 0, None, None, 0)
    window: int = 3
    lrn_mean: bool = False
    lrn_k: float = 2.0
    lrn_last: bool = False
    ceil_mode: bool = False
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        x, endpoints = images, {}
        for i, features in enumerate(self.features):
            conv = Conv(
                features,
                self.kernels[i],
                self.steps[i],
                self.paddings[i],
                groups=self.groups[i],
                kernel_init=initializers.normal(self.std),
                bias_init=initializers.constant(self.biases[i]),
                layers=self.layers,
                name=f"conv{i + 1}",
            )
            x = nn.relu(conv(x))
            endpoints[f"conv{i + 1}"] = x
            if not self.lrn_last:
                x = self._normalise(x, i)
            if self.pools[i] is not None:
                with jax.named_scope(f"pool{i + 1}"):
                    x = max_pool(x, self.window, 2, self.pools[i], self.ceil_mode)
            if self.lrn_last:
                x = self._normalise(x, i)
        endpoints[f"pool{len(self.features)}"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides, stride = {}, 1
        for i, step in enumerate(self.steps):
            stride *= step
            strides[f"conv{i + 1}"] = stride
            stride *= 1 if self.pools[i] is None else 2
        return strides | {f"pool{len(self.steps)}": stride}

    def _normalise(self, x, i):
        if not self.lrn[i]:
            return x
        with jax.named_scope(f"norm{i + 1}"):
            return local_response_norm(x, k=self.lrn_k, mean=self.lrn_mean)


def AlexNet(
    num_classes: int = 1000,
    towers: bool = True,
    lrn: bool = True,
    overlap: bool = True,
    hidden: tuple[int, ...] = (4096, 4096),
    dropout: float = 0.5,
    layers: Layers = NO_NORM,
) -> Classifier:
    """Makes the network of 2012, for 227x227 images.

    Args:
      num_classes: number of classes.
      towers: conv2, conv4 and conv5 in two groups, as on two GPUs.
      lrn: local response normalisation after conv1 and conv2.
      overlap: max pooling 3x3 at stride 2 rather than 2x2.
      hidden: widths of fc6 and fc7.
      dropout: probability of dropping fc6's and fc7's outputs.
      layers: see `AlexNetBackbone`.
    """
    backbone = AlexNetBackbone(
        groups=(1, 2, 1, 2, 2) if towers else (1, 1, 1, 1, 1),
        lrn=(lrn, lrn, False, False, False),
        window=3 if overlap else 2,
        layers=layers,
    )
    return Classifier(backbone, FcHead(num_classes, hidden, 6, dropout, bias=1.0, layers=layers))


def CaffeNet(
    num_classes: int = 1000,
    norm_first: bool = False,
    hidden: tuple[int, ...] = (4096, 4096),
    dropout: float = 0.5,
    layers: Layers = NO_NORM,
) -> Classifier:
    """Makes BVLC's reference CaffeNet for 227x227 images; with `norm_first` its AlexNet.

    It is the network of 2012 with Caffe's response normalisation, which CaffeNet has after the
    pooling.
    """
    backbone = AlexNetBackbone(lrn_mean=True, lrn_k=1.0, lrn_last=not norm_first, layers=layers)
    return Classifier(backbone, FcHead(num_classes, hidden, 6, dropout, bias=1.0, layers=layers))


def AlexNet2014(
    num_classes: int = 1000,
    hidden: tuple[int, ...] = (4096, 4096),
    dropout: float = 0.5,
    layers: Layers = NO_NORM,
) -> Classifier:
    """Makes torchvision's alexnet, for 224x224 images.

    It is one tower without response normalisation, with dropout before fc6 and fc7.
    """
    backbone = AlexNetBackbone(
        features=(64, 192, 384, 256, 256),
        paddings=(2, 2, 1, 1, 1),
        groups=(1, 1, 1, 1, 1),
        lrn=(False,) * 5,
        layers=layers,
    )
    head = FcHead(num_classes, hidden, 6, dropout, dropout_first=True, bias=1.0, layers=layers)
    return Classifier(backbone, head)
