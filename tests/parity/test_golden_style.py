"""Parity of style transfer's losses, of image quality, and of L-BFGS's iterates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import BOTH, Case, cases
from vision_jax.ops import similarity, style
from vision_jax.ops.lbfgs import lbfgs_state, lbfgs_step

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]


def maps(case, name):
    """Returns a stored NCHW map as NHWC."""
    return jnp.moveaxis(case[name], 1, -1)


def check_with_gradient(case, loss):
    """Compares a scalar of the map x, and its gradient."""
    value, gradient = jax.value_and_grad(loss)(maps(case, "x"))
    case.check("y", value)
    case.check("grad_x", jnp.moveaxis(gradient, -1, 1))


@BOTH
@pytest.mark.parametrize("name", ["gatys_content", "johnson_feature"])
def test_content_losses(name, kind):
    case = Case("style", name, kind)
    target, form = maps(case, "p"), name.partition("_")[0]
    check_with_gradient(case, lambda x: style.content_loss(x, target, form)[0])


@BOTH
@pytest.mark.parametrize("name", [n for n in cases("style") if "style_layer" in n])
def test_style_losses(name, kind):
    case = Case("style", name, kind)
    target = style.gram_matrix(maps(case, "a" if "a" in case.meta["inputs"] else "p"))
    form = name.partition("_")[0]
    check_with_gradient(case, lambda x: style.style_loss(x, target, form)[0])


@BOTH
@pytest.mark.parametrize("name", cases("style", "tv"))
def test_total_variation(name, kind):
    case = Case("style", name, kind)
    form = name.removeprefix("tv_")

    def loss(x):
        each = style.total_variation(x, form)
        return each.mean() if form == "l1_mean" else each.sum()

    check_with_gradient(case, loss)


@pytest.mark.parametrize("kind", [np.float64])
def test_image_quality(kind):
    case = Case("style", "psnr_ssim", kind)
    one, two = (case[name].astype(kind)[None] for name in ("one", "two"))
    lumas = similarity.luma(one), similarity.luma(two)
    case.check("luma", lumas[0][0, ..., 0])
    case.check("psnr_y", similarity.psnr(*lumas)[0])
    case.check("ssim_y", similarity.ssim(*lumas)[0])
    case.check("psnr_rgb", similarity.psnr(one, two)[0])
    case.check("ssim_rgb_channels", similarity.ssim(one, two)[0])
    case.check("ssim_uniform7", similarity.ssim(*lumas, window="uniform")[0])


def objective(case):
    """Returns the function that a case of L-BFGS minimises."""
    if "quadratic" in case.name:
        q, b = case["q"], case["b"]
        return lambda z: z @ q @ z / 2 - b @ z
    return lambda z: jnp.sum(100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2)


@pytest.mark.parametrize("kind", [np.float64])
@pytest.mark.parametrize("name", cases("style", "lbfgs"))
def test_lbfgs(name, kind):
    case = Case("style", name, kind)
    function, is_searching = objective(case), name.endswith("wolfe")

    def step(carry, _):
        *carry, value = lbfgs_step(function, *carry, line_search=is_searching)
        return tuple(carry), (value, carry[0])

    start = case["start"], lbfgs_state(case["start"], history=5)
    _, (values, iterates) = jax.jit(lambda s: jax.lax.scan(step, s, length=12))(start)
    case.check("values", values)
    case.check("iterates", iterates)
