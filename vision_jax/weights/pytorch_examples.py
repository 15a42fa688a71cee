"""The names of github.com/pytorch/examples, fast_neural_style."""

from collections.abc import Iterator

from vision_jax.models.stylizers.johnson import JohnsonStyle
from vision_jax.weights.engine import Row


def transformer_net(model: JohnsonStyle) -> Iterator[Row]:
    """Yields transformer_net.py's layers; convolutions and instance norms are numbered apart."""
    for i in (1, 2, 3):
        yield from _layer(f"conv{i}", f"in{i}", f"conv{i}")
    for i in range(1, model.blocks + 1):
        for k in (1, 2):
            yield from _layer(f"res{i}.conv{k}", f"res{i}.in{k}", f"block{i}/conv{k}")
    for i in (1, 2):
        yield from _layer(f"deconv{i}", f"in{3 + i}", f"up{i}")
    yield Row("deconv3.conv2d", "conv4/conv", "conv_bias")


def has_transformer_net(model: JohnsonStyle) -> bool:
    """Returns True for the form that `models.transformer_net` makes."""
    form = model.padding, model.upsampling, model.limit, model.layers.norm
    return form == ("each", "nearest", None, "instance")


def _layer(conv: str, norm: str, path: str) -> Iterator[Row]:
    """Yields a convolution with a bias and its instance norm."""
    yield Row(f"{conv}.conv2d", f"{path}/conv", "conv_bias")
    yield Row(norm, f"{path}/norm", "affine")
