"""The golden tests' comparisons for torchvision's two-stage detectors; see `golden_detection`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tests.golden.seeded import Golden
from tests.parity.golden_detection import (
    Scene,
    check_array,
    check_loss,
    gradient_norms,
    original_boxes,
    truth,
)
from vision_jax import models
from vision_jax.ops.masks import paste_masks
from vision_jax.ops.resize import resize
from vision_jax.structs import Detections, Targets

Tree = Any
Gradients = dict[str, np.ndarray]

# Their names of losses, and ours.
LOSSES = {
    "loss_objectness": "rpn_class",
    "loss_rpn_box_reg": "rpn_box",
    "loss_classifier": "roi_class",
    "loss_box_reg": "roi_box",
    "loss_mask": "mask",
    "loss_keypoint": "keypoint",
    "total": "total",
}
# In float64, the value of the RPN's class loss is float32, since its labels are.
FLOAT32_LOSSES = ("loss_objectness", "total")


def network(golden: Golden) -> nn.Module:
    """Builds the network as the file's reference was; its classes are the file's labels from 1."""
    options, shapes = golden.meta["options"], golden.meta["shapes"]
    classes = shapes["roi_heads.box_predictor.cls_score.bias"][0] - 1
    kind, _, form = golden.meta["name"].partition("_resnet")
    depth, _, form = form.partition("_")
    makers = {
        ("fasterrcnn", "fpn"): models.faster_rcnn_resnet_fpn,
        ("fasterrcnn", "fpn_v2"): models.faster_rcnn_resnet_fpn_v2,
        ("maskrcnn", "fpn"): models.mask_rcnn_resnet_fpn,
        ("maskrcnn", "fpn_v2"): models.mask_rcnn_resnet_fpn_v2,
        ("keypointrcnn", "fpn"): models.keypoint_rcnn_resnet_fpn,
    }
    model = makers[kind, form](int(depth), classes)
    rpn = dataclasses.replace(
        model.rpn,
        train_pre_nms_top_n=options["rpn_pre_nms_top_n_train"],
        train_post_nms_top_n=options["rpn_post_nms_top_n_train"],
        pre_nms_top_n=options["rpn_pre_nms_top_n_test"],
        post_nms_top_n=options["rpn_post_nms_top_n_test"],
        batch_size_per_image=options["rpn_batch_size_per_image"],
    )
    head = dataclasses.replace(
        model.head,
        batch_size_per_image=options["box_batch_size_per_image"],
        max_detections=options["box_detections_per_img"],
    )
    return model.clone(rpn=rpn, head=head)


def without_background(golden: Golden, scene: Scene, dtype: type) -> Targets:
    """Reads the file's objects, labels from 0, masks and keypoints in the network's pixels."""
    targets = truth(golden, scene.ratios, dtype)
    targets = targets.replace(labels=jnp.where(targets.valid, targets.labels - 1, -1))
    images, most = targets.labels.shape
    if "train/target0/masks" in golden.arrays:
        masks = np.zeros((images, most, *scene.image.shape[1:3]), bool)
        for row, (height, width) in enumerate(scene.sizes):
            original = jnp.asarray(golden[f"train/target{row}/masks"], jnp.float32)
            resized = resize(original[..., None], (int(height), int(width)), "nearest")
            masks[row, : len(original), :height, :width] = resized[..., 0] > 0
        targets = targets.replace(masks=jnp.asarray(masks))
    if "train/target0/keypoints" in golden.arrays:
        joints = golden["train/target0/keypoints"].shape[1]
        points = np.zeros((images, most, joints, 3), np.float32)
        for row, (y, x) in enumerate(scene.ratios):
            original = golden[f"train/target{row}/keypoints"]
            points[row, : len(original)] = original * np.array([x, y, 1], np.float32)
        targets = targets.replace(keypoints=jnp.asarray(points, dtype))
    return targets


def check_rcnn_loss(golden: Golden, name: str, value: float, dtype: type) -> None:
    """Compares one of the stored losses, within float32's rounding where float64 was rounded."""
    if dtype is np.float32 or name not in FLOAT32_LOSSES:
        check_loss(golden, name, value, dtype)
        return
    losses = golden.meta["train"]["losses"]
    tolerance = 4 * np.finfo(np.float32).eps * losses["loss_objectness"]
    assert abs(float(value) - losses[name]) <= tolerance, f"{name}: {value} for {losses[name]}"


def check_float32_gradients(
    golden: Golden,
    gradients: Gradients,
    exact: Callable[[Tree], Gradients],
    params: Tree,
) -> None:
    """Compares the array of norms; its recorded error is the largest of its entries'.

    A larger error counts against the jumps that the exact gradient makes when the weights move by a
    little: a few regions have all of the gradient, so that a value which crosses a ReLU's zero
    shows. With 2^-21 the heads' outputs move by a quarter of what the file records of the
    reference's own float32 run. (`golden_choices`, which would be stricter, does not follow the
    branches that these heads train in.)

    (Measured on keypointrcnn_resnet50_fpn: in float32 51 of the training regions' values in the
    keypoint head, and one in the RPN, are on the other side of zero than in float64. The norms are
    off by 0.025; against the float64 gradient with just these ReLUs turned, by 7e-6.)

    Args:
      gradients: in float32, in the file's names.
      exact: the gradients, likewise, in float64 at other parameters.
      params: ours, in any precision.
    """
    norms = golden["train/grad_norm"]
    error = np.abs(gradient_norms(golden, gradients) - norms).max()
    noise = np.abs(golden["train/grad_norm_float32"] - norms).max()
    for seed in range(3):
        if error <= 10 * noise:
            return
        rng = np.random.default_rng(seed)
        moved = jax.tree.map(
            lambda a, rng=rng: np.float64(a) * (1 + 2.0**-21 * rng.uniform(-1, 1, a.shape)), params
        )
        with jax.enable_x64(True):
            noise = max(noise, np.abs(gradient_norms(golden, exact(moved)) - norms).max())
    assert error <= 10 * noise


def check_masks(golden: Golden, detections: Detections, scene: Scene, dtype: type) -> None:
    """Compares the masks of each image, pasted into the original."""
    for row, (height, width) in enumerate(scene.originals):
        boxes = jnp.asarray(original_boxes(detections, scene, row))
        masks = jnp.asarray(detections.masks[row][detections.valid[row]])
        pasted = np.asarray(paste_masks(masks, boxes, int(height), int(width)))
        check_array(golden, f"eval/detections.{row}.masks", pasted[:, None], dtype)


def check_keypoints(golden: Golden, detections: Detections, scene: Scene, dtype: type) -> None:
    """Compares keypoints, float32 in either dtype in the reference, and their scores."""
    for row in range(len(scene.sizes)):
        points = np.asarray(detections.keypoints[row][detections.valid[row]])
        y, x = scene.back[row].astype(points.dtype)
        places = points * np.array([x, y, 0]) + np.array([0, 0, 1])
        for name, ours in (("keypoints", places), ("keypoints_scores", points[..., 2])):
            check_array(golden, f"eval/detections.{row}.{name}", ours, np.float32)
