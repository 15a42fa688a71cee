"""Augmentation as config parts: what the training step runs, and mistakes in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import tasks
from vision_jax.config import UserError, build, node
from vision_jax.ops import warp
from vision_jax.ops.trivial_augment import trivial_augment
from vision_jax.tasks import augment


def pictures(count=4):
    values = np.random.default_rng(0).integers(0, 256, (count, 12, 14, 3))
    return jnp.asarray(values, jnp.float32)


def test_parts_run_in_order_on_keys_of_their_own_with_their_settings():
    affine = {"translate": 0.0, "rotate": 30.0, "stretch": 0.0, "shear": 0.0}
    parts = (
        node(augment.Affine, **affine, method="nearest", fill=9.0),
        node(augment.LensDistortion, strength=0.3, fill=9.0),
        node(augment.TrivialAugment, method="nearest", fill=9.0),
    )
    keys = jax.random.split(jax.random.key(0), 4)
    steps = tuple(build(part) for part in parts)

    def theirs(image):
        own = [jax.vmap(jax.random.fold_in, (0, None))(keys, number) for number in range(3)]
        image = warp.random_affine(image, own[0], **affine, method="nearest", fill=9.0)
        image = warp.random_lens(image, own[1], 0.3, fill=9.0)
        return trivial_augment(image, own[2], "nearest", 9.0)

    got = jax.jit(lambda image: augment.apply_all(steps, image, keys))(pictures())
    want = jax.jit(theirs)(pictures())
    np.testing.assert_array_equal(got, want)
    assert np.abs(np.asarray(want - pictures())).max() > 5


@pytest.mark.parametrize(
    "part, settings, message",
    [
        ("Affine", {"shear": 1.5}, r"Affine: shear=1\.5 would fold the image"),
        ("Affine", {"method": "bilinar"}, "method 'bilinar' - did you mean bilinear"),
        ("LensDistortion", {"strength": -0.4}, r"strength=-0\.4 would fold the image"),
        ("TrivialAugment", {"method": "cubic"}, "TrivialAugment: method 'cubic'"),
    ],
)
def test_a_mistake_is_one_line(part, settings, message):
    with pytest.raises(UserError, match=message):
        build(node(getattr(tasks.augment, part), **settings))
