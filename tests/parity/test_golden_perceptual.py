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
MOST_TURNED = 1e-5  # share of all choices that rounding may turn
ADAM, STEPS = 2.0, 6  # of the golden files' fits
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


class Gatys:
    """What a golden file minimises, in one precision."""

    def __init__(self, pool, kind):
        self.golden, self.model, state = read(f"gatys_vgg19_{pool}", "E", pool)
        self.options = self.golden.meta["options"]
        self.variables = jax.tree.map(lambda a: jnp.asarray(a, kind), state)
        photo, picture, self.start = (
            jnp.moveaxis(jnp.asarray(self.golden.inputs()[name], kind), 1, -1)
            for name in ("photo", "style", "start")
        )
        content, styled = (self.maps(x) for x in (photo, picture))
        self.content = {name: content[name] for name in self.options["content_layers"]}
        self.grams = {name: gram_matrix(styled[name]) for name in self.options["style_layers"]}
        self.shares = jnp.asarray(self.options["style_layer_weights"], kind)

    @functools.cached_property
    def maps(self):
        """The maps of a batch, compiled."""
        return functools.partial(jax.jit(functools.partial(features, self.model)), self.variables)

    def losses(self, x):
        """Returns the total, and the losses of layers with the maps."""
        of = features(self.model, self.variables, x)
        contents = jnp.stack([content_loss(of[n], p)[0] for n, p in self.content.items()])
        styles = jnp.stack([style_loss(of[n], gram)[0] for n, gram in self.grams.items()])
        alpha, beta = self.options["alpha"], self.options["beta"]
        return alpha * contents.sum() + beta * (self.shares * styles).sum(), (contents, styles, of)

    def total(self, x):
        return self.losses(x)[0]

    def adam(self):
        """Returns, of six steps, the images from the start on, losses and gradients."""
        optimizer = optax.adam(ADAM, eps=1e-8)

        def step(carry, _):
            x, state = carry
            value, gradient = jax.value_and_grad(self.total)(x)
            updates, state = optimizer.update(gradient, state)
            return (x + updates, state), (x, value, gradient)

        def fit(x):
            (x, _), beside = jax.lax.scan(step, (x, optimizer.init(x)), length=STEPS)
            return x, *beside

        return jax.jit(fit)(self.start)


# One of each for every golden run; the others are slow.
FAST = [("avg", np.float32)]
EACH = [
    pytest.param(p, k, marks=[] if (p, k) in FAST else pytest.mark.slow)
    for p in ("max", "avg")
    for k in (np.float32, np.float64)
]


@pytest.mark.parametrize(("pool", "kind"), EACH)
def test_gatys_losses(pool, kind):
    gatys = Gatys(pool, kind)
    golden = gatys.golden
    found = jax.jit(jax.value_and_grad(gatys.losses, has_aux=True))(gatys.start)
    (total, (contents, styles, of)), gradient = found
    check(golden, "eval/content_loss", contents, kind)
    check(golden, "eval/style_losses", styles, kind)
    check(golden, "eval/total", total, kind)
    check(golden, "eval/grad", nchw(gradient), kind)
    for name in (*gatys.content, *gatys.grams):
        check(golden, f"eval/{name}", nchw(of[name]), kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.float64])
@pytest.mark.parametrize("pool", ["max", "avg"])
def test_gatys_fits(pool, kind):
    """Six steps of Adam are the golden's; of L-BFGS, which is chaotic, two losses are."""
    gatys = Gatys(pool, kind)
    image, _, values, _ = gatys.adam()
    check(gatys.golden, "fit/adam_values", values, kind)
    check(gatys.golden, "fit/adam_image", nchw(image), kind)
    _, _, values = jax.jit(lambda x: lbfgs(gatys.total, x, 2))(gatys.start)
    wanted = gatys.golden["fit/lbfgs_values"].reshape(-1)
    np.testing.assert_allclose(values, wanted[:2], rtol=1e-9)


@pytest.mark.slow
def test_a_choice_that_rounding_turns_is_what_parts_float32_from_float64():
    """In one of six steps a window's largest value, or a ReLU's side of zero, is another.

    The gradient jumps there, and Adam, which divides by its size, makes much of it: the image ends
    up to .4 of 255 off the golden's, whose own float32 met no tie. Wherever all choices are the
    same, float32's gradient is the exact one.
    """
    gatys = Gatys("max", np.float32)
    golden = gatys.golden
    _, images, values, gradients = gatys.adam()
    coarse = [choices(gatys, x) for x in images]
    allowed = 10 * golden.meta["outputs"]["eval/grad"]["float32_max_abs_diff"]
    errors, shares = [], []
    with jax.enable_x64(True):
        exact = Gatys("max", np.float64)
        gradient_of = jax.jit(jax.grad(exact.total))
        for x, gradient, some in zip(images, gradients, coarse, strict=True):
            wide = jnp.asarray(x, np.float64)
            errors.append(np.abs(np.asarray(gradient, float) - np.asarray(gradient_of(wide))).max())
            shares.append(turned(some, choices(exact, wide)))
    for error, share in zip(errors, shares, strict=True):
        assert share < MOST_TURNED
        assert error <= allowed or share > 0, (errors, shares)
    same = next((step for step, share in enumerate(shares) if share), STEPS - 1) + 1
    wanted = golden["fit/adam_values"].reshape(-1)[:same]
    off = 10 * golden.meta["outputs"]["fit/adam_values"]["float32_max_abs_diff"]
    np.testing.assert_allclose(values[:same], wanted, atol=off, rtol=0)


def choices(gatys, x):
    """Returns the sides of all ReLUs, and the largest of each window that is pooled."""
    maps = {name: np.asarray(value) for name, value in gatys.maps(x).items()}
    sides = [value > 0 for value in maps.values()]
    last = {name[:5]: value for name, value in maps.items()}  # of each stage: it is pooled
    return sides, [winners(value) for value in last.values()]


def winners(x):
    """Returns which value of each 2×2 window is the largest, the first of equal ones."""
    height, width = (side // 2 * 2 for side in x.shape[1:3])
    rows = x[:, :height, :width].reshape(len(x), height // 2, 2, width // 2, 2, -1)
    return rows.transpose(0, 1, 3, 5, 2, 4).reshape(*rows[:, :, 0, :, 0].shape, 4).argmax(-1)


def turned(some, others):
    """Returns the share of choices that differ."""
    pairs = [pair for kind in zip(some, others, strict=True) for pair in zip(*kind, strict=True)]
    return sum(int((a != b).sum()) for a, b in pairs) / sum(a.size for a, _ in pairs)


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
