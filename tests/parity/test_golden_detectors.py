"""Faster, Mask and Keypoint R-CNN against torchvision: everything that the golden files store."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden
from tests.parity.golden_cases import FOLDER
from tests.parity.golden_detection import (
    check_array,
    check_detections,
    check_gradients,
    scene,
)
from tests.parity.golden_rcnn import (
    LOSSES,
    check_float32_gradients,
    check_keypoints,
    check_masks,
    check_rcnn_loss,
    network,
    without_background,
)
from vision_jax import weights

# Compared by `-m "golden and slow"`. The first versions stand for the second; Keypoint R-CNN takes
# minutes, and what Mask R-CNN lacks of it has goldens of its own, in test_golden_losses.py and
# test_golden_postprocess.py.
STOOD_FOR = {"fasterrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"}
FILES = [
    pytest.param(path, marks=pytest.mark.slow if path.stem in STOOD_FOR else (), id=path.stem)
    for path in sorted(FOLDER.rglob("*rcnn_resnet*_fpn*.npz"))
]


@pytest.mark.golden
@pytest.mark.parametrize("path", FILES)
def test_rcnn_equals_torchvisions(path):
    golden = Golden(path)
    model = network(golden)
    state = weights.from_reference(golden.state_dict(), model)
    exact = None
    for dtype in (np.float64, np.float32):
        with jax.enable_x64(dtype is np.float64):
            variables = jax.tree.map(lambda a, dtype=dtype: jnp.asarray(a, dtype), state)
            check_eval(golden, model, variables, dtype)
            losses, gradients, run = _trained(golden, model, variables, dtype)
        assert set(losses) == {LOSSES[name] for name in golden.meta["train"]["losses"]}
        for name in golden.meta["train"]["losses"]:
            check_rcnn_loss(golden, name, losses[LOSSES[name]], dtype)
        if dtype is np.float64:
            check_gradients(golden, gradients, dtype)
            exact = run
        else:
            check_float32_gradients(golden, gradients, exact, state["params"])


def check_eval(golden, model, variables, dtype):
    """Compares every output of evaluation that the file holds."""
    inputs = scene(golden, "eval", dtype)
    check_array(golden, "eval/transform.images", _channels_first(inputs.image), dtype)
    check_array(golden, "eval/transform.sizes", inputs.sizes, dtype)
    sizes = jnp.asarray(inputs.sizes, dtype)

    @jax.jit
    def run(variables, images):
        outputs = model.apply(variables, images, sizes)
        strides, pooled = model.pyramid.strides(model.backbone), {}
        pooled["box"] = model.head.pool(outputs["pyramid"], strides, outputs["proposals"])
        if model.mask is not None:
            boxes = outputs["detections"].boxes
            pooled["mask"] = model.mask.pool(outputs["pyramid"], strides, boxes)
        return outputs, pooled

    outputs, pooled = run(variables, inputs.image)
    detections = model.detect(outputs, sizes)
    outputs, pooled = jax.tree.map(np.asarray, (outputs, pooled))
    _check_first_stage(golden, outputs, len(inputs.sizes), dtype)
    valid = outputs["proposal_valid"]
    check_array(golden, "eval/roi_heads.box_roi_pool", _channels_first(pooled["box"][valid]), dtype)
    check_array(golden, "eval/roi_heads.box_head", outputs["features"][valid], dtype)
    logits, deltas = outputs["class_logits"][valid], outputs["box_deltas"][valid]
    check_array(golden, "eval/roi_heads.box_predictor.0", logits, dtype)
    deltas = deltas.reshape(len(deltas), -1)
    check_array(golden, "eval/roi_heads.box_predictor.1", deltas, dtype)
    numbered = detections.replace(labels=detections.labels + 1)
    check_detections(golden, numbered, inputs, dtype)
    if model.mask is not None:
        pooled = _channels_first(pooled["mask"][detections.valid])
        check_array(golden, "eval/roi_heads.mask_roi_pool", pooled, dtype)
        logits = _channels_first(outputs["mask_logits"][detections.valid])
        check_array(golden, "eval/roi_heads.mask_predictor", logits, dtype)
        check_masks(golden, detections, inputs, dtype)
    if model.keypoint is not None:
        logits = _channels_first(outputs["keypoint_logits"][detections.valid])
        check_array(golden, "eval/roi_heads.keypoint_predictor", logits, dtype)
        check_keypoints(golden, detections, inputs, dtype)


def _check_first_stage(golden, outputs, images, dtype):
    """Compares levels, the RPN's outputs for each, anchors and proposals."""
    start = 0
    for number, level in enumerate(outputs["pyramid"]):
        name = "pool" if number == len(outputs["pyramid"]) - 1 else number
        check_array(golden, f"eval/backbone.{name}", _channels_first(level), dtype)
        height, width = level.shape[1:3]
        cells = height * width * 3
        for kind, key in ((0, "rpn_class_logits"), (1, "rpn_box_deltas")):
            ours = outputs[key][:, start : start + cells].reshape(images, height, width, -1)
            check_array(golden, f"eval/rpn.head.{kind}.{number}", _channels_first(ours), dtype)
        start += cells
    for row in range(images):
        check_array(golden, f"eval/rpn.anchor_generator.{row}", outputs["anchors"], dtype)
        proposals = outputs["proposals"][row][outputs["proposal_valid"][row]]
        check_array(golden, f"eval/rpn.proposals.{row}", proposals, dtype)


def _trained(golden, model, variables, dtype):
    """Returns losses, gradients in the file's names, and a function of parameters for these."""
    inputs = scene(golden, "train", dtype)
    targets = without_background(golden, inputs, dtype)
    sizes, valid = jnp.asarray(inputs.sizes, dtype), jnp.ones(len(inputs.sizes), bool)
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    @jax.jit
    def run(params):
        def total(params):
            outputs = model.apply({**rest, "params": params}, inputs.image, sizes, targets)
            terms = model.loss(outputs, targets, valid)
            means = {name: total / weight for name, (total, weight) in terms.items()}
            return sum(means.values()), means

        (loss, terms), gradients = jax.value_and_grad(total, has_aux=True)(params)
        return {**terms, "total": loss}, gradients

    def reference(params):
        losses, gradients = jax.tree.map(np.asarray, run(params))
        return losses, weights.to_reference(gradients, model)

    return *reference(variables["params"]), lambda params: reference(params)[1]


def _channels_first(x):
    return x.transpose(0, 3, 1, 2)
