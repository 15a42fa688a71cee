"""LSDA's head: what it learns, what it lends, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models.detectors.rpn import Proposals
from vision_jax.ops.assign import BACKGROUND
from vision_jax.structs import Targets

CLASSES, BOXED = 5, (1, 3)


def made(**changes):
    """Makes a head, its parameters with changes in the last layer, and features."""
    fields = {"boxed": BOXED, "neighbours": 1, "hidden": (6,), "dropout": 0.0}
    head = models.LentClassifier(**fields | changes)
    x = jax.random.normal(jax.random.key(0), (2, 4, 3))
    variables = head.init(jax.random.key(1), x, CLASSES)
    params = {**variables["params"]}
    for name in ("change_kernel", "change_bias"):
        params[name] = jax.random.normal(jax.random.key(2), params[name].shape)
    return head, {"params": params}, x


def test_a_fresh_head_is_the_classifier_and_background():
    head, _, x = made()
    variables = head.init(jax.random.key(1), x, CLASSES)
    found = head.apply(variables, x, CLASSES)
    layer = variables["params"]["fc7"]
    expected = found["features"] @ layer["kernel"] + layer["bias"][None, None]
    np.testing.assert_allclose(found["class_logits"][..., 1:], expected, atol=1e-6)
    assert found["class_logits"].shape == (2, 4, 1 + CLASSES)


def test_only_classes_with_boxes_and_background_are_learned():
    head, variables, x = made()
    targets = Targets(
        boxes=jnp.array([[[0.0, 0, 8, 8], [9, 9, 20, 20]]] * 2),
        labels=jnp.array([[1, 3]] * 2),
        valid=jnp.ones((2, 2), bool),
    )
    idxs = jnp.array([[0, 1, BACKGROUND, BACKGROUND]] * 2)

    def loss(params):
        logits = head.apply({"params": params}, x, CLASSES)["class_logits"]
        outputs = {"roi_class_logits": logits, "roi_matched_idxs": idxs}
        total, weight = head.loss(outputs, targets, jnp.ones(2, bool))["roi_class"]
        return total / weight

    params = variables["params"]
    value, gradients = jax.value_and_grad(loss)(params)
    moved = np.abs(gradients["change_kernel"]).max(0)
    assert np.all((moved > 0) == np.isin(np.arange(CLASSES), BOXED))
    assert np.all(np.isfinite(moved)) and np.abs(gradients["background"]["kernel"]).max() > 0
    assert not np.any(gradients["fc7"]["kernel"]) and np.any(gradients["fc6"]["kernel"])
    logits = np.asarray(head.apply(variables, x, CLASSES)["class_logits"], np.float64)
    rows = logits[..., [0, 2, 4]]
    rows -= np.log(np.exp(rows).sum(-1, keepdims=True))
    expected = -np.mean([[row[0, 1], row[1, 2], row[2, 0], row[3, 0]] for row in rows])
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_objects_without_boxes_are_background():
    head, _, _ = made(batch_size_per_image=8)
    boxes = jnp.array([[[0.0, 0, 10, 10], [20, 20, 40, 40]]])
    targets = Targets(boxes=boxes, labels=jnp.array([[1, 2]]), valid=jnp.ones((1, 2), bool))
    proposals = Proposals(boxes, jnp.ones((1, 2)), jnp.ones((1, 2), bool))
    found = head.sample(proposals, targets, jax.random.split(jax.random.key(0), 1))
    idxs, rois = np.asarray(found["roi_matched_idxs"])[0], np.asarray(found["rois"])[0]
    assert set(idxs.tolist()) >= {0, BACKGROUND} and 1 not in idxs
    assert np.all(rois[idxs == 0] == [0, 0, 10, 10])
    assert np.all(rois[idxs == BACKGROUND] == [20, 20, 40, 40])


def test_a_score_is_how_far_a_class_is_above_background():
    head, _, _ = made(score_threshold=0.5)
    logits = jnp.full((1, 2, 1 + CLASSES), -9.0).at[0, :, 0].set(1.0).at[0, 1, 3].set(3.0)
    boxes = jnp.array([[[0.0, 0, 10, 10], [20, 20, 40, 60]]])
    proposals = Proposals(boxes, jnp.ones((1, 2)), jnp.ones((1, 2), bool))
    found = head.detect({"class_logits": logits}, proposals, jnp.array([[50.0, 50]]))
    assert found.valid[0].tolist()[:2] == [True, False] and found.labels[0, 0] == 2
    assert found.boxes[0, 0].tolist() == [20, 20, 40, 50]
    np.testing.assert_allclose(found.scores[0, 0], 1 / (1 + np.exp(-2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxed": ()}, r"boxed=\(\): give some of the classes 0 to 4"),
        ({"boxed": (1, 5)}, r"boxed=\(1, 5\): give some of the classes 0 to 4"),
        ({"neighbours": 3}, "neighbours=3: 0 to 2, the number of boxed"),
        ({"neighbours": -1}, "neighbours=-1: 0 to 2"),
    ],
)
def test_what_cannot_be_lent_is_one_line(changes, message):
    fields = {"boxed": BOXED, "neighbours": 1, "hidden": ()}
    head = models.LentClassifier(**fields | changes)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda k: head.init(k, jnp.zeros((1, 2, 3)), CLASSES), jax.random.key(0))


def test_the_papers_network_has_the_classifiers_parameters():
    model = models.LSDAAlexNet(num_classes=6, boxed=(0, 1), neighbours=2)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    made = jax.eval_shape(model.init, jax.random.key(0), image, jnp.zeros((1, 2)))["params"]
    assert made["head"]["fc6"]["kernel"].shape == (9216, 4096)
    assert made["head"]["fc8"]["kernel"].shape == (4096, 6)
    assert made["head"]["change_kernel"].shape == (4096, 6)
