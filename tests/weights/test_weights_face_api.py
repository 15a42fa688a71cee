"""Manifests of TensorFlow.js that tests write: dtypes, shards, damage; and face-api's names."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.layers import NO_NORM, Layers
from vision_jax.weights import face_api, tfjs

FILE = "x-weights_manifest.json"


def write(folder, arrays, paths=("x.bin",), quantized=()):
    """Writes arrays as a manifest beside files of about the same size; returns its path."""
    entries, data = [], b""
    for name, value in arrays.items():
        entry = {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}
        if name in quantized:
            low, scale = float(value.min()), max(float(np.ptp(value)) / 255, 1e-6)
            entry["quantization"] = {"dtype": "uint8", "min": low, "scale": scale}
            value = np.rint((value - low) / scale).astype(np.uint8)
        entries.append(entry)
        data += value.tobytes()
    step = -(-len(data) // len(paths))
    for i, path in enumerate(paths):
        (folder / path).write_bytes(data[i * step : (i + 1) * step])
    (folder / FILE).write_text(json.dumps([{"paths": list(paths), "weights": entries}]))
    return folder / FILE


def some(seed=0):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(3, 3, 2, 4)).astype(np.float32)
    return {"a/filters": kernel, "a/bias": np.float32([1, 2, 3, 4]), "n": np.int32([7, -3])}


def test_arrays_in_shards_come_whole(tmp_path):
    state = tfjs.read_manifest(write(tmp_path, some(), ("one.bin", "two.bin", "three.bin")))
    for name, value in some().items():
        np.testing.assert_array_equal(state[name], value)


def test_eight_bits_are_scaled_and_whole_numbers_stay_whole(tmp_path):
    state = tfjs.read_manifest(write(tmp_path, some(), quantized=("a/filters", "n")))
    kernel = some()["a/filters"]
    assert np.abs(state["a/filters"] - kernel).max() <= np.ptp(kernel) / 255 * 0.501
    assert state["a/filters"].dtype == np.float32 and state["n"].dtype == np.int32
    np.testing.assert_array_equal(state["n"], [7, -3])


def test_half_precision_has_no_scale(tmp_path):
    entry = {"name": "a", "shape": [2], "dtype": "float32", "quantization": {"dtype": "float16"}}
    (tmp_path / "x.bin").write_bytes(np.float16([0.5, -2]).tobytes())
    (tmp_path / FILE).write_text(json.dumps([{"paths": ["x.bin"], "weights": [entry]}]))
    np.testing.assert_array_equal(tfjs.read_manifest(tmp_path / FILE)["a"], [0.5, -2])


def test_the_bin_beside_a_manifest_is_understood(tmp_path):
    write(tmp_path, some())
    state = weights.read_state(tmp_path / "x.bin")
    assert set(state) == {"a.weight", "a.bias"}
    expected = some()["a/filters"].transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(state["a.weight"], expected)


def damaged(change):
    def do(path):
        groups = json.loads(path.read_text())
        change(groups)
        path.write_text(json.dumps(groups))

    return do


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("{"), "not a manifest of TensorFlow.js"),
        (lambda path: path.write_text('{"weight_map": {}}'), "not a manifest of TensorFlow.js"),
        (lambda path: path.write_text("[]"), "without arrays"),
        (lambda path: (path.parent / "x.bin").unlink(), "'x.bin' is missing"),
        (lambda path: (path.parent / "x.bin").write_bytes(b"1234"), "end within a/filters"),
        (lambda path: (path.parent / "x.bin").write_bytes(bytes(999)), "fetch them again"),
        (damaged(lambda g: g[0].update(paths=["../x.bin"])), "no file beside it"),
        (damaged(lambda g: g[0]["weights"][0].update(dtype="string")), "dtype string"),
        (damaged(lambda g: g[0]["weights"][0].update(shape=[-1, 2])), "negative shape"),
        (damaged(lambda g: g[0]["weights"][1].update(name="a/filters")), "two arrays"),
        (damaged(lambda g: g[0]["weights"][0].pop("shape")), "KeyError"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    path = write(tmp_path, some())
    damage(path)
    with pytest.raises(UserError, match=message) as error:
        weights.read_state(path)
    assert "\n" not in str(error.value)


def test_a_norm_is_folded_into_the_convolution_before_it(tmp_path):
    rng, layer = np.random.default_rng(1), "MobilenetV1/Conv2d_1_depthwise"
    kernel = rng.normal(size=(3, 3, 4, 1)).astype(np.float32)
    gamma, beta, mean = rng.normal(size=(3, 4)).astype(np.float32)
    variance = np.float32([0, 0.1, 1, 10])
    parts = {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance}
    arrays = {f"{layer}/BatchNorm/{part}": value for part, value in parts.items()}
    state = face_api.read_manifest(
        write(tmp_path, {f"{layer}/depthwise_weights": kernel, **arrays})
    )
    assert set(state) == {f"{layer}.weight", f"{layer}.bias"}
    x = rng.normal(size=(5, 3, 3, 4)).astype(np.float32)
    expected = ((x * kernel[..., 0]).sum((1, 2)) - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    ours = (x * state[f"{layer}.weight"][:, 0].transpose(1, 2, 0)).sum((1, 2))
    np.testing.assert_allclose(ours + state[f"{layer}.bias"], expected, rtol=1e-4, atol=1e-4)


def test_a_scale_is_folded_into_the_convolution_before_it(tmp_path):
    rng = np.random.default_rng(2)
    kernel, fc = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 3, 2, 4), (4, 5)))
    bias, scale, shift = rng.normal(size=(3, 4)).astype(np.float32)
    state = face_api.read_manifest(
        write(
            tmp_path,
            {
                "a/conv/filters": kernel,
                "a/conv/bias": bias,
                "a/scale/weights": scale,
                "a/scale/biases": shift,
                "fc": fc,
            },
        )
    )
    assert set(state) == {"a/conv.weight", "a/conv.bias", "fc.weight"}
    x = rng.normal(size=(3, 3, 2)).astype(np.float32)
    expected = ((x[..., None] * kernel).sum((0, 1, 2)) + bias) * scale + shift
    ours = (x.transpose(2, 0, 1) * state["a/conv.weight"]).sum((1, 2, 3)) + state["a/conv.bias"]
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(state["fc.weight"], fc.T)


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.SSDMobileNet(2, layers=NO_NORM),
        lambda: models.YOLOv2TinySeparable(layers=NO_NORM),
    ],
)
def test_a_state_of_all_layers_fills_a_network(make):
    model, sizes = make(), jnp.array([[64.0, 64.0]])
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)), sizes)
    params = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes["params"])
    state = weights.to_reference(params, model, "face-api")
    assert jax.tree.map(np.shape, weights.from_reference(state, model)["params"]) == jax.tree.map(
        np.shape, params
    )


def test_a_state_of_all_layers_fills_dlibs_network():
    model = models.DlibResNet(layers=NO_NORM)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 150, 150, 3)))
    params = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes["params"])
    state = weights.to_reference(params, model, "face-api")
    assert {"conv32_down/conv.weight", "conv256_down_out/conv2/conv.bias", "fc.weight"} < set(state)
    loaded = weights.from_reference(state, model)["params"]
    assert jax.tree.map(np.shape, loaded) == jax.tree.map(np.shape, params)
    assert not face_api.has_dlib_resnet(models.DlibResNet())


def test_boxes_are_turned_from_y_first():
    model = models.SSDMobileNet(2, layers=NO_NORM)
    row = next(row for row in face_api.ssd(model) if row.path == "block11_box")
    theirs = np.arange(12)  # y, x, height, width of three boxes
    np.testing.assert_array_equal(row.pick(theirs)[:4], [1, 0, 3, 2])
    np.testing.assert_array_equal(row.pick.back(row.pick(theirs)), theirs)


def test_networks_with_norms_have_no_table_of_face_api():
    assert not face_api.has_ssd(models.SSDMobileNet(2)) and not face_api.has_ssd(models.SSD300())
    assert not face_api.has_yolo(models.YOLOv2TinySeparable())
    assert not face_api.has_yolo(models.YOLOv2Tiny(1, layers=Layers(norm="none")))
    with pytest.raises(UserError, match="no weights table for this variant"):
        weights.from_reference({"conv0.weight": np.zeros(1)}, models.YOLOv2TinySeparable())
