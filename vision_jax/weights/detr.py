"""Names of DETR's weights: the authors' (github.com/facebookresearch/detr), and transformers'.

transformers has two forms: that of published files, whose backbone is timm's, and that of networks
that it makes itself, whose backbone is its own.
"""

from collections.abc import Iterator

from vision_jax.models.detectors.detr import DETR
from vision_jax.weights.engine import Pick, Row
from vision_jax.weights.shared_rows import (
    BATCH_NORMS,
    conv_norm,
    is_plain_resnet,
    residual_layers,
)
from vision_jax.weights.torchvision import residual_stages
from vision_jax.weights.torchvision_retinanet import COCO_NUMBERS, LABELS

_BRANCHES = {  # of a layer: (ours, the authors', transformers')
    "encoder": (("self_attention", "self_attn", "self_attn"),),
    "decoder": (
        ("self_attention", "self_attn", "self_attn"),
        ("cross_attention", "multihead_attn", "encoder_attn"),
    ),
}


def facebookresearch(model: DETR) -> Iterator[Row]:
    """Yields the layers of models/detr.py, and of models/segmentation.py with masks."""
    detr = "detr." if model.mask is not None else ""
    yield from _resnet(model, f"{detr}backbone.0.body.")
    for part, branches in _BRANCHES.items():
        for i in range(_depth(model, part)):
            theirs, ours = f"{detr}transformer.{part}.layers.{i}", f"{part}/layer_{i}"
            for number, (name, attention, _) in enumerate(branches, start=1):
                yield Row(f"{theirs}.{attention}", f"{ours}/{name}", "attention")
                yield Row(f"{theirs}.norm{number}", f"{ours}/norm{number}", "affine")
            last = len(branches) + 1
            yield Row(f"{theirs}.linear1", f"{ours}/fc1", "dense_bias")
            yield Row(f"{theirs}.linear2", f"{ours}/fc2", "dense_bias")
            yield Row(f"{theirs}.norm{last}", f"{ours}/norm{last}", "affine")
    yield Row(f"{detr}transformer.decoder.norm", "decoder/norm", "affine")
    names = ("input_proj", "query_embed", "class_embed", "bbox_embed")
    yield from _ends(model, *(f"{detr}{name}" for name in names))
    if model.mask is not None:
        yield from _masks("bbox_attention.{}_linear", "mask_head.")


def transformers(model: DETR, timm: bool = False) -> Iterator[Row]:
    """Yields the layers of modeling_detr.py.

    Args:
      model: the network.
      timm: names as in published files, whose backbone is timm's.
    """
    if timm:
        yield from _resnet(model, "model.backbone.conv_encoder.model.")
    else:
        yield from _own_resnet(model, "model.backbone.model")
    output, between = ("out_proj", "") if timm else ("o_proj", "mlp.")
    for part, branches in _BRANCHES.items():
        for i in range(_depth(model, part)):
            theirs, ours = f"model.{part}.layers.{i}", f"{part}/layer_{i}"
            for number, (name, _, attention) in enumerate(branches, start=1):
                projections = ("q_proj", "k_proj", "v_proj", output)
                for theirs_of, kind in zip(
                    projections, ("query", "key", "value", "output"), strict=True
                ):
                    reference = f"{theirs}.{attention}.{theirs_of}"
                    yield Row(reference, f"{ours}/{name}/{kind}", "dense_bias")
                norm = f"{theirs}.{attention}_layer_norm"
                yield Row(norm, f"{ours}/norm{number}", "affine")
            yield Row(f"{theirs}.{between}fc1", f"{ours}/fc1", "dense_bias")
            yield Row(f"{theirs}.{between}fc2", f"{ours}/fc2", "dense_bias")
            yield Row(f"{theirs}.final_layer_norm", f"{ours}/norm{len(branches) + 1}", "affine")
    yield Row("model.decoder.layernorm", "decoder/norm", "affine")
    names = ("model.input_projection", "model.query_position_embeddings")
    yield from _ends(model, *names, "class_labels_classifier", "bbox_predictor")


def has_detr(model: DETR) -> bool:
    """Returns True on a ResNet without tweaks, with batch norms and fixed positions."""
    backbone = model.backbone
    is_theirs = is_plain_resnet(backbone) and backbone.layers.norm in BATCH_NORMS
    norm_first = model.decoder.settings.norm_first
    is_plain = model.positions == "sine" and not model.learned_start
    return is_theirs and is_plain and not norm_first


def has_transformers(model: DETR) -> bool:
    """Returns True where transformers has the network: without masks."""
    return has_detr(model) and model.mask is None


def _depth(model: DETR, part: str) -> int:
    return model.encoder.depth if part == "encoder" else model.decoder.depth


def _resnet(model: DETR, prefix: str) -> Iterator[Row]:
    """Yields the backbone as torchvision and timm name it."""
    yield from conv_norm(f"{prefix}conv1", f"{prefix}bn1", "backbone/conv1")
    for row in residual_stages(model.backbone):
        yield Row(prefix + row.reference, row.path, row.kind)


def _own_resnet(model: DETR, prefix: str) -> Iterator[Row]:
    """Yields the backbone as transformers names it."""

    def layer(reference: str, path: str) -> Iterator[Row]:
        name = f"{prefix}.{reference}"
        yield from conv_norm(f"{name}.convolution", f"{name}.normalization", path)

    yield from layer("embedder.embedder", "backbone/conv1")
    backbone = model.backbone
    for stage, blocks in enumerate(backbone.stages):
        projects = stage > 0 or backbone.block == "bottleneck"
        for i, names in residual_layers(blocks, backbone.block, projects):
            theirs = f"encoder.stages.{stage}.layers.{i}"
            for number, name in enumerate(names):
                part = "shortcut" if name == "shortcut" else f"layer.{number}"
                yield from layer(f"{theirs}.{part}", f"backbone/conv{stage + 2}_{i + 1}/{name}")


def _ends(model: DETR, project: str, query: str, classes: str, boxes: str) -> Iterator[Row]:
    """Yields the layers before and after the transformer.

    Published files tell COCO's numbers up to 90 and "no object"; 80 classes are those of COCO.
    """
    yield Row(project, "input_proj", "conv_bias")
    yield Row(query, "query_embed", "embedding")
    pick = None
    if model.num_classes == len(COCO_NUMBERS):
        pick = Pick((LABELS + 1,), 0, (*COCO_NUMBERS, LABELS))
    yield Row(classes, "class_embed", "dense_bias", pick=pick)
    for i in range(3):
        yield Row(f"{boxes}.layers.{i}", f"box_embed/fc{i + 1}", "dense_bias")


def _masks(attention: str, head: str) -> Iterator[Row]:
    """Yields the mask head's layers."""
    for name in ("query", "key"):
        yield Row(attention.format(name[0]), f"mask/attention/{name}", "dense_bias")
    for i in range(1, 6):
        yield Row(f"{head}lay{i}", f"mask/head/lay{i}", "conv_bias")
        yield Row(f"{head}gn{i}", f"mask/head/gn{i}", "affine")
    for name in ("out_lay", "adapter1", "adapter2", "adapter3"):
        yield Row(f"{head}{name}", f"mask/head/{name}", "conv_bias")
