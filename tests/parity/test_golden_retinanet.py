"""RetinaNet against torchvision's: everything that its golden file stores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden
from tests.parity.golden_cases import FOLDER
from tests.parity.golden_detection import (
    check_array,
    check_detections,
    check_training,
    scene,
    truth,
)
from vision_jax import models, weights

FILES = sorted(FOLDER.rglob("retinanet_resnet*_fpn.npz"))


def network(golden):
    """As the file's reference was built: 91 labels, of which no anchor ever gets label 0."""
    classes = golden.meta["shapes"]["head.classification_head.cls_logits.bias"][0] // 9
    options = golden.meta["options"]
    model = models.retinanet_resnet_fpn(int(golden.meta["name"][16:].split("_")[0]), classes)
    return model.clone(
        pre_nms_top_k=options["topk_candidates"],
        max_detections=options["detections_per_img"],
        score_threshold=options.get("score_thresh", 0.05),
    )


@pytest.mark.golden
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_retinanet_equals_torchvisions(path):
    golden = Golden(path)
    model = network(golden)
    state = weights.from_reference(golden.state_dict(), model)
    assert sum(a.size for a in jax.tree.leaves(state["params"])) + sum(
        a.size for a in jax.tree.leaves(state["batch_stats"])
    ) == sum(a.size for a in golden.state_dict().values())
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            variables = jax.tree.map(lambda a, dtype=dtype: jnp.asarray(a, dtype), state)
            check_eval(golden, model, variables, dtype)
            _check_train(golden, model, variables, dtype)


def check_eval(golden, model, variables, dtype):
    """Every output of evaluation that the file holds."""
    given = scene(golden, "eval", dtype)
    check_array(golden, "eval/transform.images", given.image.transpose(0, 3, 1, 2), dtype)
    check_array(golden, "eval/transform.sizes", given.sizes, dtype)

    @jax.jit
    def run(variables, image, sizes):
        outputs = model.apply(variables, image, sizes)
        return outputs, model.detect(outputs, sizes)

    outputs, detections = run(variables, given.image, jnp.asarray(given.sizes, dtype))
    for name, level in zip(("0", "1", "2", "p6", "p7"), outputs["pyramid"], strict=True):
        check_array(golden, f"eval/backbone.{name}", level.transpose(0, 3, 1, 2), dtype)
    for ours, names in {
        "class_logits": ("classification_head", "cls_logits"),
        "box_deltas": ("regression_head", "bbox_regression"),
    }.items():
        for name in names:
            check_array(golden, f"eval/head.{name}", outputs[ours], dtype)
    for row in range(len(given.sizes)):
        check_array(golden, f"eval/anchor_generator.{row}", outputs["anchors"], dtype)
    check_detections(golden, detections, given, dtype)


def _check_train(golden, model, variables, dtype):
    given = scene(golden, "train", dtype)
    targets = truth(golden, given.ratios, dtype)
    check_training(golden, model, variables, given, targets, dtype)
