"""Parity of what style transfer minimises on VGG: losses, the image's gradient, first steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.golden.seeded import Golden, subsample
from tests.parity.golden_cases import FOLDER
from vision_jax.models.classifiers.vgg import CONFIGURATIONS, VGG
from vision_jax.ops import lbfgs
from vision_jax.ops.style import content_loss, gram_matrix, style_loss, total_variation
from vision_jax.weights import engine, shared_rows

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]
BOTH = pytest.mark.parametrize("kind", [np.float32, np.float64])


def read(name, configuration, pool="max"):
    """Returns the file, its backbone with all layers as endpoints, and the backbone's variables."""
    golden = Golden(FOLDER / "models" / f"{name}.npz")
    model = VGG(CONFIGURATIONS[configuration], pool=pool)
    model = model.clone(keep=tuple(n for stage in shared_rows.vgg_stages(model) for n in stage))
    table = engine.Table("torchvision", rows)
    return golden, model, engine.read(golden.state_dict(), model, [table], heads=()).variables


def rows(model):
    """Yields the layers of torchvision's `features` alone."""
    for row in shared_rows.vgg_by_number(model, "features.")[0]:
        yield engine.Row(row.reference, row.path.removeprefix("backbone/"), row.kind)


def check(golden, name, value, kind):
    """Compares an output with what is stored of it."""
    info, wanted = golden.meta["outputs"][name], golden[name].reshape(-1)
    value = np.asarray(value)
    assert list(value.shape) == info["shape"], name
    rounding = np.finfo(np.float32 if kind is np.float32 else wanted.dtype).eps / 2
    allowed = 10 * info["float32_max_abs_diff"] if kind is np.float32 else 1e-9 * info["absmax"]
    error = np.abs(subsample(value, info["stride"]) - wanted).max()
    assert error <= max(allowed, rounding * info["absmax"]), f"{name}: {error}"


def nchw(x):
    return jnp.moveaxis(x, -1, 1)


def features(model, variables, x):
    """Returns a batch's maps by the reference's names, 'relu1_1'."""
    outputs = model.apply(variables, x)
    return {name.replace("conv", "relu"): outputs[name] for name in model.keep}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.float64])  # in float32 it is further off, unexplained so far
@pytest.mark.parametrize("pool", ["max"])
def test_gatys(pool, kind):
    golden, model, state = read(f"gatys_vgg19_{pool}", "E", pool)
    options = golden.meta["options"]
    variables = jax.tree.map(lambda a: jnp.asarray(a, kind), state)
    photo, style, start = (
        jnp.moveaxis(jnp.asarray(golden.inputs()[name], kind), 1, -1)
        for name in ("photo", "style", "start")
    )
    maps = jax.jit(functools.partial(features, model))
    content = {name: maps(variables, photo)[name] for name in options["content_layers"]}
    grams = {name: gram_matrix(maps(variables, style)[name]) for name in options["style_layers"]}

    def losses(x):
        of = features(model, variables, x)
        contents = jnp.stack([content_loss(of[n], target)[0] for n, target in content.items()])
        styles = jnp.stack([style_loss(of[n], gram)[0] for n, gram in grams.items()])
        shares = jnp.asarray(options["style_layer_weights"], kind)
        total = options["alpha"] * contents.sum() + options["beta"] * (shares * styles).sum()
        return total, (contents, styles, of)

    found = jax.jit(jax.value_and_grad(losses, has_aux=True))(start)
    (total, (contents, styles, of)), gradient = found
    check(golden, "eval/content_loss", contents, kind)
    check(golden, "eval/style_losses", styles, kind)
    check(golden, "eval/total", total, kind)
    check(golden, "eval/grad", nchw(gradient), kind)
    for name in (*content, *grams):
        check(golden, f"eval/{name}", nchw(of[name]), kind)
    check_fits(golden, lambda x: losses(x)[0], start, kind)


def check_fits(golden, objective, start, kind):
    """Compares six steps of Adam and six of L-BFGS."""

    def adam(x):
        optimizer = optax.adam(2.0, eps=1e-8)

        def step(carry, _):
            x, state = carry
            value, gradient = jax.value_and_grad(objective)(x)
            updates, state = optimizer.update(gradient, state)
            return (x + updates, state), value

        (x, _), values = jax.lax.scan(step, (x, optimizer.init(x)), length=6)
        return x, values

    image, values = jax.jit(adam)(start)
    check(golden, "fit/adam_values", values, kind)
    check(golden, "fit/adam_image", nchw(image), kind)
    image, _, values = jax.jit(lambda x: lbfgs(objective, x, 6))(start)
    check(golden, "fit/lbfgs_values", values, kind)
    check(golden, "fit/lbfgs_image", nchw(image), kind)


@BOTH
def test_johnsons_losses(kind):
    golden, model, state = read("johnson_losses_vgg16", "D")
    layers = golden.meta["options"]["layers"]
    variables = jax.tree.map(lambda a: jnp.asarray(a, kind), state)
    given = {name: jnp.moveaxis(jnp.asarray(x, kind), 1, -1) for name, x in golden.inputs().items()}

    def maps(x):
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        mean, deviation = (jnp.asarray(v, kind)[None, None, None] for v in (mean, deviation))
        return features(model, variables, (x / 255 - mean) / deviation)

    content, styled = maps(given["content"]), maps(given["style"])

    def total(x):
        of = maps(x)
        kept = jnp.stack([content_loss(of[n], content[n], "johnson") for n in layers])
        grams = [gram_matrix(styled[n]) for n in layers]
        styles = [style_loss(of[n], g, "johnson") for n, g in zip(layers, grams, strict=True)]
        styles, variation = jnp.stack(styles), total_variation(x, "l2_sum").sum()
        loss = kept[layers.index("relu2_2")].mean() + 5 * styles.mean(1).sum() + 1e-6 * variation
        return loss, (kept, styles, variation, of)

    found = jax.jit(jax.value_and_grad(total, has_aux=True))(given["output"])
    (loss, (kept, styles, variation, of)), gradient = found
    check(golden, "eval/feature_losses", kept, kind)
    check(golden, "eval/style_losses", styles, kind)
    check(golden, "eval/tv", variation, kind)
    check(golden, "eval/total", loss, kind)
    check(golden, "eval/grad_output", nchw(gradient), kind)
    for name in layers:
        check(golden, f"eval/{name}", nchw(of[name]), kind)
