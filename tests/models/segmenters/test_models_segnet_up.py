"""The kinds of upsampling that may stand in the place of SegNet's unpooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.layers import Layers
from vision_jax.models.segmenters.segmenter import Segmenter
from vision_jax.models.segmenters.segnet import SegNetHead
from vision_jax.ops.initial import init

ENDPOINTS = ("conv1_1", "conv2_1")


def net(up):
    backbone = VGG(kernels=((3,), (3,)), width=4, keep=ENDPOINTS, layers=Layers())
    return Segmenter(backbone, SegNetHead(3, ENDPOINTS, (1, 1), up=up))


@pytest.mark.parametrize("up", ["unpool", "nails", "nearest", "bilinear", "transposed"])
def test_every_way_up_reaches_the_images_odd_size(up):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 13, 10, 3)), jnp.float32)
    variables = init(net(up), jax.random.key(0), image)
    logits = net(up).apply(variables, image)["logits"]
    assert logits.shape == (1, 13, 10, 3) and np.isfinite(logits).all()
    learned = [name for name in variables["params"]["head"] if name.startswith("transposed")]
    assert bool(learned) == (up == "transposed")
    if up not in ("unpool", "transposed"):  # the others differ in nothing but the way up
        other = net("unpool").apply(variables, image)["logits"]
        assert np.abs(other - logits).max() > 1e-3
