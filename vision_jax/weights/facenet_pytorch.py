"""The names of github.com/timesler/facenet-pytorch: MTCNN's three networks and Inception-ResNet v1.

The package's files pnet.pt, rnet.pt and onet.pt each hold one of `models.PNet`, `models.RNet` and
`models.ONet`; its `MTCNN().state_dict()` holds all, under 'pnet.', 'rnet.' and 'onet.'.
"""

import dataclasses
import re
from collections.abc import Iterator

from vision_jax.models.classifiers.inception_v3 import Branch, Layer
from vision_jax.models.detectors.mtcnn import MTCNN
from vision_jax.models.detectors.mtcnn_nets import ONet, PNet, RNet
from vision_jax.models.embedders.embedder import Embedder, EmbeddingHead
from vision_jax.models.embedders.inception_resnet_v1 import BLOCK8, STAGES, STEM
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import BATCH_NORMS, conv_norm


def p_net(model: PNet) -> Iterator[Row]:
    """Yields the layers of detect_face's PNet."""
    yield from _numbered("conv", "conv_bias", 1, 2, 3)
    yield from (Row(name, name, "conv_bias") for name in ("conv4_1", "conv4_2"))


def r_net(model: RNet) -> Iterator[Row]:
    """Yields the layers of RNet."""
    yield from _numbered("conv", "conv_bias", 1, 2, 3)
    yield from _numbered("dense", "dense_bias", 4)
    yield from (Row(name, name, "dense_bias") for name in ("dense5_1", "dense5_2"))


def o_net(model: ONet) -> Iterator[Row]:
    """Yields the layers of ONet."""
    yield from _numbered("conv", "conv_bias", 1, 2, 3, 4)
    yield from _numbered("dense", "dense_bias", 5)
    yield from (Row(name, name, "dense_bias") for name in ("dense6_1", "dense6_2", "dense6_3"))


def mtcnn(model: MTCNN) -> Iterator[Row]:
    """Yields the layers of all three networks."""
    nets = {"p_net": p_net(PNet()), "r_net": r_net(RNet()), "o_net": o_net(ONet())}
    for name, rows in nets.items():
        for row in rows:
            reference = f"{name.replace('_', '')}.{row.reference}"
            yield dataclasses.replace(row, reference=reference, path=f"{name}/{row.path}")


def _numbered(name: str, kind: str, *numbers: int) -> Iterator[Row]:
    """Yields layers that are numbered through, each with its PReLU."""
    for number in numbers:
        yield Row(f"{name}{number}", f"{name}{number}", kind)
        yield Row(f"prelu{number}", f"prelu{number}", "prelu")


def inception_resnet_v1(model: Embedder) -> Iterator[Row]:
    """Yields the layers of inception_resnet_v1.py; its published files have their classes' too."""
    backbone, head = model.backbone, model.head
    names = [layer.name for layer in STEM if isinstance(layer, Layer)]
    repeats = iter(backbone.repeats)
    for stage, branches, scale in STAGES:
        if not scale:
            names += _chains(stage, branches)
            continue
        for i in range(next(repeats)):
            names += _chains(f"{stage}_{i}/chains", branches)
            yield Row(f"{stage}.{i}.conv2d", f"backbone/{stage}_{i}/conv2d", "conv_bias")
    names += _chains("block8/chains", BLOCK8)
    yield Row("block8.conv2d", "backbone/block8/conv2d", "conv_bias")
    for name in names:
        theirs = re.sub(r"^(repeat_\d)_", r"\1.", name.replace("/chains", ""))
        theirs = re.sub(r"(branch\d)_", r"\1.", theirs).replace("/", ".")
        yield from conv_norm(f"{theirs}.conv", f"{theirs}.bn", f"backbone/{name}")
    yield Row("last_linear", "head/fc", "dense")
    yield Row("last_bn", "head/norm", "norm")
    if head.num_classes:
        yield Row("logits", "head/logits", "dense_bias")


def has_inception_resnet_v1(model: Embedder) -> bool:
    """Returns True where the head is facenet's: no bias, and a norm."""
    head = model.head
    is_facenets = isinstance(head, EmbeddingHead) and head.last_norm and not head.use_bias
    return is_facenets and {model.backbone.layers.norm, head.layers.norm} <= set(BATCH_NORMS)


def _chains(name: str, branches: tuple[Branch, ...]) -> list[str]:
    """Lists the paths of a module's layers."""
    layers = (step for branch in branches for step in branch if isinstance(step, Layer))
    return [f"{name}/{layer.name}" for layer in layers]
