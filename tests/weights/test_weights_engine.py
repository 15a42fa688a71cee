import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from vision_jax import models, weights
from vision_jax.config import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from seeded import Golden

GOLDEN = Path(__file__).parents[1] / "golden"


def _variables(model, size=32, seed=0):
    """Every array different, so that a swap shows."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.standard_normal(a.shape).astype(np.float32), shapes)


SMALL = {
    "cifar": lambda: models.CifarResNet(8),
    "basic": lambda: models.ResNet18(10),
}


@pytest.mark.parametrize("name", SMALL)
def test_to_reference_and_back_is_the_identity(name):
    model = SMALL[name]()
    variables = _variables(model)
    state = weights.to_reference(variables, model)
    back = weights.from_reference(state, model)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_gradients_are_named_without_buffers():
    model = models.CifarResNet(8)
    state = weights.to_reference(_variables(model)["params"], model)
    assert state["layer1.0.conv1.weight"].shape == (16, 16, 3, 3)
    assert not any("running" in name for name in state)


def test_load_reads_a_safetensors_file(tmp_path):
    model = models.CifarResNet(20)
    state = Golden(GOLDEN / "models_thirdparty" / "cifar_resnet20.npz").state_dict()
    save_file(state, tmp_path / "w.safetensors")
    variables = weights.load(tmp_path / "w.safetensors", model)
    kernel = variables["params"]["backbone"]["stage2_1"]["conv1"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, state["layer2.0.conv1.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(
        variables["batch_stats"]["backbone"]["conv1"]["norm"]["var"], state["bn1.running_var"]
    )


def test_unmatched_names_are_one_error_with_both_sides(tmp_path):
    model = models.CifarResNet(8)
    state = weights.to_reference(_variables(model), model)
    state["fc.weight"] = state.pop("linear.weight")
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as error:
        weights.load(tmp_path / "w.safetensors", model)
    text = str(error.value)
    assert "missing 1 (linear.weight)" in text and "unknown 1 (fc.weight)" in text
    assert "w.safetensors" in text and "\n" not in text


def test_bad_files_are_one_line(tmp_path):
    model = models.CifarResNet(8)
    (tmp_path / "short.safetensors").write_bytes(b"\x10\x00")
    (tmp_path / "other.bin").write_bytes(b"")
    for name, text in (("none.safetensors", "no such"), ("short.safetensors", "not a readable"),
                       ("other.bin", r"\.bin file")):  # fmt: skip
        with pytest.raises(UserError, match=text) as error:
            weights.load(tmp_path / name, model)
        assert "\n" not in str(error.value)


def test_a_network_without_a_table_is_named():
    with pytest.raises(UserError, match="no weights table for LeNetBackbone"):
        weights.from_reference({}, models.LeNet5())


def test_unknown_arrays_and_sources_are_errors():
    model = models.CifarResNet(8)
    with pytest.raises(UserError, match=r"no name for 1 \(params/extra"):
        weights.to_reference({"extra": np.zeros(3)}, model)
    with pytest.raises(UserError, match="no weights table of 'caffe'"):
        weights.to_reference({}, model, source="caffe")


def test_restore_lists_a_changed_head():
    new, old = models.CifarResNet(8, num_classes=5), models.CifarResNet(8)
    ours, theirs = _variables(new), _variables(old, seed=1)
    theirs = {**theirs, "extra": {"a": np.zeros(2)}}
    ours["params"]["more"] = np.ones(1)
    result, report = weights.restore(ours, theirs)
    assert report.reshaped == ("params/head/fc/bias", "params/head/fc/kernel")
    assert report.missing == ("params/more",) and report.unused == ("extra/a",)
    np.testing.assert_array_equal(
        result["params"]["head"]["fc"]["kernel"], ours["params"]["head"]["fc"]["kernel"]
    )
    jax.tree.map(
        np.testing.assert_array_equal, result["params"]["backbone"], theirs["params"]["backbone"]
    )
    assert "reshaped: params/head/fc/bias" in str(report)
