"""The task of embedding: its losses by loops, on one device and on several."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from vision_jax import data, models
from vision_jax.config import UserError
from vision_jax.ops import losses
from vision_jax.ops.normalize import l2_normalize
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import Embedding
from vision_jax.training import AdamW, Cosine, Optimizer, create, make_train_step


class Linear(nn.Module):
    """An embedder of one layer."""

    @nn.compact
    def __call__(self, images, *, train=False, keys=None):
        x = nn.Dense(4)(images.reshape(len(images), -1))
        return {"features": x, "embedding": l2_normalize(x), "logits": nn.Dense(5)(x)}


def batch(count=16, seed=0):
    rng = np.random.default_rng(seed)
    label = jnp.asarray(rng.integers(0, 4, count))
    return Batch(
        image=jnp.asarray(rng.integers(0, 256, (count, 16, 16, 3)), jnp.uint8),
        valid=jnp.arange(count) != 3,
        index=jnp.arange(count),
        targets=Targets(label=label.at[5].set(-1)),
    )


JOINT = {"triplet_weight": 0.0, "class_weight": 1.0, "verification_weight": 0.05}  # DeepID2's
ALL = Embedding(Linear(), class_weight=0.5, verification_weight=0.05)
TASKS = {
    "semi_hard": ALL,
    "hardest": Embedding(Linear(), mining="hardest"),
    "all": Embedding(Linear(), mining="all"),
}


def computed(task, variables, given):
    terms, aux = task.loss(variables, given, jax.random.key(0))
    return terms, aux["metrics"]


def test_the_terms_are_the_losses_of_the_valid_examples():
    given = batch()
    variables = ALL.init(jax.random.key(0), given)
    terms, metrics = computed(ALL, variables, given)
    outputs = ALL.predict(variables, given)
    assert set(terms) == {"triplet", "class", "same", "different"} and "active" in metrics
    labels, x = np.asarray(given.targets.label), np.asarray(outputs["features"])
    valid = np.asarray(given.valid) & (labels >= 0)
    assert terms["class"][1] == valid.sum()
    same = different = 0.0
    for i in np.flatnonzero(valid):
        for j in np.flatnonzero(valid):
            distance = np.linalg.norm(x[i] - x[j])
            if i != j and labels[i] == labels[j]:
                same += 0.5 * 0.05 * 0.5 * distance**2
            elif labels[i] != labels[j]:
                different += 0.5 * 0.05 * 0.5 * max(0, 1 - distance) ** 2
    np.testing.assert_allclose(terms["same"][0], same, rtol=1e-4)
    np.testing.assert_allclose(terms["different"][0], different, rtol=1e-4, atol=1e-6)
    mask = jnp.asarray(valid)
    expected, pairs = losses.semi_hard_triplets(
        outputs["embedding"], given.targets.label, 0.2, mask
    )
    np.testing.assert_allclose(terms["triplet"][0], expected.sum(), rtol=1e-5)
    assert terms["triplet"][1] == pairs.sum()


@pytest.mark.parametrize("name", TASKS)
def test_devices_do_not_matter(name):
    task, given = TASKS[name], batch()
    variables = task.init(jax.random.key(1), given)
    mesh = Mesh(jax.devices()[:4], ("data",))
    rows, whole = PartitionSpec("data"), PartitionSpec()

    def total(params, part):
        terms, _ = computed(task, {"params": params}, part)
        return jax.tree.map(jnp.float32, terms)

    def shared(params, part):
        return jax.lax.psum(total(params, part), "data")

    spread = jax.shard_map(
        shared, mesh=mesh, in_specs=(whole, rows), out_specs=whole, check_vma=False
    )
    one = total(variables["params"], given)
    for key, values in jax.jit(spread)(variables["params"], given).items():
        np.testing.assert_allclose(values, one[key], rtol=1e-5, err_msg=key)

    def gradient(params, part):
        value = jax.grad(lambda p: total(p, part)["triplet"][0])(params)
        return jax.lax.psum(value, "data")

    spread = jax.shard_map(
        gradient, mesh=mesh, in_specs=(whole, rows), out_specs=whole, check_vma=False
    )
    alone = jax.grad(lambda p: total(p, given)["triplet"][0])(variables["params"])
    found = jax.jit(spread)(variables["params"], given)
    for ours, expected in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-6 * (1 + np.abs(expected).max()))


def test_answers_and_settings():
    given = batch(2)
    variables = ALL.init(jax.random.key(0), given)
    outputs = ALL.predict(variables, given)
    assert outputs["pixels"].shape == (2, 16 * 16 * 3)
    np.testing.assert_allclose(np.linalg.norm(outputs["pixels"], axis=1), 1, rtol=1e-5)
    answers = ALL.describe(outputs, ())
    assert answers[1]["text"] == "4 numbers" and len(answers[1]["embedding"]) == 4
    with pytest.raises(UserError, match="did you mean semi_hard"):
        Embedding(Linear(), mining="semihard")
    with pytest.raises(UserError, match="margin"):
        Embedding(Linear(), margin=-1.0)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"mining": "hardest"}, JOINT], ids=str)
def test_six_individuals_are_learned_by_heart(settings):
    """The gate: in the end every image is nearer to all of its individual than to any other."""
    source = data.Individuals(identities=6, known=6, images=4)
    pipeline = data.Train(source, batch_size=24, per_class=4)
    with contextlib.closing(pipeline.batches(0, 0)) as batches:
        given = jax.tree.map(jnp.asarray, next(batches))
    head = models.EmbeddingHead(features=16, num_classes=6 if settings is JOINT else 0)
    model = models.Embedder(models.ResNetCifar(blocks=1, width=8), head)
    task = Embedding(model, mean=(0.5,) * 3, std=(0.25,) * 3, **settings)
    variables = task.init(jax.random.key(0), given)
    update = Optimizer(AdamW(), Cosine(3e-3), decay=0.0).build(variables["params"], 150, 150)
    state, step = create(variables, update), jax.jit(make_train_step(task, update))
    for _ in range(150):
        state, _ = step(state, given, 0)
    rows = np.asarray(task.predict(state.variables, given)["embedding"])
    labels = np.asarray(given.targets.label)
    distance = np.square(rows[:, None] - rows[None]).sum(-1)
    same = labels[:, None] == labels[None]
    assert np.where(same, distance, 0).max() < np.where(same, np.inf, distance).min()
