"""Images of odd sizes, from the smallest to twice the published ones: nothing is computed.

What only training needs, such as an auxiliary head, must not forbid evaluation or `init` where the
rest of the network has room, and must not add to what evaluation computes.
"""

import collections
import functools

import jax
import jax.numpy as jnp
import pytest
from jax.interpreters import partial_eval

from tests.models.detectors.tiny_detectors import ALL_DETECTORS
from tests.models.test_models_all import DEEPER, NETWORKS, ONE_SIZE
from vision_jax import models
from vision_jax.config import UserError

# Those with parts for training alone, with and without them.
AUXILIARY = {
    "GoogLeNet": (models.GoogLeNet, functools.partial(models.GoogLeNet, aux=False), 224),
    "InceptionV3": (models.InceptionV3, functools.partial(models.InceptionV3, aux=False), 299),
    "FCNResNet50": (models.FCNResNet50, functools.partial(models.FCNResNet50, aux=False), 160),
}
WALKED = [name for name in NETWORKS if name not in (*ONE_SIZE, *DEEPER)]
SHARES = (0.2, 0.45, 0.8, 1.3, 2)  # of the published size


def image(height, width, channels=3):
    return jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)


def odd(size):
    """Returns a size that no stride divides, and another for the width."""
    height = int(size) - 1 + int(size) % 2
    return height, height + 12


def shapes_of(run, *arguments):
    """Returns a function's shapes, or None where it says that the image is too small."""
    try:
        return jax.eval_shape(run, *arguments)
    except UserError as error:
        assert "give a larger image" in str(error) and "\n" not in str(error)
        return None


def operations(model, variables, given):
    """Counts what the answer in evaluation is computed with, by kind."""
    traced = jax.make_jaxpr(lambda v, x: model.apply(v, x)["logits"])(variables, given)
    used, _ = partial_eval.dce_jaxpr(traced.jaxpr, [True])
    counts = collections.Counter()

    def walk(program):
        for equation in program.eqns:
            counts[equation.primitive.name] += 1
            for inner in jax.core.jaxprs_in_params(equation.params):
                walk(inner)

    walk(used)
    return counts


@pytest.mark.parametrize(
    "name", ["GoogLeNet", *(pytest.param(n, marks=pytest.mark.slow) for n in [*AUXILIARY][1:])]
)
def test_parts_for_training_forbid_no_size_and_cost_nothing(name):
    whole, plain, size = AUXILIARY[name]
    whole, plain = whole(), plain()
    published = jax.eval_shape(whole.init, jax.random.key(0), image(size, size))
    alone = jax.eval_shape(plain.init, jax.random.key(0), image(size, size))
    for share in (0.2, 0.8):
        given = image(*odd(share * size))
        expected = shapes_of(plain.apply, alone, given)
        found = shapes_of(whole.apply, published, given)
        assert (found is None) == (expected is None), given.shape
        if found is not None:
            assert found["logits"] == expected["logits"]
    small = image(*odd(0.45 * size))
    made = jax.eval_shape(whole.init, jax.random.key(0), small)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, published)
    given = image(*odd(size))
    counts = [operations(m, v, given) for m, v in ((whole, published), (plain, alone))]
    assert counts[0] == counts[1]
    assert counts[0].total() > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKED)
def test_every_classifier_takes_odd_sizes(name):
    """A size that a network takes is never followed by a larger one that it refuses."""
    network, size, channels, _ = NETWORKS[name]
    model = network()
    variables = jax.eval_shape(model.init, jax.random.key(0), image(size, size, channels))
    answers = [
        shapes_of(model.apply, variables, image(*odd(share * size), channels)) for share in SHARES
    ]
    first = next(i for i, answer in enumerate(answers) if answer is not None)
    assert first < SHARES.index(1.3)
    assert all(answer["logits"].shape == (1, 1000) or size == 32 for answer in answers[first:])


def _detected(model, images, sizes):
    outputs, _ = model.init_with_output(jax.random.key(0), images, sizes)
    return model.detect(outputs, sizes)


@pytest.mark.parametrize(
    "height, width", [(51, 63), pytest.param(127, 139, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", ALL_DETECTORS)
def test_every_detector_takes_odd_sizes(name, height, width):
    model, sizes = ALL_DETECTORS[name](), jax.ShapeDtypeStruct((1, 2), jnp.float32)
    run = functools.partial(_detected, model)
    try:
        detections = jax.eval_shape(run, image(height, width), sizes)
    except UserError as error:
        assert name.startswith("yolo") and "\n" not in str(error)
        assert "sides are multiples" in str(error) or name.startswith("yolo_v1")
        return
    assert detections.boxes.shape[0] == 1
