"""Every network, walked over: nothing is added untested."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.inspect import summarize
from vision_jax.models import Classifier, FcHead, Layers, PoolHead
from vision_jax.models.layers import NO_NORM

# name: (network by its settings, image size, channels, parameters).
NETWORKS = {
    "LeNet5": (models.LeNet5, 32, 1, 61_750),
    "LeNet5-today": (
        functools.partial(models.LeNet5, act="relu", pool="max", padding=2), 28, 1, 61_706
    ),
    "AlexNet": (models.AlexNet, 227, 3, 60_965_224),
    "AlexNet2014": (models.AlexNet2014, 224, 3, 61_100_840),
    "ZFNet": (models.ZFNet, 224, 3, 62_357_608),
    "ZFNet-wide": (functools.partial(models.ZFNet, wide=True), 224, 3, 107_627_624),
    "VGG11": (models.VGG11, 224, 3, 132_863_336),
    "VGG11-LRN": (functools.partial(models.vgg, "A-LRN"), 224, 3, 132_863_336),
    "VGG13": (models.VGG13, 224, 3, 133_047_848),
    "VGG16-C": (functools.partial(models.vgg, "C"), 224, 3, 133_638_952),
    "VGG16": (models.VGG16, 224, 3, 138_357_544),
    "VGG16-BN": (functools.partial(models.VGG16, layers=Layers()), 224, 3, 138_365_992),
    "VGG19": (models.VGG19, 224, 3, 143_667_240),
    "GoogLeNet": (models.GoogLeNet, 224, 3, 13_004_888),
    "GoogLeNet-main": (functools.partial(models.GoogLeNet, aux=False), 224, 3, 6_624_904),
    "GoogLeNet2014": (functools.partial(models.GoogLeNet2014, aux=False), 224, 3, 6_998_552),
    "InceptionV3": (models.InceptionV3, 299, 3, 27_161_264),
    "ResNet18": (models.ResNet18, 224, 3, 11_689_512),
    "ResNet34": (models.ResNet34, 224, 3, 21_797_672),
    "ResNet50": (models.ResNet50, 224, 3, 25_557_032),
    "ResNet50-v1": (functools.partial(models.ResNet50, version="v1"), 224, 3, 25_557_032),
    "ResNet101": (models.ResNet101, 224, 3, 44_549_160),
    "ResNet152": (models.ResNet152, 224, 3, 60_192_808),
    "ResNet50B": (models.ResNet50B, 224, 3, 25_557_032),
    "ResNet50C": (models.ResNet50C, 224, 3, 25_576_264),
    "ResNet50D": (models.ResNet50D, 224, 3, 25_576_264),
    "ResNet18D": (functools.partial(models.resnet_d, 18), 224, 3, 11_708_744),
    "ResNet50V2": (models.ResNet50V2, 224, 3, 25_549_352),
    "CifarResNet20": (functools.partial(models.CifarResNet, 20), 32, 3, 269_722),
    "CifarResNet56": (functools.partial(models.CifarResNet, 56), 32, 3, 853_018),
    "CifarResNet110": (functools.partial(models.CifarResNet, 110), 32, 3, 1_727_962),
    "CifarPlain20": (
        functools.partial(models.CifarResNet, 20, residual=False), 32, 3, 269_722
    ),
    "Darknet19": (models.Darknet19, 224, 3, 20_842_376),
    "Darknet53": (models.Darknet53, 256, 3, 41_609_928),
    "Extraction": (models.Extraction, 224, 3, 23_437_224),
    "MobileNetV1": (models.MobileNetV1, 224, 3, 4_231_976),
    "MobileNetV2": (models.MobileNetV2, 224, 3, 3_504_872),
}  # fmt: skip

# Their fully connected layers read a map of one size.
ONE_SIZE = ("LeNet5", "LeNet5-today")
# The same code as another network's, more often.
DEEPER = ("VGG13", "VGG16", "VGG19", "GoogLeNet-main", "ResNet34", "ResNet101", "ResNet152",
          "ResNet50-v1", "ResNet50B", "ResNet50C", "CifarResNet56", "CifarResNet110")  # fmt: skip


def _image(size, channels=3, batch=1):
    return jax.ShapeDtypeStruct((batch, size, size, channels), jnp.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_its_published_parameters(name):
    network, size, channels, parameters = NETWORKS[name]
    variables = jax.eval_shape(network().init, jax.random.key(0), _image(size, channels))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in DEEPER else n for n in NETWORKS],
)
def test_every_network_traces(name):
    """init, apply, jit, vmap, an odd size, one image, gradients in training, bfloat16: shapes and
    dtypes; nothing is run."""
    network, size, channels, _ = NETWORKS[name]
    model, image = network(), _image(size, channels, 2)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    stacked = jax.ShapeDtypeStruct((3, *image.shape), jnp.float32)
    mapped = jax.eval_shape(jax.jit(jax.vmap(model.apply, (None, 0))), variables, stacked)
    assert mapped["logits"].shape[:2] == mapped["features"].shape[:2] == (3, 2)
    for endpoint, stride in model.strides.items():
        assert abs(mapped[endpoint].shape[2] - size / stride) <= 6  # unpadded borders
    if name not in ONE_SIZE:
        odd = jax.eval_shape(model.apply, variables, _image(size + 7, channels))
        assert odd["logits"].shape == (1, *mapped["logits"].shape[2:])
    gradient, state = jax.eval_shape(
        functools.partial(_gradient, model), variables, image, jax.random.split(jax.random.key(0))
    )
    assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, variables["params"])
    assert jax.tree.structure(state) == jax.tree.structure(variables.get("batch_stats", {}))
    layers = inspect.signature(network).parameters["layers"].default.replace(dtype="bfloat16")
    half_outputs = jax.eval_shape(network(layers=layers).apply, variables, image)
    assert {x.dtype for x in jax.tree.leaves(half_outputs)} == {jnp.dtype("bfloat16")}


def _gradient(model, variables, image, keys):
    """Differentiates a loss that reads all scores, in training mode; also the new statistics."""

    def loss(params):
        outputs, state = model.apply(
            {**variables, "params": params}, image, train=True, keys=keys, mutable=["batch_stats"]
        )
        scores = [outputs["logits"], *outputs.get("aux_logits", ())]
        return sum(jax.nn.logsumexp(3 * s) - s[:, 0].sum() for s in scores), state

    gradient, state = jax.grad(loss, has_aux=True)(variables["params"])
    return gradient, state.get("batch_stats", {})


def _kind(array):
    return array.shape, str(array.dtype)


def _small_resnet(**options):
    stages = {"stages": (1, 1), "width": 8}
    return Classifier(models.ResNet(**stages, **options), PoolHead(5))


def _small_darknet(**options):
    return Classifier(models.ResidualDarknet((1, 1), 8, **options), PoolHead(5))


SMALL = {  # one small member of each family, and an odd image size
    "lenet": (lambda: models.LeNet5(5, padding=1), 31),
    "alexnet": (lambda: models.AlexNet(5, hidden=(16, 16)), 67),
    "zfnet": (lambda: models.ZFNet(5, hidden=(16,)), 53),
    "vgg": (lambda: models.vgg("A-LRN", 5, width=4, hidden=(16,), grid=2), 37),
    "vgg-bn": (lambda: models.vgg("C", 5, width=4, hidden=(), grid=1, layers=Layers()), 33),
    "resnet": (lambda: _small_resnet(zero_gamma=False, drop_path=0.2), 35),
    "resnet-v1": (lambda: _small_resnet(version="v1", layers=Layers("group")), 35),
    "resnet-d": (lambda: _small_resnet(stem="deep", shortcut="pool"), 35),
    "resnet-basic": (lambda: _small_resnet(block="basic", layers=NO_NORM), 35),
    "resnet-dilated": (lambda: _small_resnet(dilate=(True, False, False)), 35),
    "resnet-v2": (
        lambda: Classifier(models.ResNetV2((1, 1), "basic", 8, drop_path=0.2), PoolHead(5)), 35
    ),
    "cifar": (lambda: models.CifarResNet(8, 5, width=4, pad="after", drop_path=0.3), 17),
    "cifar-plain": (lambda: models.CifarResNet(8, 5, width=4, residual=False), 17),
    "darknet": (lambda: Classifier(models.Darknet((((3, 8),), ((3, 16),))), PoolHead(5)), 35),
    "darknet-residual": (lambda: _small_darknet(layers=Layers(norm_form="darknet")), 35),
    "mobilenet-v1": (lambda: models.MobileNetV1(5, multiplier=0.125), 35),
    "mobilenet-v2": (lambda: models.MobileNetV2(5, multiplier=0.1), 35),
}  # fmt: skip


def _drawn(rng, shape):
    """Draws values that keep activations at their size."""
    fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 2
    return jnp.asarray(rng.normal(0.1 if len(shape) == 1 else 0, (2 / fan_in) ** 0.5, shape), "f4")


@pytest.mark.parametrize("name", SMALL)
def test_small_members_run(name):
    """A batch of one odd image equals its row of a larger batch; every parameter learns."""
    make, size = SMALL[name]
    model = make()
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), _image(size))
    params = jax.tree.map(lambda a: _drawn(rng, a.shape), shapes["params"])
    stats = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), shapes.get("batch_stats", {}))
    variables = {"params": params, **({"batch_stats": stats} if stats else {})}
    image = jnp.asarray(rng.normal(0, 1, (3, size, size, 3)), jnp.float32)
    run = jax.jit(model.apply)
    outputs, one = run(variables, image), run(variables, image[1:2])
    assert np.isfinite(outputs["logits"]).all()
    promised = jax.eval_shape(model.apply, variables, image)
    assert jax.tree.map(_kind, outputs) == jax.tree.map(_kind, promised)
    scale = float(jnp.abs(outputs["logits"]).max())
    np.testing.assert_allclose(one["logits"][0], outputs["logits"][1], atol=2e-5 * scale)
    keys = jax.random.split(jax.random.key(0), 3)
    gradient, state = jax.jit(functools.partial(_gradient, model))(variables, image, keys)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf != 0), path
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        assert np.any(leaf != 1), path


def test_init_follows_the_stated_distributions():
    model = _small_resnet(zero_gamma=True)
    params = models.init(model, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    kernel = params["backbone"]["conv3_1"]["conv2"]["conv"]["kernel"]  # 3x3x16x16
    assert float(kernel.std()) == pytest.approx(np.sqrt(2 / (9 * 16)), rel=0.05)
    assert not np.any(params["backbone"]["conv3_1"]["conv3"]["norm"]["scale"])
    assert np.all(params["backbone"]["conv1"]["norm"]["scale"] == 1)
    head = params["head"]["fc"]
    assert not np.any(head["bias"]) and float(jnp.abs(head["kernel"]).max()) <= 1 / np.sqrt(64)


@pytest.mark.parametrize(
    "network, gigas",
    [
        (models.AlexNet2014, 0.714),
        (models.VGG11, 7.609),
        (models.VGG16, 15.470),
        (functools.partial(models.GoogLeNet, aux=False), 1.498),
        (models.MobileNetV1, 0.569),
        (models.MobileNetV2, 0.301),
        (models.ResNet152, 11.514),
    ],
)
def test_multiply_adds_are_the_published_ones(network, gigas):
    multiply_adds = summarize(network(), _image(224)).multiply_adds / 1e9
    assert multiply_adds == pytest.approx(gigas, abs=6e-4)


def test_a_thinner_inception_has_a_quarter_of_every_layer():
    def shapes(multiplier, aux=True, size=299):
        model = models.InceptionV3(5, multiplier=multiplier, aux=aux)
        return jax.eval_shape(model.init_with_output, jax.random.key(0), _image(size))

    (outputs, full), (quarter_outputs, quarter) = shapes(1.0), shapes(0.25)
    full, quarter = (dict(jax.tree.leaves_with_path(v["params"])) for v in (full, quarter))
    assert full.keys() == quarter.keys()
    for path, leaf in full.items():
        features = leaf.shape[-1]
        expected = features if features == 5 else features // 4  # 5 classes stay
        assert quarter[path].shape[-1] == expected, jax.tree_util.keystr(path)
    assert outputs["features"].shape == (1, 2048) and quarter_outputs["features"].shape == (1, 512)
    for key in ("logits", "aux_logits"):
        assert jax.tree.map(_kind, quarter_outputs[key]) == jax.tree.map(_kind, outputs[key])
    smallest, _ = shapes(0.25, aux=False, size=75)
    assert smallest["Mixed_7c"].shape == (1, 1, 1, 512)


def test_dropout_of_a_head_follows_the_example_keys():
    head = FcHead(5, hidden=(16,), grid=0, dropout=0.5)
    endpoints = {"pool": jnp.ones((4, 2, 2, 3))}
    variables = head.init(jax.random.key(0), endpoints)
    keys = jax.random.split(jax.random.key(1), 4)
    logits = head.apply(variables, endpoints, train=True, keys=keys)["logits"]
    second = {"pool": jnp.ones((2, 2, 2, 3))}
    half = head.apply(variables, second, train=True, keys=keys[2:])["logits"]
    np.testing.assert_array_equal(logits[2:], half)
    assert np.any(logits[0] != logits[1])


def test_too_small_an_image_is_one_line():
    model = models.InceptionV3(dropout=0.0)
    variables = jax.eval_shape(model.init, jax.random.key(0), _image(299))
    for size, train in ((2, False), (20, False), (75, True)):
        with pytest.raises(UserError, match="give a larger image") as error:
            jax.eval_shape(
                functools.partial(model.apply, train=train, mutable=["batch_stats"]),
                variables,
                _image(size),
            )
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [75, 298])
def test_an_inception_evaluates_images_that_leave_its_auxiliary_head_no_room(size):
    model = models.InceptionV3(5, multiplier=0.125)
    published = jax.eval_shape(model.init, jax.random.key(0), _image(299))
    variables = jax.eval_shape(model.init, jax.random.key(0), _image(size))
    assert jax.tree.map(_kind, variables) == jax.tree.map(_kind, published)
    outputs = jax.eval_shape(model.apply, published, _image(size))
    assert outputs["logits"].shape == (1, 5) and "aux_logits" not in outputs
    assert "aux_logits" in jax.eval_shape(model.apply, published, _image(299))
