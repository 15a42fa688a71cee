"""The detection task with a detector of one matrix: the model's inputs and the answers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax.config import UserError
from vision_jax.models.detectors.detector import DetectorModule
from vision_jax.structs import Batch, Detections, Targets
from vision_jax.tasks import Detection, augment

B, H, W, M = 4, 8, 12, 3
KEY = jax.random.key(3)


class Toy(DetectorModule):
    """Guesses one box per image from its mean colour, and returns what it was given."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, images, sizes, targets=None, *, train=False, keys=None):
        seen = self.variable("batch_stats", "seen", jnp.zeros, ())
        if train:
            seen.value = seen.value + 1
        boxes = nn.Dense(4, name="box")(images.mean((1, 2)))
        outputs = {"boxes": boxes, "images": images}
        if targets is not None and targets.boxes is not None:
            outputs["draw"] = jax.vmap(jax.random.uniform)(keys)
        if targets is not None and targets.proposals is not None:
            outputs["proposals"] = targets.proposals
        return outputs

    def loss(self, outputs, targets, valid):
        error = jnp.abs(outputs["boxes"][:, None] - targets.boxes).sum(-1)
        count = targets.valid.sum()
        draws = jnp.where(valid, outputs["draw"], 0).sum()
        return {
            "box": (jnp.where(targets.valid, error, 0).sum(), count),
            "draw": (draws, valid.sum()),
        }

    def metrics(self, outputs, targets, valid):
        return {"objects": (targets.valid.sum(), valid.sum())}

    def detect(self, outputs, sizes):
        boxes = outputs["boxes"][:, None]
        height, width = jnp.split(sizes[:, None], 2, axis=-1)
        limits = jnp.concatenate([width, height, width, height], -1)
        ones = jnp.ones(boxes.shape[:2])
        return Detections(
            boxes=jnp.clip(boxes, 0, limits),
            scores=0.75 * ones,
            labels=ones.astype(jnp.int32),
            valid=outputs["images"].mean((1, 2, 3))[:, None] > -10,
        )


@functools.cache
def make_batch():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 4, (B, M, 2))
    valid = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)
    batch = Batch(
        image=rng.integers(0, 255, (B, H, W, 3), np.uint8),
        valid=np.array([True, True, True, False]),
        index=np.arange(B, dtype=np.int32),
        targets=Targets(
            boxes=np.concatenate([corner, corner + 4], -1).astype(np.float32),
            labels=np.where(valid, 1, -1).astype(np.int32),
            valid=valid,
            crowd=np.array([[0, 1, 0]] + [[0, 0, 0]] * 3, bool),
            difficult=np.array([[0, 0, 1]] + [[0, 0, 0]] * 3, bool),
        ),
        size=np.array([[16, 24], [5, 7], [3, 3], [0, 0]], np.float32),
        scale=np.array([[0.5, 0.5], [1, 1.5], [9, 9], [0, 0]], np.float32),
    )
    return jax.tree.map(jnp.asarray, batch)


def setup(**options):
    task = Detection(Toy(), **options)
    return task, task.init(jax.random.key(0), make_batch())


def test_sizes_are_the_contents_and_never_zero():
    batch = make_batch()
    sizes = Detection(Toy()).sizes(batch)
    np.testing.assert_array_equal(sizes, [[8, 12], [5, 10], [8, 12], [8, 12]])
    bare = batch.replace(scale=None)
    np.testing.assert_array_equal(Detection(Toy()).sizes(bare), [[8, 12]] * B)
    moved = Detection(Toy(), whole_canvas_is_content=True)
    np.testing.assert_array_equal(moved.sizes(batch), sizes)
    np.testing.assert_array_equal(moved.sizes(batch, training=True), [[8, 12]] * B)


@pytest.mark.parametrize("difficult, count", [(False, 2), (True, 3)])
def test_crowds_and_difficult_objects_are_not_trained_on(difficult, count):
    task, variables = setup(difficult=difficult)
    terms, aux = jax.jit(task.loss)(variables, make_batch(), KEY)
    # Row 3 is padding, though its objects are not.
    assert int(terms["box"][1]) == count
    assert int(aux["metrics"]["objects"][0]) == count and int(aux["metrics"]["objects"][1]) == 3


def test_loss_weights_multiply_their_terms_alone():
    plain, variables = setup()
    weighted = Detection(Toy(), loss_weights=(("box", 3.0),))
    one, _ = jax.jit(plain.loss)(variables, make_batch(), KEY)
    three, _ = jax.jit(weighted.loss)(variables, make_batch(), KEY)
    np.testing.assert_allclose(three["box"][0], 3 * one["box"][0], rtol=1e-6)
    np.testing.assert_array_equal(three["box"][1], one["box"][1])
    np.testing.assert_array_equal(three["draw"][0], one["draw"][0])


def test_draws_follow_the_global_index_and_not_the_place():
    task, variables = setup()
    batch = make_batch()
    whole, _ = jax.jit(task.loss)(variables, batch, KEY)
    parts = [jax.tree.map(lambda x, s=s: x[s], batch) for s in (slice(0, 2), slice(2, 4))]
    halves = [jax.jit(task.loss)(variables, part, KEY)[0]["draw"][0] for part in parts]
    np.testing.assert_allclose(whole["draw"][0], sum(halves), rtol=1e-6)
    again, _ = jax.jit(task.loss)(variables, batch, jax.random.key(4))
    assert again["draw"][0] != whole["draw"][0]


def test_collections_change_in_training_only():
    task, variables = setup()
    for train, seen in ((True, 1), (False, 0)):
        _, aux = jax.jit(task.loss, static_argnums=3)(variables, make_batch(), KEY, train)
        assert int(aux["collections"]["batch_stats"]["seen"]) == seen


def test_colours_are_augmented_in_training_only():
    task, variables = setup(augment=(augment.ColorJitter(),))
    batch = make_batch()
    fed, mixed = task.prepare(batch, KEY)
    assert mixed is None
    assert np.abs(np.asarray(fed - task.normalize(batch.image))).max() > 0.1
    shown = jax.jit(task.predict)(variables, batch)["images"]
    np.testing.assert_allclose(shown, task.normalize(batch.image), atol=1e-6)


def test_predictions_do_not_see_the_truth_but_proposals():
    task, variables = setup()
    batch = make_batch()
    outputs = jax.jit(task.predict)(variables, batch)
    assert outputs["detections"].boxes.shape == (B, 1, 4)
    assert "draw" not in outputs and "proposals" not in outputs
    proposals = jnp.ones((B, 5, 4))
    given = batch.replace(
        targets=batch.targets.replace(proposals=proposals, proposal_valid=jnp.ones((B, 5), bool))
    )
    task.init(jax.random.key(0), given)
    outputs = jax.jit(task.predict)(variables, given)
    assert "draw" not in outputs
    np.testing.assert_array_equal(outputs["proposals"], proposals)


def test_answers_in_words():
    found = Detections(
        boxes=np.arange(20, dtype=np.float32).reshape(1, 5, 4),
        scores=np.array([[0.9, 0.8, 0.7, 0.6, 0.4]], np.float32),
        labels=np.array([[1, 0, 5, 1, 1]], np.int32),
        valid=np.ones((1, 5), bool),
        keypoints=np.full((1, 5, 2, 3), 1.234, np.float32),
    )
    task = Detection(Toy())
    (answer,) = task.describe({"detections": found}, ("cat", "dog"))
    assert answer["text"] == "dog 90%, cat 80%, 5 70%, 1 more"  # the last one is not sure
    assert len(answer["objects"]) == 5
    assert answer["objects"][1] == {
        "class": "cat",
        "label": 0,
        "score": 0.8,
        "box": [4.0, 5.0, 6.0, 7.0],
        "keypoints": [[1.23, 1.23, 1.23]] * 2,
    }
    (nothing,) = task.describe({"detections": found.replace(valid=found.valid & False)}, ())
    assert nothing == {"text": "nothing sure", "objects": []}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"augment": (augment.Flip(),)}, "moves pixels but not boxes"),
        ({"loss_weights": (("box",),)}, "write pairs"),
        ({"loss_weights": (("bax", 2.0),)}, "did you mean box"),
    ],
)
def test_a_mistake_is_one_line(options, message):
    with pytest.raises(UserError, match=message):
        task, variables = setup(**options)
        task.loss(variables, make_batch(), KEY)


def test_a_batch_without_boxes_says_so():
    task, variables = setup()
    with pytest.raises(ValueError, match=r"needs batches with targets\.boxes"):
        task.loss(variables, make_batch().replace(targets=Targets()), KEY)
