"""Perceptual losses and style transfer: targets, terms, optimised pictures, devices, precision."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models import Layers
from vision_jax.ops import style as ops
from vision_jax.structs import Batch
from vision_jax.tasks import Perceptual, Style, StyledPicture
from vision_jax.training import AdamW, Constant, Optimizer, Parallel, Sgd, create, make_train_step
from vision_jax.training.lbfgs import Lbfgs

H, W = 16, 20
KEY = jax.random.key(1)
LOSS_IN = Perceptual((("conv2_1", 1.0),), (("conv1_1", 0.5), ("conv2_1", 0.5)))


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A picture of noise around a colour."""

    seed: int
    size: tuple[int, int] = (12, 12)

    def read(self):
        rng = np.random.default_rng(self.seed)
        return (rng.uniform(0, 60, (*self.size, 3)) + 60 * (self.seed % 3)).astype(np.float32)


def backbone(dtype="float32"):
    layers = Layers(norm="none", dtype=dtype)
    return models.VGG(((3,), (3,)), width=4, keep=("conv1_1", "conv2_1"), layers=layers)


def network(dtype="float32"):
    layers = Layers(norm="instance", dtype=dtype)
    return models.JohnsonStyle(2, 1, padding="each", upsampling="nearest", layers=layers)


def fast(dtype="float32", **settings):
    model = models.WithLossNetwork(network(dtype), backbone(dtype))
    return Style(model, loss_in=LOSS_IN, styles=(Drawn(1),), **settings)


def painted(noise=0.0, **settings):
    model = models.WithLossNetwork(models.FreeImage(noise), backbone())
    settings = {"loss_in": LOSS_IN, "styles": (Drawn(1),)} | settings
    return StyledPicture(model, **settings)


def make_batch(rows=1, seed=0):
    rng = np.random.default_rng(seed)
    return Batch(
        image=rng.integers(0, 256, (rows, H, W, 3)).astype(np.uint8),
        valid=np.arange(rows) < max(1, rows - 1),
        index=np.arange(rows, dtype=np.int32),
    )


def started(task, batch):
    fresh = jax.tree.map(np.asarray, task.init(jax.random.key(0), batch))
    return task.complete(fresh, lambda: batch)


def trained(task, batches, rule, devices=1, rate=1e-2):
    """Returns the state and the losses after a step per batch."""
    parallel = Parallel("shard_map", jax.devices()[:devices])
    optimizer = Optimizer(rule, Constant(rate), trainable=("network/.*",))
    variables = started(task, batches[0])
    update = optimizer.build(variables["params"], len(batches), 1)
    state = parallel.put_state(create(variables, update))
    step, losses = parallel.compile(make_train_step(task, update, parallel.axis)), []
    for batch in batches:
        state, measured = step(state, parallel.put_batch(batch), np.uint32(0))
        losses.append(float(measured["loss"]))
    return parallel.get_state(state), losses


def test_targets_are_those_of_the_pictures_and_of_loaded_weights():
    task, batch = painted(styles=(Drawn(1), Drawn(2, (9, 15))), shares=(3.0, 1.0)), make_batch()
    variables = started(task, batch)
    network_of = {"params": jax.tree.map(jnp.asarray, variables["params"]["backbone"])}

    def maps(pixels):
        scaled = np.asarray(pixels, np.float32)[None] / 255
        images = jnp.asarray((scaled - np.float32(LOSS_IN.mean)) / np.float32(LOSS_IN.std))
        return backbone().apply(network_of, images)

    wanted = [ops.gram_matrix(maps(Drawn(*d).read())["conv1_1"]) for d in ((1,), (2, (9, 15)))]
    got = variables["targets"]["style"]["conv1_1"]
    np.testing.assert_allclose(got, 0.75 * wanted[0] + 0.25 * wanted[1], rtol=1e-4)
    content = variables["targets"]["content"]["conv2_1"]
    np.testing.assert_allclose(content, maps(batch.image[0])["conv2_1"], rtol=1e-4, atol=1e-4)
    shapes = jax.eval_shape(task.init, KEY, batch)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)


def test_terms_are_the_layers_losses_times_their_factors():
    task = fast(style_weight=3.0, content_weight=2.0, variation=0.5, variation_form="l1_mean")
    batch = make_batch(3)
    variables = started(task, batch)
    terms, aux = jax.jit(task.loss)(variables, batch, KEY)
    outputs = jax.jit(task.predict)(variables, batch)
    made = jax.jit(task.model.apply)(variables, task.normalize(jnp.asarray(batch.image)))["image"]
    made = task.pixels(made)
    seen = batch.valid
    wanted = {
        "style": 3 * outputs["style_loss"][seen].sum(),
        "content": 2 * outputs["content_loss"][seen].sum(),
        "variation": 0.5 * ops.total_variation(made, "l1_mean")[seen].sum(),
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(terms[name][0], value, rtol=1e-4)
        assert terms[name][1] == 2
    assert set(aux["collections"]) == {"targets"}
    assert outputs["image"].min() >= 0 and outputs["image"].max() <= 255


def test_a_picture_begins_as_the_content_as_noise_or_as_another():
    batch = make_batch()
    image = started(painted(), batch)
    shown = jax.jit(painted().predict)(image, batch)["image"]
    np.testing.assert_allclose(shown[0], batch.image[0], atol=1e-3)
    noisy = started(painted(0.5, start="noise"), batch)["params"]["network"]["image"]
    assert 0.3 < noisy.std() < 0.7
    task = painted(start="picture", picture=Drawn(2, (H, W)))
    shown = jax.jit(task.predict)(started(task, batch), batch)["image"]
    np.testing.assert_allclose(shown[0], Drawn(2, (H, W)).read(), atol=1e-2)


@pytest.mark.parametrize("rule", [AdamW(), Lbfgs(), Lbfgs(line_search=True)])
def test_an_optimised_picture_takes_on_the_style(rule):
    """The overfit gate: the content as start is far from the style, and twenty steps are not."""
    rate = 8.0 if isinstance(rule, AdamW) else 1.0
    task = painted(style_weight=1e6, content_weight=1e4)
    state, losses = trained(task, [make_batch()] * 20, rule, rate=rate)
    assert losses[-1] < 0.25 * losses[0], losses
    if isinstance(rule, Lbfgs) and rule.line_search:
        assert all(b <= a * (1 + 1e-4) for a, b in itertools.pairwise(losses)), losses
    before = started(task, make_batch())
    frozen, left = before["params"]["backbone"], state.params["backbone"]
    assert all(map(np.array_equal, jax.tree.leaves(frozen), jax.tree.leaves(left)))


@pytest.mark.slow
def test_a_network_learns_the_style_of_its_images():
    _, losses = trained(fast(), [make_batch(4)] * 40, AdamW(), rate=2e-2)
    assert losses[-1] < 0.5 * losses[0], losses


@pytest.mark.slow
def test_one_device_and_eight_train_alike():
    batches = [make_batch(8, seed) for seed in range(2)]
    one, losses = trained(fast(), batches, Sgd(), rate=1e-3)
    eight, others = trained(fast(), batches, Sgd(), devices=8, rate=1e-3)
    np.testing.assert_allclose(losses, others, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(eight.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_a_line_search_over_several_devices_is_refused():
    with pytest.raises(UserError, match="line_search needs one device; set parallel='single'"):
        trained(fast(), [make_batch(8)], Lbfgs(line_search=True), devices=8)


def test_half_precision_measures_in_float32():
    batch = make_batch(2)
    half = fast("bfloat16")
    variables = started(half, batch)
    terms, _ = jax.jit(half.loss)(variables, batch, KEY)
    whole, _ = jax.jit(fast().loss)(started(fast(), batch), batch, KEY)
    for name, (value, _) in terms.items():
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, whole[name][0], rtol=0.1)


def test_colours_of_the_content():
    batch = make_batch()
    variables = started(painted(start="picture", picture=Drawn(1, (H, W))), batch)
    task = painted(start="picture", picture=Drawn(1, (H, W)), colors="content")
    made = jax.jit(task.predict)(variables, batch)["image"]
    given = jnp.asarray(batch.image, jnp.float32)
    inside = np.asarray((made > 0.5) & (made < 254.5)).all(-1)
    differences = np.asarray(made - given)[inside]  # of luma alone: the same in each channel
    np.testing.assert_allclose(np.ptp(differences, axis=1), 0, atol=1e-2)
    matched = started(painted(colors="matched"), batch)["targets"]["style"]["conv1_1"]
    plain = started(painted(), batch)["targets"]["style"]["conv1_1"]
    whole = jax.tree.map(jnp.asarray, variables)
    own = LOSS_IN.grams(LOSS_IN.maps(painted().model, whole, given))["conv1_1"]
    assert np.linalg.norm(matched - own) < np.linalg.norm(plain - own)


@pytest.mark.parametrize(("make", "said"), [
    (lambda: fast(colors="matched"), "colors='matched'"),
    (lambda: dataclasses.replace(fast(), styles=()), "styles=.. names no style picture"),
    (lambda: fast(shares=(1.0, 2.0)), r"shares=\(1.0, 2.0\) must be 1 numbers"),
    (lambda: fast(style_weight=-1.0), "style_weight=-1.0"),
    (lambda: Perceptual(form="gatis"), "form='gatis'.*did you mean gatys"),
    (lambda: Perceptual(content=(("conv1_1", -1.0),)), "write pairs"),
    (lambda: painted(start="picture"), "needs task.picture"),
    (lambda: painted(start="content", augment=(None,)), "augment must be"),
    (lambda: started(fast(), make_batch()) and LOSS_IN.maps(
        models.WithLossNetwork(network()), {}, jnp.zeros((1, H, W, 3))), "backbone"),
])  # fmt: skip
def test_what_does_not_fit_is_named(make, said):
    with pytest.raises(UserError, match=said):
        make()


def test_a_layer_that_is_not_there_is_named():
    loss_in = dataclasses.replace(LOSS_IN, content=(("conv2_2", 1.0),))
    task = dataclasses.replace(painted(), loss_in=loss_in)
    with pytest.raises(UserError, match="no map 'conv2_2' - did you mean conv2_1"):
        jax.eval_shape(task.init, KEY, make_batch())


@pytest.mark.slow
def test_the_loss_network_alone_has_no_part_in_answers():
    model = models.WithLossNetwork(network(), backbone())
    variables = model.init(KEY, jnp.zeros((1, H, W, 3)))
    assert set(variables["params"]) == {"network", "backbone"}
    alone = {"params": {"network": variables["params"]["network"]}}
    x = jnp.asarray(make_batch().image, jnp.float32)
    np.testing.assert_array_equal(
        model.apply(variables, x)["image"], model.apply(alone, x)["image"]
    )
