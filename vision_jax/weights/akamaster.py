"""The names of github.com/akamaster/pytorch_resnet_cifar10, resnet.py."""

from collections.abc import Iterator

from vision_jax.models.classifiers.classifier import Classifier
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import conv_norm


def resnet_cifar(model: Classifier) -> Iterator[Row]:
    """Yields resnet20's to resnet1202's layers, without data-parallel training's 'module.'."""
    yield from conv_norm("conv1", "bn1", "backbone/conv1")
    for stage in (1, 2, 3):
        for i in range(model.backbone.blocks):
            for k in (1, 2):
                theirs, ours = f"layer{stage}.{i}", f"backbone/stage{stage}_{i + 1}/conv{k}"
                yield from conv_norm(f"{theirs}.conv{k}", f"{theirs}.bn{k}", ours)
    yield Row("linear", "head/fc", "dense_bias")
