"""One walk over every segmenter: it learns four images by heart, and no batch or size breaks it."""

import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import quickstart_segmentation
from tests.hall.test_resume import wait_for_step
from tests.models.segmenters import tiny_segmenters
from tests.models.segmenters.tiny_segmenters import CLASSES, SEGMENTERS
from vision_jax import models
from vision_jax.config import build
from vision_jax.evaluation import Segmentation as Scores
from vision_jax.tasks import Segmentation
from vision_jax.training import (
    AdamW,
    Checkpoints,
    Cosine,
    Optimizer,
    create,
    initial,
    make_train_step,
    paths,
)

STEPS, RATE = 400, 1e-2  # in which, and with which, four images are learned by heart
pytestmark = pytest.mark.usefixtures("embedded_data")


def walk(names, cheap):
    """Returns the names, of which all but the cheap ones are run by `-m slow` alone."""
    return [pytest.param(n, marks=() if n in cheap else pytest.mark.slow) for n in names]


@functools.cache
def images():
    return tiny_segmenters.images()


@functools.cache
def made(name):
    """Returns the task, its first state and its compiled step and prediction."""
    make, _ = SEGMENTERS[name]
    task = Segmentation(make(), mean=(0.5,) * 3, std=(0.25,) * 3)
    variables = task.init(jax.random.key(0), images())
    optimizer = Optimizer(AdamW(), Cosine(RATE), clip=10.0)
    update = optimizer.build(variables["params"], STEPS, STEPS)
    step = jax.jit(make_train_step(task, update))
    return task, create(variables, update), step, jax.jit(task.predict)


FINE = [name for name, (_, stride) in SEGMENTERS.items() if stride <= 2]  # follow an outline


@pytest.mark.parametrize("name", walk(FINE, ("fcn",)))
def test_four_images_are_learned_by_heart(name):
    _, state, step, predict = made(name)
    for _ in range(STEPS):
        state, _ = step(state, images(), 0)
    found = predict(state.variables, images())
    metric = Scores(CLASSES)
    result = metric.result(np.asarray(metric.update(found, images())))
    assert result["miou"] > 0.99


@pytest.mark.parametrize("name", walk(SEGMENTERS, ("fcn", "segnet")))
def test_no_batch_breaks_it(name):
    _, state, step, predict = made(name)
    batch = images()
    start = state.params
    for _ in range(3):  # scores that begin at zero keep what is below them from learning at first
        state, _ = step(state, batch, 0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
        old = functools.reduce(lambda tree, entry: tree[entry.key], path, start)
        assert np.any(leaf != old), path
    compiled = step._cache_size()
    labels = batch.targets.segmentation
    odd = {
        "nothing but void": _with_labels(batch, jnp.full_like(labels, 255)),
        "one image's pixels": _with_labels(batch, labels.at[1:].set(255)),
        "padding alone": batch.replace(valid=jnp.zeros(4, bool)),
    }
    for title, given in odd.items():
        new, measured = step(state, given, 0)
        assert measured["finite"], (title, measured)
        assert (measured["loss"] == 0) == (title != "one image's pixels"), title
        for path, leaf in jax.tree_util.tree_leaves_with_path((new.params, new.collections)):
            assert np.isfinite(np.asarray(leaf, np.float32)).all(), (title, path)
    assert np.isfinite(predict(state.variables, batch)["logits"]).all()
    assert step._cache_size() == compiled and predict._cache_size() == 1


def _with_labels(batch, labels):
    return batch.replace(targets=batch.targets.replace(segmentation=labels))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_logits_have_the_images_size(name):
    """Odd ones too; the same keys in training; half precision throughout. Nothing is computed."""
    make, _ = SEGMENTERS[name]
    model = make()
    image = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    train = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    for size in ((64, 64), (65, 83), (97, 70)):
        image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        outputs = jax.eval_shape(model.apply, variables, image)
        assert outputs["logits"].shape == (2, *size, CLASSES)
        assert all(aux.shape == (2, *size, CLASSES) for aux in outputs.get("aux_logits", ()))
    trained, _ = jax.eval_shape(lambda v, x, k: train(v, x, keys=k), variables, image, keys)
    assert jax.tree.map(jnp.shape, trained) == jax.tree.map(jnp.shape, outputs)
    half = jax.eval_shape(make("bfloat16").apply, variables, image)
    assert {x.dtype.name for x in jax.tree.leaves(half)} == {"bfloat16"}
    stacked = jax.ShapeDtypeStruct((3, *image.shape), jnp.float32)
    mapped = jax.eval_shape(jax.vmap(model.apply, (None, 0)), variables, stacked)
    assert mapped["logits"].shape == (3, 2, *size, CLASSES)


@pytest.mark.parametrize("name", walk(SEGMENTERS, ("full_resolution",)))
def test_compiled_or_not_alone_or_in_a_batch(name):
    task, state, _, predict = made(name)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda a: a + jnp.asarray(rng.normal(0, 0.02, a.shape), a.dtype), state.variables
    )
    together = predict(variables, images())["logits"]
    scale = float(jnp.abs(together).max())
    assert float(together.std()) > 0
    one = jax.tree.map(lambda x: x[1:2], images())
    with jax.disable_jit():
        alone = task.predict(variables, one)["logits"]
    np.testing.assert_allclose(alone[0], together[1], atol=2e-5 * scale)


@pytest.mark.parametrize("name", walk(SEGMENTERS, ("fcn",)))
def test_half_precision_follows(name):
    make, _ = SEGMENTERS[name]
    _, state, _, predict = made(name)
    half = Segmentation(make("bfloat16"), mean=(0.5,) * 3, std=(0.25,) * 3)
    wanted = np.asarray(predict(state.variables, images())["logits"])
    found = np.asarray(jax.jit(half.predict)(state.variables, images())["logits"], np.float32)
    assert np.abs(found - wanted).max() < 0.05 * max(np.abs(wanted).max(), 1e-3)


def test_patches_are_windows_of_the_image():
    """Each pixel's scores are the classifier's of the window around it, for every fourth pixel."""
    task, state, _, predict = made("patches")
    batch = images()
    logits = np.asarray(predict(state.variables, batch)["logits"])
    model = task.model
    classifier = models.Classifier(model.backbone, model.head)
    padded = np.pad(task.normalize(batch.image), ((0, 0), (4, 4), (4, 4), (0, 0)))
    places = [(0, 0, 0), (1, 20, 36), (3, 60, 60), (2, 8, 0)]
    windows = [padded[b, y : y + 9, x : x + 9] for b, y, x in places]
    found = jax.jit(classifier.apply)(state.variables, jnp.stack(windows))["logits"]
    for (b, y, x), wanted in zip(places, np.asarray(found), strict=True):
        block = logits[b, y : y + 4, x : x + 4]
        np.testing.assert_allclose(block, np.broadcast_to(wanted, block.shape), atol=1e-5)


# Published numbers of parameters, or what the papers' tables of layers add up to.
PARAMETERS = {
    "FCN32s": (functools.partial(models.fcn, "vgg16", 32, learn="all"), 136_152_917),
    "FCN16s": (functools.partial(models.fcn, "vgg16", 16, learn="all"), 134_815_994),
    "FCN8s": (functools.partial(models.fcn, "vgg16", 8, learn="all"), 134_489_759),
    "FCNResNet50": (models.FCNResNet50, 35_322_218),
    "DeepLabV3ResNet50": (models.DeepLabV3ResNet50, 42_004_074),
    "SegNet": (functools.partial(models.segnet, 21, last="norm"), 29_455_167),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_parameters(name):
    network, count = PARAMETERS[name]
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(network().init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


def test_deconvnet_is_a_mirror():
    """Its maps on 224x224 images, and its weights: twice VGG-16's fc6 and its convolutions'."""
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    outputs, variables = jax.eval_shape(
        models.DeconvNet().init_with_output, jax.random.key(0), image
    )
    sides = [outputs[name].shape[1:] for name in ("features", "deconv_fc6", "deconv5", "deconv4")]
    assert sides == [(1, 1, 4096), (7, 7, 512), (14, 14, 512), (28, 28, 256)]
    sides = [outputs[name].shape[1:] for name in ("deconv3", "deconv2", "deconv1")]
    assert sides == [(56, 56, 128), (112, 112, 64), (224, 224, 64)]
    kernels = {"backbone": 0, "fc": 0, "deconv": 0, "score": 0}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        part, layer, *_ = names = [entry.key for entry in path]
        kind = part if part == "backbone" else next(k for k in kernels if layer.startswith(k))
        kernels[kind] += leaf.size if names[-1] == "kernel" else 0
    assert kernels["fc"] == 7 * 7 * 512 * 4096 + 4096 * 4096
    first, last = 9 * 3 * 64, 9 * 64 * 64  # the image's channels are not restored
    assert kernels["deconv"] == 7 * 7 * 4096 * 512 + kernels["backbone"] - first + last


def _stage(skips, weights=None):
    config = quickstart_segmentation.get_config("smoke")
    model = config.task.model
    model.backbone.update({"stages": (1,), "width": 8})
    model.head.update({"skips": skips, "learn": "inner", "hidden": (8,), "window": 3})
    config.init.weights = weights
    return build(config)


def test_a_finer_stage_begins_with_all_of_the_coarser_one(tmp_path):
    """As 32s → 16s by `init.weights`: only the new scores and the new upsampling are fresh."""
    _, state, _ = initial.state(_stage(()))
    coarse = {path: np.asarray(x) + 0.5 for path, x in paths.flatten(state.params).items()}
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, state.replace(params=paths.like(state.params, coarse)), {})
    checkpoints.close()
    fresh, found = (
        paths.flatten(initial.variables(_stage(("conv1",), weights))[0]["params"])
        for weights in (None, str(tmp_path))
    )
    own = {path for path in found if path not in coarse}
    assert {path.split("/")[1] for path in own} == {"score_conv1", "upscore_conv1"}
    for path, value in found.items():
        wanted = fresh if path in own else coarse
        np.testing.assert_array_equal(value, wanted[path], err_msg=path)


@pytest.mark.slow
def test_killed_and_resumed_by_bits(tmp_path):
    """A run that is killed and resumed ends as one that was left alone."""
    command = ["launch.py", "--config", "experiments/quickstart_segmentation.py:smoke"]
    command = [sys.executable, *command, "--config.steps=24", "--config.checkpoint_every=5"]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}

    def start(folder):
        return subprocess.Popen(
            [*command, "--workdir", str(folder)],
            cwd=pathlib.Path(__file__).parents[3],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(folder):
        process = start(folder)
        out = process.communicate(timeout=300)[0]
        assert process.returncode == 0, out

    def bits(folder):
        config = quickstart_segmentation.get_config("smoke")
        checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
        state, _ = checkpoints.restore(initial.state(build(config))[1], 24)
        checkpoints.close()
        arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
        return (folder / "metrics.jsonl").read_bytes(), arrays

    finish(tmp_path / "whole")
    process = start(tmp_path / "cut")
    wait_for_step(tmp_path / "cut", 13, process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "cut" / "DONE").exists()
    finish(tmp_path / "cut")
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")
