"""The names of github.com/foolwood/deepmask-pytorch: DeepMask and SharpMask on ResNet-50.

Its checkpoints have SharpMask's refinement twice, as `neths` and `netvs` and again within `refs`;
these are the first, but for the last layer, which only `refs` has.
"""

from collections.abc import Iterator

from flax import linen as nn

from vision_jax.models.detectors.deepmask import DeepMask
from vision_jax.models.detectors.sharpmask import Refinement
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import conv_norm, is_plain_resnet, residual_layers


def deepmask(model: DeepMask) -> Iterator[Row]:
    """Yields the layers of DeepMask.py or, with a refinement, of SharpMask.py."""
    yield from conv_norm("trunk.0.0.1", "trunk.0.1", "backbone/conv1")
    yield from _stages(model.backbone)
    yield Row("trunk.1.0", "reduce", "conv_bias")
    yield Row("trunk.1.2", "shared", "conv_bias")
    branch = "maskBranch" if model.refinement is None else "maskBranchDM"
    yield Row(f"{branch}.0.0", "mask", "dense_pointwise")
    yield Row("scoreBranch.1", "score_hidden", "dense_pointwise")
    yield Row("scoreBranch.4", "score", "dense_pointwise")
    if model.refinement is not None:
        yield from _refinement(len(model.backbone.strides))


def has_deepmask(model: DeepMask) -> bool:
    """Returns True for a ResNet of bottlenecks without tweaks, and SharpMask's own refinement."""
    known = model.refinement is None or isinstance(model.refinement, Refinement)
    return known and is_plain_resnet(model.backbone) and model.backbone.block == "bottleneck"


def _stages(backbone: nn.Module) -> Iterator[Row]:
    """Yields the residual stages; convolutions that pad come after their padding, as '.1'."""
    for stage, blocks in enumerate(backbone.stages):
        for i, names in residual_layers(blocks, backbone.block):
            theirs, ours = f"trunk.0.{stage + 4}.{i}", f"backbone/conv{stage + 2}_{i + 1}"
            for name in names:
                conv, norm = f"{theirs}.{name}", f"{theirs}.bn{name[-1]}"
                if name == "shortcut":
                    conv, norm = f"{theirs}.downsample.0", f"{theirs}.downsample.1"
                elif name == "conv2":
                    conv += ".1"
                yield from conv_norm(conv, norm, f"{ours}/{name}")


def _refinement(stages: int) -> Iterator[Row]:
    """Yields the refinement's layers; after the first stage maps are cropped in a layer before."""
    yield Row("netvs.0", "refinement/start", "conv_transpose_bias")
    for i in range(stages):
        for k in range(3):
            number = 3 * k + (1 if i == 0 else 2)
            yield Row(f"neths.{i}.{number}", f"refinement/skip{i + 1}_{k + 1}", "conv_bias")
        for k in range(2):
            yield Row(f"netvs.{i + 1}.{3 * k + 1}", f"refinement/top{i + 1}_{k + 1}", "conv_bias")
    yield Row(f"refs.{stages + 1}.1", "refinement/logits", "conv_bias")
