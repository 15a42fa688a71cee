"""Super-resolution's loss and measures, where they are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import models, tasks
from vision_jax.config import UserError
from vision_jax.models.layers import NO_NORM
from vision_jax.ops import similarity
from vision_jax.structs import Batch, Targets
from vision_jax.tasks.super_resolution import enlarged

KEY = jax.random.key(0)


class Constant(nn.Module):
    """Answers with one value everywhere, of twice the size."""

    value: float

    @nn.compact
    def __call__(self, images, *, train=False, keys=None):
        b, h, w, _ = images.shape
        return {"image": jnp.full((b, 2 * h, 2 * w, 3), self.value)}


def batch_of(count=3, side=12, factor=2, valid=None):
    draw = np.random.default_rng(0)
    target = draw.integers(0, 256, (count, factor * side, factor * side, 3)).astype(np.uint8)
    small = target.reshape(count, side, factor, side, factor, 3).mean((2, 4)).astype(np.uint8)
    return Batch(
        image=jnp.asarray(small),
        valid=jnp.ones(count, bool) if valid is None else jnp.asarray(valid),
        index=jnp.arange(count, dtype=jnp.int32),
        targets=Targets(target_image=jnp.asarray(target)),
    )


def task_of(network, backbone=None, **settings):
    model = models.WithLossNetwork(network, backbone)
    return tasks.SuperResolution(model, mean=(0.5,) * 3, std=(0.25,) * 3, **settings)


def test_the_pixel_loss_is_the_mean_squared_error_of_valid_images():
    task, batch = task_of(Constant(0.0)), batch_of(valid=[True, False, True])
    terms, aux = task.loss({"params": {}}, batch, KEY)
    target = np.asarray(batch.targets.target_image, np.float64) / 255
    squared = ((target - 0.5) ** 2).mean((1, 2, 3))[[0, 2]]
    np.testing.assert_allclose(terms["pixel"], (squared.sum(), 2), rtol=1e-5)
    total, count = aux["metrics"]["psnr"]
    np.testing.assert_allclose(total / count, (-10 * np.log10(squared)).mean(), rtol=1e-5)


def test_a_last_layer_of_zeros_begins_with_bicubic_enlargement():
    network = models.JohnsonSuperResolution(2, 4, 1, None, zero_last=True, layers=NO_NORM)
    task, batch = task_of(network, residual=True), batch_of(1)
    outputs = jax.jit(lambda k: task.predict(task.init(k, batch), batch))(KEY)
    assert float(outputs["psnr"][0]) == float(outputs["bicubic_psnr"][0])


def test_a_residual_of_nothing_is_bicubic_enlargement():
    task, batch = task_of(Constant(0.0), residual=True), batch_of()
    outputs = task.predict({"params": {}}, batch)
    wanted = enlarged(jnp.asarray(batch.image, jnp.float32), (24, 24))
    np.testing.assert_allclose(outputs["image"], wanted, atol=1e-3)
    np.testing.assert_allclose(outputs["psnr"], outputs["bicubic_psnr"], rtol=1e-4)
    np.testing.assert_allclose(outputs["ssim"], outputs["bicubic_ssim"], rtol=1e-4)


@pytest.mark.parametrize("border", [None, 0, 5])
def test_quality_is_measured_on_luma_within_the_border(border):
    task, batch = task_of(Constant(0.3), border=border), batch_of()
    outputs = task.predict({"params": {}}, batch)
    cut = 2 if border is None else border
    pair = [
        similarity.luma(x.astype(jnp.float32))[:, cut : 24 - cut, cut : 24 - cut]
        for x in (jnp.round(outputs["image"]), batch.targets.target_image)
    ]
    np.testing.assert_allclose(outputs["psnr"], similarity.psnr(*pair), rtol=1e-5)
    np.testing.assert_allclose(outputs["ssim"], similarity.ssim(*pair), rtol=1e-4)


def test_a_picture_of_ones_own_is_enlarged_without_a_target():
    task, batch = task_of(Constant(0.0)), batch_of()
    outputs = task.predict({"params": {}}, batch.replace(targets=Targets()))
    assert list(outputs) == ["image"] and outputs["image"].shape == (3, 24, 24, 3)
    (answer,) = task.describe({"image": outputs["image"][:1]}, ())
    assert answer["text"] == "24×24 pixels"


def small_task(**settings):
    network = models.JohnsonSuperResolution(2, width=8, blocks=1, limit=None, layers=NO_NORM)
    backbone = models.VGG(((3,), (3,)), width=4, keep=("conv2_1",))
    loss_in = tasks.Perceptual(content=(("conv2_1", 1.0),), style=())
    model = models.WithLossNetwork(network, backbone)
    return tasks.SuperResolution(model, loss_in=loss_in, **settings)


def test_the_feature_loss_is_a_distance_in_the_frozen_networks_maps():
    task, batch = small_task(pixel_weight=0.0, feature_weight=2.0), batch_of()
    variables = task.init(KEY, batch)
    terms, _ = jax.jit(task.loss)(variables, batch, KEY)
    assert list(terms) == ["feature"]
    made = task.pixels(task.apply(variables, task.normalize(batch.image))["image"])
    target = batch.targets.target_image.astype(jnp.float32)
    maps = [task.loss_in.maps(task.model, variables, x)["conv2_1"] for x in (made, target)]
    distance = ((maps[0] - maps[1]) ** 2).sum((1, 2, 3)) / (maps[1] ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(terms["feature"], (2 * distance.sum(), 3), rtol=1e-3)
    outputs = jax.jit(task.predict)(variables, batch)
    assert (outputs["bicubic_feature_distance"] > 0).all()
    assert outputs["feature_distance"].shape == (3,)


def test_four_images_are_learnt_by_heart():
    import optax

    task, batch = small_task(residual=True), batch_of(4)
    coarse = batch.targets.target_image[:, ::6, ::6].astype(jnp.float32)
    smooth = jax.image.resize(coarse, (4, 24, 24, 3), "cubic")
    target = jnp.clip(smooth, 0, 255).astype(jnp.uint8)
    batch = batch.replace(image=target[:, ::2, ::2], targets=Targets(target_image=target))
    variables = task.init(KEY, batch)
    rule = optax.adam(3e-3)

    @jax.jit
    def step(params, state):
        def loss(params):
            total, weight = task.loss({"params": params}, batch, KEY)[0]["pixel"]
            return total / weight

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = rule.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    params, state = variables["params"], rule.init(variables["params"])
    for _ in range(150):
        params, state, _ = step(params, state)
    outputs = jax.jit(task.predict)({"params": params}, batch)
    assert (outputs["psnr"] > outputs["bicubic_psnr"] + 3).all()


def test_mistakes():
    with pytest.raises(UserError, match="set one of them above 0"):
        task_of(Constant(0.0), pixel_weight=0.0)
    with pytest.raises(UserError, match="variation=-1"):
        task_of(Constant(0.0), variation=-1.0)
    with pytest.raises(UserError, match="augment would change"):
        task_of(Constant(0.0), augment=(tasks.augment.Flip(),))
    with pytest.raises(UserError, match="makes 24×24 pixels, the targets have 48×48"):
        task_of(Constant(0.0)).loss({"params": {}}, batch_of(factor=4), KEY)
    task = dataclasses.replace(task_of(Constant(0.0)), feature_weight=1.0)
    with pytest.raises(UserError, match=r"needs task\.model\.backbone"):
        task.loss({"params": {}}, batch_of(), KEY)
    with pytest.raises(ValueError, match=r"data\.Degrade"):
        task.loss({"params": {}}, batch_of().replace(targets=Targets()), KEY)
