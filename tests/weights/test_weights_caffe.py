"""The .caffemodel reader on files that tests write themselves."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights.caffe_files import blob, field, net
from tests.weights.variables import assert_same_shapes, detector_shapes, placeholders, shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.ops.conv import conv2d
from vision_jax.ops.pool import max_pool
from vision_jax.weights.caffe import read_caffemodel

# R, G, B, as a task takes it.
VGG_MEAN = np.array([123.68, 116.779, 103.939]) / 255
RNG = np.random.default_rng(0)
LAYERS = (
    ("data", "Data", ()),
    ("conv1", "Convolution", (RNG.normal(size=(4, 3, 3, 3)), RNG.normal(size=4))),
    ("conv2", "Convolution", (RNG.normal(size=(4, 2, 1, 1)), RNG.normal(size=4))),
    ("fc", "InnerProduct", (RNG.normal(size=(5, 6)), RNG.normal(size=5))),
    ("norm", "Normalize", (RNG.normal(size=4),)),
)


def written(tmp_path, data):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "options",
    [{}, {"old": True}, {"packed": False}, {"double": True}],
    ids=["new", "old", "one by one", "doubles"],
)
def test_both_forms_are_read(tmp_path, options):
    layers = LAYERS[:-1] if options.get("old") else LAYERS
    state = read_caffemodel(written(tmp_path, net(layers, **options)))
    arrays_by_name = {}
    for name, _, arrays in layers:
        for part, array in zip(("weight", "bias"), arrays, strict=False):
            arrays_by_name[f"{name}.{part}"] = array.astype(np.float32)
    first = arrays_by_name["conv1.weight"]
    arrays_by_name["conv1.weight"] = first[:, ::-1]  # B, G, R to R, G, B
    assert state.keys() == arrays_by_name.keys()
    for name, array in arrays_by_name.items():
        np.testing.assert_array_equal(state[name], array, err_msg=name)
        assert state[name].dtype == np.float32


def test_what_comes_before_the_first_convolution_is_turned_round_too(tmp_path):
    mean, var, count = RNG.normal(size=3), RNG.uniform(1, 2, 3), np.ones(1)
    scale, shift = RNG.normal(size=3), RNG.normal(size=3)
    kernel, bias = RNG.normal(size=(3, 3, 1, 1)), RNG.normal(size=3)
    layers = (
        ("data_bn", "BatchNorm", (mean, var, count)),
        ("data_scale", "Scale", (scale, shift)),
        ("conv", "Convolution", (kernel, bias)),
        ("after", "Scale", (scale, shift)),
    )
    state = read_caffemodel(written(tmp_path, net(layers)))

    def run(pixel, data_bn, data_scale, conv, after):
        normal = (pixel - data_bn["weight"]) / np.sqrt(data_bn["bias"])
        scaled = normal * data_scale["weight"] + data_scale["bias"]
        features = conv["weight"][:, :, 0, 0] @ scaled + conv["bias"]
        return features * after["weight"] + after["bias"]

    def by_layer(arrays):
        return [
            {part: arrays[f"{name}.{part}"] for part in ("weight", "bias")} for name, *_ in layers
        ]

    theirs = {
        f"{name}.{part}": array
        for name, _, arrays in layers
        for part, array in zip(("weight", "bias"), arrays, strict=False)
    }
    red_green_blue = RNG.normal(size=3)
    np.testing.assert_allclose(
        run(red_green_blue, *by_layer(state)),
        run(red_green_blue[::-1], *by_layer(theirs)),
        rtol=1e-5,
    )


def conv(features, channels, size=3, name="", kind="Convolution"):
    shape = (features, channels) if kind == "InnerProduct" else (features, channels, size, size)
    return name, kind, (RNG.normal(size=shape), RNG.normal(size=features))


def vgg_layers(width, kernels):
    channels = 3
    for stage, sizes in enumerate(kernels, start=1):
        for i, size in enumerate(sizes, start=1):
            features = width * 2 ** min(stage - 1, 3)
            yield conv(features, channels, size, f"conv{stage}_{i}")
            channels = features


def test_vgg_reads_bgr_files_on_rgb_images(tmp_path):
    model = models.vgg("A", 7, width=2, hidden=(6, 5), grid=1)
    layers = list(vgg_layers(2, model.backbone.kernels))
    last = [conv(n, c, name=f"fc{k}", kind="InnerProduct") for k, n, c in
            ((6, 6, 16), (7, 5, 6), (8, 7, 5))]  # fmt: skip
    variables = weights.load(written(tmp_path, net([*layers, *last], old=True)), model)
    kernel = variables["params"]["backbone"]["conv1_1"]["conv"]["kernel"]
    image = RNG.uniform(0, 255, (3, 3, 3))  # R, G, B
    # The sums as Caffe makes them: B, G, R less the mean, correlated.
    bgr = image[..., ::-1] - 255 * VGG_MEAN[::-1]
    theirs = np.einsum("ocij,ijc->o", layers[0][2][0], bgr)
    rgb = (image / 255 - VGG_MEAN) / np.array((1 / 255,) * 3)
    ours = np.einsum("ijco,ijc->o", kernel, rgb)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-2)
    outputs = model.apply(jax.tree.map(jnp.asarray, variables), jnp.zeros((1, 32, 32, 3)))
    assert outputs["logits"].shape == (1, 7)
    back = weights.to_reference(variables, model, "caffe")
    np.testing.assert_allclose(back["fc8.weight"], last[2][2][0], rtol=1e-6)


def test_caffenets_grouped_form(tmp_path):
    model = models.CaffeNet(7, hidden=(6, 5))
    sizes = ((96, 3, 11), (256, 48, 5), (384, 256, 3), (384, 192, 3), (256, 192, 3))
    layers = [conv(*size, name=f"conv{i}") for i, size in enumerate(sizes, start=1)]
    layers += [conv(6, 9216, name="fc6", kind="InnerProduct"),
               conv(5, 6, name="fc7", kind="InnerProduct"),
               conv(7, 5, name="fc8", kind="InnerProduct")]  # fmt: skip
    variables = weights.load(written(tmp_path, net(layers)), model)
    assert_same_shapes(variables["params"], shapes(model, 227)["params"])
    with pytest.raises(UserError, match="no weights table for this variant"):
        weights.from_reference({}, models.AlexNet())


@pytest.mark.parametrize("aux", [True, False])
def test_googlenet_has_a_name_for_every_array(aux):
    model = models.GoogLeNet2014(aux=aux)
    params = shapes(model, 224)["params"]
    state = weights.to_reference(placeholders(params), model, "caffe")
    # conv1/7x7_s2 … and 57 convolutions, one classifier, three layers of each auxiliary one.
    assert len(state) == 2 * (57 + 1 + 6 * aux)
    assert state["inception_4e/5x5.weight"].shape == (128, 32, 5, 5)
    assert weights.from_reference(state, model)["params"].keys() == params.keys()


@functools.cache
def tiny_ssd():
    backbone = models.VGG(((3,), (3,), (3,), (3, 3, 3), (3, 3, 3)), 2, keep=("conv4_3", "conv5_3"))
    boxes = models.DefaultBoxes((0.2, 0.4, 0.6, 0.8), ((2.0,),) * 3, None)
    return models.SSD(backbone, 3, boxes, fc=6, extras=((4, 8),), max_detections=5)


def test_ssd_by_the_papers_files(tmp_path):
    model = tiny_ssd()
    layers = list(vgg_layers(2, model.backbone.kernels))
    layers += [conv(6, 16, 3, "fc6"), conv(6, 6, 1, "fc7"), conv(4, 6, 1, "conv6_1"),
               conv(8, 4, 3, "conv6_2")]  # fmt: skip
    layers += [("conv4_3_norm", "Normalize", (np.full(16, 20.0),))]
    for name, channels in (("conv4_3_norm", 16), ("fc7", 6), ("conv6_2", 8)):
        layers += [conv(16, channels, 3, f"{name}_mbox_loc")]
        layers += [conv(16, channels, 3, f"{name}_mbox_conf")]
    path = written(tmp_path, net(layers))
    variables = weights.load(path, model)
    assert_same_shapes(variables["params"], detector_shapes(model, 64)["params"])
    image, sizes = jnp.zeros((1, 64, 64, 3)), jnp.full((1, 2), 64.0)
    outputs = jax.eval_shape(model.apply, variables, image, sizes)
    assert outputs["class_logits"].shape[1] == 4 * (64 + 16 + 4)
    kernel = variables["params"]["conv8_2_class"]["kernel"]
    np.testing.assert_allclose(kernel.transpose(3, 2, 0, 1), layers[-1][2][0], rtol=1e-6)
    with pytest.raises(
        UserError, match=r"do not fit SSD as caffe names it: missing 2 .conv6_2.bias"
    ):
        weights.load(written(tmp_path, net([n for n in layers if n[0] != "conv6_2"])), model)


BAD = {
    "empty": (b"", "no layer with weights"),
    "text": (b"layer {\n  name: 'conv1'\n}\n", "no .caffemodel"),
    "a length of terabytes": (field(1, b"net") + b"\xa2\x06\xff\xff\xff\xff\xff\x7f", "are due"),
    "a varint without end": (b"\xff" * 30, "more than ten bytes"),
    "a blob of 2^62": (
        net([]) + field(100, field(1, b"x") + field(7, field(7, field(1, 2**31 - 1) * 2))),
        "0 numbers for a blob of shape",
    ),
    "a negative size": (
        field(100, field(1, b"x") + field(7, field(7, field(1, 2**64 - 1)))),
        "negative",
    ),
    "a shape that lies": (
        field(100, field(1, b"x") + field(7, field(7, field(1, 7)) + field(5, b"\0" * 8))),
        "x: 2 numbers for a blob of shape",
    ),
    "half a float": (field(100, field(1, b"x") + field(7, field(5, b"\0" * 7))), "whole number"),
    "a convolution of rank 1": (
        field(100, field(1, b"x") + field(2, b"Convolution") + field(7, blob(np.ones(3)))),
        "does not suit",
    ),
    "one name twice": (net([LAYERS[-1]] * 2), "the name norm"),
    "the first form": (field(2, field(1, field(1, b"conv1"))), "upgrade_net_proto_binary"),
    "nothing but numbers": (field(9, 1) * 1_000_001, "1,000,000 fields"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    data, message = BAD[name]
    with pytest.raises(UserError, match=message) as caught:
        weights.read_state(written(tmp_path, data))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_no_truncation_or_corruption_does_more_than_refuse(tmp_path):
    data = net(LAYERS[:-1], old=True) + net(LAYERS[-1:])
    rng = np.random.default_rng(1)
    cuts = [data[:n] for n in range(0, len(data), 3)]
    flips = []
    for _ in range(400):
        broken = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            broken[position] = rng.integers(0, 256)
        flips.append(bytes(broken))
    start, refused = time.perf_counter(), 0
    for broken in (*cuts, *flips):
        try:
            state = read_caffemodel(written(tmp_path, broken))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert sum(array.nbytes for array in state.values()) <= 2 * len(data)
    assert refused > len(cuts) // 2
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("norm_first", [False, True])
def test_caffenet_normalises_after_the_pooling_and_alexnet_before(norm_first):
    backbone = models.CaffeNet(norm_first=norm_first).backbone.clone(features=(8, 4, 4, 4, 4))
    image = jax.random.normal(jax.random.key(0), (1, 67, 67, 3)) * 50
    endpoints, variables = backbone.init_with_output(jax.random.key(1), image)

    def normalise(x):
        squares = np.pad(x * x, ((0, 0),) * 3 + ((2, 2),))
        total = sum(squares[..., i : i + 8] for i in range(5))
        return x * (1 + 1e-4 / 5 * total) ** -0.75

    x = np.asarray(endpoints["conv1"], np.float64)
    x = (
        max_pool(jnp.asarray(normalise(x)), 3, 2)
        if norm_first
        else normalise(np.asarray(max_pool(jnp.asarray(x), 3, 2)))
    )
    layer = variables["params"]["conv2"]
    conv2 = conv2d(jnp.asarray(x, jnp.float32), layer["kernel"], 1, 2, groups=2) + 1.0
    np.testing.assert_allclose(endpoints["conv2"], np.maximum(conv2, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["Convoluti\x0fn", "Deconvolution", "Data"])
def test_no_kind_hides_the_first_convolution(tmp_path, kind):
    first, *others = LAYERS[1:]
    with pytest.raises(UserError, match="damaged"):
        read_caffemodel(written(tmp_path, net([(first[0], kind, first[2]), *others])))
