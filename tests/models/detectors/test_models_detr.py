"""DETR's parts: padding, assignment, denominators, layers that answer, suppression, masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from tests.models.detectors import tiny_detectors
from tests.models.detectors.tiny_detectors import CLASSES, SIDE, detr
from vision_jax import models
from vision_jax.models.detectors.detr import content, relative_truth
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Targets

SIZES = jnp.array([[64.0, 64.0], [40.0, 24.0]])


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 1, shape), jnp.float32)


def objects(count=2, slots=5):
    """Targets with `slots` slots, the first 1, 2, … of which are taken."""
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 12, (count, slots, 2))
    boxes = np.concatenate([low, low + rng.uniform(4, 10, low.shape)], -1)
    valid = np.arange(slots)[None] <= np.arange(count)[:, None] % slots
    labels = np.where(valid, rng.integers(0, CLASSES, valid.shape), -1)
    return Targets(
        boxes=jnp.asarray(boxes, jnp.float32),
        labels=jnp.asarray(labels, jnp.int32),
        valid=jnp.asarray(valid),
        masks=jnp.asarray(rng.random((count, slots, SIDE, SIDE)) < 0.5),
    )


@functools.cache
def compiled(model):
    return jax.jit(model.apply)


def answers_of(model):
    """Returns images, and the outputs for them with seeded variables."""
    images = drawn(2, SIDE, SIDE, 3)
    return images, dict(compiled(model)(tiny_detectors.drawn_variables(model), images, SIZES))


def test_content_and_relative_boxes():
    inside = np.asarray(content((4, 4), (64, 64), SIZES))
    assert inside[0].all()
    assert np.array_equal(inside[1], np.outer([True] * 3 + [False], [True] * 2 + [False] * 2))
    targets = objects()
    boxes, labels, valid = relative_truth(targets, SIZES, jnp.array([True, False]))
    assert valid.tolist() == [[True, False, False, False, False], [False] * 5]
    corners = box_ops.convert(boxes[1], "cxcywh", "xyxy") * jnp.array([[24.0, 40.0, 24.0, 40.0]])
    np.testing.assert_allclose(corners, targets.boxes[1], rtol=1e-5)
    assert labels is targets.labels or np.array_equal(labels, targets.labels)


def test_padding_changes_nothing():
    """An image gives the same answers beside any other, and with noise in its padding."""
    model = detr()
    images, together = answers_of(model)
    run = functools.partial(compiled(model), tiny_detectors.drawn_variables(model))
    noisy = run(images.at[1, 40:].set(9.0).at[1, :, 24:].set(9.0), SIZES)
    for name in ("class_logits", "relative_boxes", "decoder_attention"):
        np.testing.assert_array_equal(together[name], noisy[name])
    seen = np.asarray(together["decoder_attention"][1])
    np.testing.assert_allclose(seen[:, :5, :3].sum((1, 2)), 1, rtol=1e-5)
    beside_another = run(images[jnp.array([0, 0])], SIZES[jnp.array([0, 0])])["class_logits"]
    np.testing.assert_allclose(beside_another[0], together["class_logits"][0], atol=1e-5)


def test_losses_are_of_the_best_assignment():
    model, targets = detr(), objects()
    outputs = answers_of(model)[1]
    terms = jax.jit(model.loss)(outputs, targets, jnp.ones(2, bool))
    boxes, labels, _ = (np.asarray(x) for x in relative_truth(targets, SIZES, jnp.ones(2, bool)))
    found, logits = np.asarray(outputs["relative_boxes"]), outputs["class_logits"]
    probability = np.asarray(jax.nn.softmax(logits))
    classes = total = 0.0
    for row, count in enumerate((1, 2)):
        best = None
        for queries in np.ndindex(*(8,) * count):  # all ways to give objects to queries
            if len(set(queries)) < count:
                continue
            distance = np.abs(found[row, list(queries)] - boxes[row, :count]).sum()
            a, b = (
                box_ops.convert(jnp.asarray(x), "cxcywh", "xyxy")
                for x in (found[row, list(queries)], boxes[row, :count])
            )
            overlap = float(box_ops.giou(a, b).sum())
            sure = probability[row, list(queries), labels[row, :count]].sum()
            cost = 5 * distance - sure - 2 * overlap
            if best is None or cost < best[0]:
                best = cost, queries, distance
        total += best[2]
        target = np.full(8, CLASSES)
        target[list(best[1])] = labels[row, :count]
        weights = np.where(target < CLASSES, 1, 0.1)
        classes -= (weights * np.log(probability[row, np.arange(8), target])).sum()
    np.testing.assert_allclose(terms["class"][0], classes, rtol=1e-4)
    np.testing.assert_allclose(terms["class"][1], 3 + 0.1 * 13, rtol=1e-5)
    np.testing.assert_allclose(terms["box"][0], 5 * total, rtol=1e-4)
    assert float(terms["box"][1]) == float(terms["aux_giou"][1]) == 3


def test_eight_devices_give_one_devices_loss():
    """Sums and weights add up over devices, whatever objects each of them has."""
    model, targets = detr(), objects(8)
    valid = jnp.arange(8) < 7
    kept = {
        "class_logits": drawn(8, 8, CLASSES + 1),
        "relative_boxes": jax.nn.sigmoid(drawn(8, 8, 4)),
        "image_sizes": jnp.tile(SIZES, (4, 1)),
    }

    def sums(outputs, targets, valid):
        terms = model.loss(outputs, targets, valid)
        return jax.tree.map(lambda x: jax.lax.psum(x, "data"), terms)

    mesh = Mesh(jax.devices(), ("data",))
    spread = jax.jit(
        jax.shard_map(
            sums,
            mesh=mesh,
            in_specs=PartitionSpec("data"),
            out_specs=PartitionSpec(),
            check_vma=False,
        )
    )
    single = jax.jit(model.clone(aux_loss=False).loss)(kept, targets, valid)
    for name, (total, weight) in spread(kept, targets, valid).items():
        np.testing.assert_allclose(total, single[name][0], rtol=1e-5)
        np.testing.assert_allclose(weight, single[name][1], rtol=1e-6)


def test_dropout_follows_the_example():
    settings = models.TransformerSettings(features=32, heads=4, hidden=64)
    model = detr().clone(encoder=models.Encoder(1, settings), decoder=models.Decoder(2, settings))
    images, keys = drawn(2, SIDE, SIDE, 3), jax.random.split(jax.random.key(3), 2)
    train = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))

    def run(rows, keys=keys):
        rows = jnp.array(rows)
        outputs, _ = train(
            tiny_detectors.drawn_variables(model), images[rows], SIZES[rows], keys=keys[rows]
        )
        return np.asarray(outputs["class_logits"])

    one = run([0, 1])
    np.testing.assert_allclose(one, run([1, 0])[::-1], atol=1e-4)
    assert np.abs(one - run([0, 1], keys[::-1])).max() > 0.05


def test_any_layer_can_answer_and_its_answers_be_suppressed():
    model = detr()
    outputs = answers_of(model)[1]
    assert outputs["aux_class_logits"].shape == (1, 2, 8, CLASSES + 1)
    last, first = (
        model.detect(outputs, SIZES),
        model.clone(answering_layer=0).detect(outputs, SIZES),
    )
    scores = jax.nn.softmax(outputs["aux_class_logits"][0])[..., :-1].max(-1)
    np.testing.assert_allclose(first.scores, -np.sort(-scores, 1), rtol=1e-6)
    assert np.abs(last.scores - first.scores).max() > 1e-4
    copies = outputs | {
        name: jnp.tile(outputs[name][:, :1], (1, 8, 1))
        for name in ("class_logits", "relative_boxes")
    }
    assert model.detect(copies, SIZES).valid.all()
    assert model.clone(nms_threshold=0.5).detect(copies, SIZES).valid.sum(1).tolist() == [1, 1]
    few = model.clone(score_threshold=0.2).detect(outputs, SIZES)
    assert np.array_equal(few.valid, last.scores > 0.2)


def test_half_precision_and_learned_positions():
    model = detr().clone(positions="learned")
    images, variables = drawn(2, SIDE, SIDE, 3), tiny_detectors.drawn_variables(model)
    assert variables["params"]["positions_embed"]["rows"].shape == (50, 16)
    wide = compiled(model)(variables, images, SIZES)["relative_boxes"]
    settings = model.decoder.settings
    half = models.Layers(norm="none", dtype="bfloat16")
    settings = models.TransformerSettings(
        **{f: getattr(settings, f) for f in ("features", "heads", "hidden", "norm_first")},
        dropout=0.0,
        attention_dropout=0.0,
        layers=half,
    )
    narrow = model.clone(
        encoder=models.Encoder(1, settings), decoder=models.Decoder(2, settings), layers=half
    )
    boxes = compiled(narrow)(variables, images, SIZES)["relative_boxes"]
    assert boxes.dtype == jnp.float32
    np.testing.assert_allclose(boxes, wide, atol=0.05)


def test_masks_of_detections_are_cut_from_their_boxes():
    model = detr(models.QueryMasks(heads=8, size=6))
    outputs = answers_of(model)[1]
    assert outputs["mask_logits"].shape == (2, 8, 32, 32)  # conv1, the finest map before conv3_x
    left = jnp.where(jnp.arange(32)[None, None, None] < 16, 9.0, -9.0)
    outputs["mask_logits"] = jnp.broadcast_to(left, (2, 8, 32, 32))
    outputs["relative_boxes"] = jnp.tile(jnp.array([0.5, 0.5, 0.5, 0.5]), (2, 8, 1))
    masks = np.asarray(model.detect(outputs, jnp.full((2, 2), 64.0)).masks)
    assert masks.shape == (2, 8, 6, 6)
    assert (masks[..., :2] > 0.9).all() and (masks[..., 4:] < 0.1).all()
    terms = jax.jit(model.loss)(outputs, objects(), jnp.ones(2, bool))
    assert {"mask", "dice"} <= {*terms}
    with pytest.raises(ValueError, match=r"needs batches with targets\.masks"):
        model.loss(outputs, objects().replace(masks=None), jnp.ones(2, bool))
