"""Classification + localization against loops over images, slots and coordinates."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models.detectors.localizer import Localizer, LocalizerHead
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import Localization, augment
from vision_jax.training import Constant, Optimizer, Sgd, create, make_train_step, paths

B, H, W, M, CLASSES = 6, 12, 16, 3, 4
BATCH_KEY = jax.random.key(1)


class Backbone(nn.Module):
    """The image averaged to 3x4 pixels."""

    scale: float = 1.0

    @nn.compact
    def __call__(self, image, train=False, keys=None):
        gain = self.param("gain", nn.initializers.ones, (1, 1, 1, 3))
        return {"map": nn.avg_pool(image, (4, 4), (4, 4)) * gain}

    @property
    def strides(self):
        return {"map": 4}


def make_batch(seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 8, (B, M, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 8, (B, M, 2))], -1)
    valid = np.arange(M) < np.array([3, 1, 2, 0, 3, 2])[:, None]
    keypoints = rng.uniform(0, 12, (B, M, 5, 3))
    keypoints[..., 2] = rng.integers(0, 3, (B, M, 5))
    rows = np.arange(B) < B - 1  # the last row only fills the batch
    batch = Batch(
        image=rng.integers(0, 255, (B, H, W, 3), np.uint8),
        valid=rows,
        index=np.arange(B, dtype=np.int32),
        targets=Targets(
            label=np.array([0, 3, 1, 2, 2, -1], np.int32),
            boxes=np.where(valid[..., None], boxes, 0).astype(np.float32),
            labels=np.where(valid, rng.integers(0, CLASSES, (B, M)), -1).astype(np.int32),
            valid=valid,
            keypoints=keypoints.astype(np.float32),
        ),
    )
    return jax.tree.map(jnp.asarray, batch)


def network(**head):
    return Localizer(Backbone(), models.PoolHead(CLASSES), LocalizerHead(**head))


def setup(task, seed=0):
    variables = task.init(jax.random.key(seed), make_batch())
    return jax.tree.map(lambda x: x * 3, variables)


def slow_loss(task, variables, batch, slots):
    """The mean box loss, and the mean cross-entropy."""
    outputs = jax.jit(task.model.apply)(variables, task.normalize(batch.image))
    outputs, batch = jax.tree.map(np.asarray, (outputs, batch))
    box, boxes, entropy, images = 0.0, 0, 0.0, 0
    for b in np.flatnonzero(batch.valid):
        label = batch.targets.label[b]
        logits = outputs["logits"][b].astype(np.float64)
        entropy -= logits[label] - np.log(np.exp(logits).sum())
        images += 1
        rows = outputs["regression"][b]
        row = rows[label if len(rows) > 1 else 0]
        objects = [batch.targets.boxes[b, m] for m in range(M) if batch.targets.valid[b, m]]
        if task.order == "left":
            objects = sorted(objects, key=lambda box: box[0])
        for slot, (x0, y0, x1, y1) in list(enumerate(objects))[:slots]:
            if task.form == "xyxy":
                target = [x0 / W - 0.5, y0 / H - 0.5, x1 / W - 0.5, y1 / H - 0.5]
            else:
                target = [
                    (x0 + x1) / 2 / W - 0.5,
                    (y0 + y1) / 2 / H - 0.5,
                    (x1 - x0) / W,
                    (y1 - y0) / H,
                ]
            for found, wanted in zip(row[slot], target, strict=True):
                d = abs(float(found) - wanted)
                if task.loss_form == "l2":
                    box += d * d / 2
                else:
                    box += d * d / 2 / task.beta if d < task.beta else d - task.beta / 2
            boxes += 1
    return task.box_loss_weight * box / boxes, task.class_loss_weight * entropy / images


@pytest.mark.parametrize(
    "head, options",
    [
        ({}, {}),
        ({"slots": 2, "classes": CLASSES}, {"form": "cxcywh", "loss_form": "smooth_l1"}),
        ({"slots": 4, "endpoint": "features"}, {"order": "left", "box_loss_weight": 2.0}),
        (
            {"slots": 2, "classes": CLASSES, "hidden": (7,), "grid": 2},
            {"order": "left", "loss_form": "smooth_l1", "beta": 0.3},
        ),
    ],
)
def test_the_loss_is_the_loops(head, options):
    task, batch = Localization(network(**head), **options), make_batch()
    variables = setup(task)
    terms, _ = jax.jit(task.loss)(variables, batch, BATCH_KEY)
    box, entropy = slow_loss(task, variables, batch, head.get("slots", 1))
    np.testing.assert_allclose(terms["box"][0] / terms["box"][1], box, rtol=1e-5)
    np.testing.assert_allclose(terms["class"][0] / terms["class"][1], entropy, rtol=1e-5)


@pytest.mark.parametrize("form", ["xyxy", "cxcywh"])
def test_decoding_returns_what_was_encoded(form):
    task, batch = Localization(network(), form=form), make_batch()
    target, has = task.targets(batch, M)
    np.testing.assert_array_equal(has, batch.targets.valid & batch.valid[:, None])
    decoded, has = np.asarray(task.decode(target, batch)), np.asarray(has)
    np.testing.assert_allclose(decoded[has], np.asarray(batch.targets.boxes)[has], atol=1e-5)
    assert np.abs(np.asarray(target)[has]).max() <= 1


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_each_guess_has_its_own_classs_boxes(classes):
    task, batch = Localization(network(slots=2, classes=classes)), make_batch()
    variables = setup(task)
    outputs = jax.tree.map(np.asarray, jax.jit(task.predict)(variables, batch))
    for b in range(B):
        order = np.argsort(-outputs["logits"][b], kind="stable")
        np.testing.assert_array_equal(outputs["guess_labels"][b], order)
        for place, label in enumerate(order):
            row = outputs["regression"][b, label if classes else 0]
            pixels = (row + 0.5) * np.array([W, H, W, H])
            np.testing.assert_allclose(outputs["guess_boxes"][b, place], pixels, atol=1e-4)
        np.testing.assert_array_equal(outputs["boxes"][b], outputs["guess_boxes"][b, 0])
    answer = task.describe(outputs, ("a", "b"))[0]
    assert len(answer["boxes"]) == 2 and answer["label"] == outputs["guess_labels"][0, 0]


def test_joints_without_a_label_are_no_targets():
    task = Localization(network(slots=5, coordinates=2, endpoint="features"), regress="keypoints")
    batch, variables = make_batch(), setup(task)
    terms, aux = jax.jit(task.loss)(variables, batch, BATCH_KEY)
    outputs = jax.jit(task.model.apply)(variables, task.normalize(batch.image))
    joints = np.asarray(batch.targets.keypoints)
    total, count = 0.0, 0
    for b in np.flatnonzero(batch.valid):
        for joint in range(5):
            x, y, visible = joints[b, 0, joint]
            if visible and batch.targets.valid[b, 0]:
                wanted = np.array([x / W - 0.5, y / H - 0.5])
                found = np.asarray(outputs["regression"])[b, 0, joint]
                total += 0.5 * ((found - wanted) ** 2).sum()
                count += 1
    assert int(terms["box"][1]) == count and not aux["metrics"]
    np.testing.assert_allclose(terms["box"][0], 10 * total, rtol=1e-5)
    points = np.asarray(task.predict(variables, batch)["points"])
    expected = (np.asarray(outputs["regression"])[:, 0] + 0.5) * np.array([W, H])
    np.testing.assert_allclose(points, expected, atol=1e-4)


@functools.cache
def trained_boxes():
    """Twenty steps of the box head alone: (state before, state after, losses)."""
    task = Localization(network(hidden=(8,)), class_loss_weight=0.0)
    batch = make_batch()
    variables = task.init(jax.random.key(0), batch)
    update = Optimizer(Sgd(), Constant(0.05), trainable=("boxes/.*",)).build(
        variables["params"], 20, 20
    )
    step = jax.jit(make_train_step(task, update))
    state, losses = create(variables, update), []
    for _ in range(20):
        state, measured = step(state, batch, 0)
        losses.append(float(measured["loss"]))
    return variables, state, losses


def test_boxes_alone_on_a_frozen_backbone():
    variables, state, losses = trained_boxes()
    before, after = paths.flatten(variables["params"]), paths.flatten(state.params)
    moved = {path.split("/")[0] for path in before if np.any(before[path] != after[path])}
    assert moved == {"boxes"}
    assert losses[-1] < 0.5 * losses[0]


def test_a_classifiers_weights_are_the_localizers():
    image = jnp.zeros((1, H, W, 3))
    classifier = models.Classifier(Backbone(), models.PoolHead(CLASSES))
    theirs = paths.flatten(classifier.init(jax.random.key(0), image)["params"])
    ours = paths.flatten(network().init(jax.random.key(0), image)["params"])
    assert {p: x.shape for p, x in theirs.items()}.items() <= {
        p: x.shape for p, x in ours.items()
    }.items()
    assert {path.split("/")[0] for path in ours.keys() - theirs.keys()} == {"boxes"}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"regress": "box"}, "regress='box'"),
        ({"order": "right"}, "order='right'"),
        ({"loss_form": "l1"}, "use l2 or smooth_l1"),
        ({"loss_form": "smooth_l1", "beta": 0.0}, "must be above 0"),
        ({"augment": (augment.Flip(),)}, "moves pixels but not boxes"),
    ],
)
def test_a_mistake_is_one_line(options, message):
    with pytest.raises(UserError, match=message):
        Localization(network(), **options)


def test_a_head_that_reads_what_is_not_there_is_one_line():
    with pytest.raises(UserError, match="did you mean features"):
        Localization(network(endpoint="feature")).init(jax.random.key(0), make_batch())


def test_a_batch_without_boxes_says_so():
    task, batch = Localization(network()), make_batch()
    bare = dataclasses.replace(batch, targets=Targets(label=batch.targets.label))
    with pytest.raises(ValueError, match=r"needs batches with targets\.boxes"):
        task.loss(setup(task), bare, BATCH_KEY)
