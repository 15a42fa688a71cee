"""FCN's geometry: where maps lie, what the published crops are, and upsampling by every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models.layers import ConvTranspose
from vision_jax.models.layers.upsampling import Grid, Step, Upsample, grids, profile
from vision_jax.models.segmenters.fcn import PIXELS
from vision_jax.ops import upsample
from vision_jax.ops.conv import conv_transpose2d

RNG = np.random.default_rng(0)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def steps(model):
    """Returns the `Step`s of a published FCN, coarse to fine, as its head takes them."""
    endpoint_grids = {
        name: Grid(grid.stride, grid.centre - model.margin)
        for name, grid in grids(model.backbone).items()
    }
    last = max(endpoint_grids, key=lambda name: endpoint_grids[name].stride)
    grid = endpoint_grids[last].moved((model.head.window - 1) / 2)
    taken = []
    for name in model.head.skips:
        taken.append(Step.between(grid, endpoint_grids[name]))
        grid = endpoint_grids[name].moved(taken[-1].first)
    return [*taken, Step.between(grid, PIXELS)]


@pytest.mark.parametrize(
    "base, stride, crops, kernels",
    [
        # The numbers of the published networks (the image's pixel 0 lies on pixel 19 of 32s).
        ("vgg16", 32, [-19], [64]),
        ("vgg16", 16, [5, -27], [4, 32]),
        ("vgg16", 8, [5, 9, -31], [4, 4, 16]),
        ("alexnet", 32, [-18], [63]),
    ],
)
def test_crops_follow_from_the_backbone(base, stride, crops, kernels):
    found = steps(models.fcn(base, stride))
    assert [step.first for step in found] == crops
    assert [step.kernel for step in found] == kernels


@pytest.mark.parametrize("base", ["alexnet", "vgg16", "googlenet", "resnet50"])
@pytest.mark.parametrize("published", [True, False])
def test_every_backbone_returns_the_images_size(base, published):
    """Also odd ones; nothing is computed. Each stride reads the maps of the strides down to it."""
    for stride, size, read in ((16, (97, 131), [16]), (8, (64, 96), [16, 8])):
        model = models.fcn(base, stride, 5, published)
        image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
        assert outputs["logits"].shape == (1, *size, 5)
        assert [model.strides[name] for name in model.head.skips] == read


@pytest.mark.parametrize("kernel", [3, 4, 16, 63])
def test_the_tent_is_the_published_one(kernel):
    """Pixel by pixel: one at its centre, falling to zero within a stride's distance."""
    stride = (kernel + 1) // 2
    centre = stride - 1 if kernel % 2 else stride - 0.5
    expected = [1 - abs(i - centre) / stride for i in range(kernel)]
    np.testing.assert_allclose(profile("bilinear", kernel, stride), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["bilinear", "nearest", "nails"])
@pytest.mark.parametrize("stride, kernel", [(2, 4), (4, 7)])
def test_a_learned_layer_begins_as_the_fixed_one(kind, stride, kernel):
    x = draw(2, 3, 4, 5)
    layer = Upsample(stride, kernel, kind)
    cut = ((1, 2), (5, 7))
    learned = layer.apply(layer.init(jax.random.key(0), x, *cut), x, *cut)
    fixed = layer.clone(learned=False)
    assert not jax.tree.leaves(fixed.init(jax.random.key(0), x, *cut))
    np.testing.assert_allclose(fixed.apply({}, x, *cut), learned, atol=1e-6)
    whole = conv_transpose2d(
        x,
        jnp.asarray(np.outer(*[profile(kind, kernel, stride)] * 2)[:, :, None, None])
        * jnp.eye(5)[None, None],
        stride,
    )
    np.testing.assert_allclose(learned, whole[:, 1:6, 2:9], atol=1e-6)


def test_nearest_repeats_and_nails_leave_zeros():
    x = draw(1, 3, 3, 2)
    near = Upsample(4, 8, "nearest", learned=False).apply({}, x, (2, 2), (12, 12))
    np.testing.assert_allclose(near, upsample.nearest(x, 4), atol=1e-6)
    nails = Upsample(4, 8, "nails", learned=False).apply({}, x, (3, 3), (12, 12))
    np.testing.assert_allclose(nails, upsample.bed_of_nails(x, 4), atol=1e-6)


def test_a_random_kernel_keeps_the_scale_and_must_be_learned():
    x = draw(1, 16, 16, 32)
    layer = Upsample(4, 8, "random")
    y = layer.init_with_output(jax.random.key(0), x, (0, 0), (64, 64))[0]
    assert 0.7 < float(y[:, 8:56, 8:56].std()) < 1.4
    with pytest.raises(UserError, match="fixed kernels are"):
        layer.clone(learned=False).apply({}, x, (0, 0), (64, 64))


def test_transposed_convolution_layer():
    x = draw(1, 4, 5, 3)
    layer = ConvTranspose(2, 3, 2, 1)
    variables = layer.init(jax.random.key(0), x)
    bias = jnp.array([1.0, -2.0])
    params = {**variables["params"], "bias": bias}
    wanted = conv_transpose2d(x, params["kernel"], 2, 1) + bias[None, None, None]
    np.testing.assert_allclose(layer.apply({"params": params}, x), wanted, atol=1e-6)


def small(skips=("pool4", "pool3"), margin=0, ceil=True, **options):
    head = models.FCNHead(3, (8,), 3, skips, dropout=0.0, **options)
    return models.FCN(models.VGG(((3,), (3,), (3,), (3,), (3,)), 4, ceil_mode=ceil), head, margin)


def drawn(model, seed=1):
    """Variables without a zero that keep activations at their size."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    rng = np.random.default_rng(seed)

    def one(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
        return jnp.asarray(rng.normal(0, (2 / fan_in) ** 0.5, leaf.shape), jnp.float32)

    return jax.tree.map(one, shapes)


def test_maps_lie_where_they_should():
    """With kernels that are their own mirror images, a mirrored image gives mirrored logits: true
    only if all maps' pixels are where they are thought to be."""
    model = small()
    variables = drawn(model)
    variables = jax.tree.map(lambda a: (a + a[:, ::-1]) / 2 if a.ndim == 4 else a, variables)
    image = draw(1, 64, 96, 3)
    run = jax.jit(model.apply)
    logits, mirrored = (run(variables, x)["logits"] for x in (image, image[:, :, ::-1]))
    assert float(logits.std()) > 0.05
    np.testing.assert_allclose(mirrored[:, :, ::-1], logits, atol=1e-5)


def test_a_shift_by_the_stride_shifts_the_logits():
    """In the published form, far from the border and at an odd size."""
    model = small(margin=99)
    variables = drawn(model)
    image = draw(1, 101, 77, 3)
    shifted = jnp.pad(image, ((0, 0), (32, 0), (32, 0), (0, 0)))
    run = jax.jit(model.apply)
    logits, moved = run(variables, image)["logits"], run(variables, shifted)["logits"]
    assert logits.shape == (1, 101, 77, 3) and moved.shape == (1, 133, 109, 3)
    np.testing.assert_allclose(moved[:, 32:, 32:], logits, atol=1e-5)


def test_scales_are_factors_on_the_skips():
    model = small()
    variables = drawn(model)
    scaled = model.clone(head=model.head.clone(scales=(0.5, 0.25)))
    image = draw(1, 64, 96, 3)
    head = dict(variables["params"]["head"])
    for name, factor in (("score_pool4", 0.5), ("score_pool3", 0.25)):
        head[name] = {**head[name], "kernel": head[name]["kernel"] * factor}
    given = {"params": {**variables["params"], "head": head}}
    wanted = jax.jit(model.apply)(given, image)["logits"]
    found = jax.jit(scaled.apply)(variables, image)["logits"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"skips": ("pool7",)}, "the backbone has no map 'pool7'"),
        ({"scales": (0.1,)}, "1 scales for 2 skips"),
        ({"margin": 33, "ceil": False}, "use a larger margin"),
    ],
)
def test_a_mistake_is_one_line(options, message):
    image = jax.ShapeDtypeStruct((1, 93, 93, 3), jnp.float32)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(small(**options).init, jax.random.key(0), image)


def test_which_upsampling_has_parameters():
    wanted = {
        "all": {"upscore_pool4", "upscore_pool3", "upscore"},
        "inner": {"upscore_pool4", "upscore_pool3"},
        "none": set(),
    }
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    for learn, names in wanted.items():
        params = jax.eval_shape(small(learn=learn).init, jax.random.key(0), image)["params"]
        assert {name for name in params["head"] if name.startswith("up")} == names
