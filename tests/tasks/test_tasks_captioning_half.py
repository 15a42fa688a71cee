"""Captioning in half precision."""

import jax
import numpy as np

from tests.tasks.test_tasks_captioning import batch_of, started
from vision_jax.models.layers import Layers
from vision_jax.tasks import Captioning


def test_in_half_precision_captions_are_about_the_same():
    model, variables = started("attention")
    batch, half = batch_of(4), model.clone(layers=Layers(dtype="bfloat16"))

    @jax.jit
    def both(variables):
        whole, rounded = (Captioning(m, length=6, beams=1) for m in (model, half))

        def loss(variables, task):
            return task.loss(variables, batch, jax.random.key(0))[0]["word"][0]

        found = jax.value_and_grad(loss)(variables, rounded)
        return loss(variables, whole), found, rounded.predict(variables, batch)

    expected, (loss, gradient), outputs = both(variables)
    assert {x.dtype for x in jax.tree.leaves(gradient)} == {np.dtype("float32")}
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((gradient, outputs["score"])))
    np.testing.assert_allclose(loss, expected, rtol=0.02)
    assert loss != expected
