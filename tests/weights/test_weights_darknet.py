"""Darknet's files: sizes to the byte, headers of all ages, and what does not fit in one line."""

import functools
import math
import re
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.detectors import tiny_yolo
from tests.weights.variables import assert_equal, assert_same_shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.layers import Layers
from vision_jax.weights import darknet
from vision_jax.weights.darknet_sections import sections, shapes

# network: parameters, and the size of the published file where it is known to the byte.
PUBLISHED = {
    "yolov1": (models.YOLOv1Shipped, 197_301_875, 789_312_988),
    "yolov1-tiny": (models.FastYOLO, 27_095_374, None),
    "yolov2": (functools.partial(models.YOLOv2, num_classes=80, reorg="darknet"),
               50_962_889, 203_934_260),
    "yolov2-voc": (functools.partial(models.YOLOv2, reorg="darknet"), 50_655_389, 202_704_264),
    "yolov2-tiny-voc": (models.YOLOv2Tiny, 15_861_773, None),
    "yolov3": (models.YOLOv3, 61_949_149, 248_007_048),
    "yolov3-tiny": (models.YOLOv3Tiny, 8_852_366, 35_434_956),
    "darknet19": (models.Darknet19, 20_842_376, None),
    "darknet53": (models.Darknet53, 41_609_928, None),
}  # fmt: skip


V2_DARKNET = models.YOLOv2(reorg="darknet")


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_bytes_are_the_published_ones(name):
    make, parameters, size = PUBLISHED[name]
    counts = {key: math.prod(shape) for key, shape in shapes(make()).items()}
    assert sum(n for key, n in counts.items() if "running" not in key) == parameters
    # Headers have 16 bytes, and 20 since version 0.2.
    assert size is None or size - 4 * sum(counts.values()) in (16, 20)


def _state(model, seed=0):
    rng = np.random.default_rng(seed)
    return {k: rng.uniform(0.5, 1.5, s).astype(np.float32) for k, s in shapes(model).items()}


def _write(path, state, header):
    numbers = np.concatenate([value.reshape(-1) for value in state.values()])
    path.write_bytes(header + numbers.astype("<f4").tobytes())


SMALL = {
    "classifier": lambda: models.Classifier(tiny_yolo.darknet(), models.PoolHead(5)),
    "residual": lambda: models.Classifier(models.ResidualDarknet((1, 1), 4), models.PoolHead(5)),
    "v1": tiny_yolo.v1,
    "v1-local": lambda: tiny_yolo.v1().clone(local=3, dropout=0.5),
    "v1-hidden": lambda: tiny_yolo.v1().clone(hidden=(4,)),
    "v2": lambda: tiny_yolo.v2().clone(reorg="darknet"),
    "v3": tiny_yolo.v3,
}


@pytest.mark.parametrize("name", SMALL)
def test_a_written_file_is_read_back(name, tmp_path):
    model = SMALL[name]()
    path, state = tmp_path / "x.weights", _state(model)
    variables = weights.from_reference(state, model)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    sizes = () if name in ("classifier", "residual") else (jnp.full((1, 2), 64.0),)
    ours = jax.eval_shape(model.init, jax.random.key(0), image, *sizes)
    for kind in ("params", "batch_stats"):
        assert_same_shapes(variables.get(kind, {}), ours.get(kind, {}))
    darknet.write_weights(path, weights.to_reference(variables, model, "darknet"), model, seen=7)
    assert struct.unpack("<3iq", path.read_bytes()[:20]) == (0, 2, 0, 7)
    assert_equal(weights.load(path, model), variables)


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<4i", 0, 1, 0, 9),
        struct.pack("<3iq", 0, 2, 5, 9),
        struct.pack("<3iq", 1, 0, 0, 9),
    ],
    ids=["0.1", "0.2", "1.0"],
)
def test_headers_of_all_ages(header, tmp_path):
    model, path = tiny_yolo.v3(), tmp_path / "x.weights"
    state = _state(model)
    _write(path, state, header)
    read = darknet.read_weights(path, model)
    assert list(read) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(read[name], value)


def test_the_first_layers_alone_are_a_detectors_backbone(tmp_path):
    """A file such as darknet53.conv.74 has 74 sections: they end before the backbone's last sum."""
    assert sum(s.path.startswith("backbone/") for s in sections(models.YOLOv3())[:74]) == 52
    assert sum(s.path.startswith("backbone/") for s in sections(V2_DARKNET)[:23]) == 18
    classifier = SMALL["residual"]()
    detector = models.YOLOv3(
        classifier.backbone, 5, ("stage2",), ((8, 8),), ((0,),), ((4,),), (4,), ()
    )
    state = _state(classifier)
    count = next(i for i, s in enumerate(sections(classifier)) if s.kind == "avgpool")
    first = {k: v for k, v in state.items() if int(k.split(".")[1]) < count}
    path = tmp_path / f"small.conv.{count}"
    _write(path, first, struct.pack("<3iq", 0, 2, 0, 0))
    loaded = weights.load(path, detector)
    assert list(loaded["params"]) == ["backbone"]
    whole_file = weights.from_reference(state, classifier)
    for kind in ("params", "batch_stats"):
        assert_equal(loaded[kind]["backbone"], whole_file[kind]["backbone"])


def test_the_backbone_alone_does_not_ask_how_the_passthrough_is_ordered(tmp_path):
    model, path = tiny_yolo.v2(), tmp_path / "small.weights"
    theirs = model.clone(reorg="darknet")
    state = _state(theirs)
    count = next(i for i, s in enumerate(sections(theirs)) if s.path.startswith("head/"))
    for number in (count, count + 1):
        first = {k: v for k, v in state.items() if int(k.split(".")[1]) < number}
        path = tmp_path / f"small.conv.{number}"
        _write(path, first, struct.pack("<3iq", 0, 2, 0, 0))
        if number == count:
            loaded = weights.load(path, model)
            assert list(loaded["params"]) == ["backbone"]
            whole_file = weights.from_reference(state, theirs)
            assert_equal(loaded["params"]["backbone"], whole_file["params"]["backbone"])
        else:
            with pytest.raises(UserError, match="reorg='darknet'"):
                weights.load(path, model)


def test_fully_connected_weights_of_old_files_lie_the_other_way_round(tmp_path):
    model, path = tiny_yolo.v1().clone(side=16, boxes_per_cell=1), tmp_path / "x.weights"
    state = _state(model)
    turned = {k: v.T if v.ndim == 2 else v for k, v in state.items()}
    _write(path, turned, struct.pack("<4i", 1001, 0, 0, 0))
    read = darknet.read_weights(path, model)
    for name, value in state.items():
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("change", [-4, -1, 4], ids=["a number short", "a byte short", "too long"])
def test_a_file_of_another_length_is_one_line(change, tmp_path):
    model, path = tiny_yolo.v3(), tmp_path / "x.weights"
    _write(path, _state(model), struct.pack("<3iq", 0, 2, 0, 0))
    raw = path.read_bytes()
    path.write_bytes(raw[:change] if change < 0 else raw + b"\0" * change)
    with pytest.raises(
        UserError, match=f"{len(raw) + change:,} bytes.*{len(raw):,} bytes"
    ) as error:
        weights.load(path, model)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_other_broken_files_are_one_line(tmp_path):
    path = tmp_path / "x.weights"
    with pytest.raises(UserError, match="no such weights file"):
        weights.load(path, tiny_yolo.v3())
    path.write_bytes(b"12345")
    with pytest.raises(UserError, match="5 bytes, less than a header"):
        weights.load(path, tiny_yolo.v3())


CFG = """[net]
width=64
# a comment
[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters = 16
size=3
stride=1
activation=leaky
batch_normalize=1
[route]
layers=-1, 0
"""


def test_a_cfg_that_describes_another_model_names_section_and_both_values(tmp_path):
    model = models.Classifier(
        models.Darknet((((3, 8),), ((3, 16),))), models.PoolHead(5)
    )  # a route where the .cfg goes on
    with pytest.raises(UserError, match=re.escape("section 3 is [route], the model's is [conv")):
        darknet.check_cfg(CFG, model)
    wrong = CFG.replace("filters = 16", "filters = 32")
    with pytest.raises(UserError) as error:
        darknet.check_cfg(wrong, model)
    assert str(error.value) == "section 2 [convolutional] has filters=32, the model filters=16"
    path = tmp_path / "x.weights"
    path.write_bytes(b"")
    (tmp_path / "x.cfg").write_text(wrong)
    with pytest.raises(
        UserError, match=r"x.weights: x.cfg: section 2 \[convolutional\] has filters"
    ):
        weights.load(path, model)
    with pytest.raises(UserError, match="line 1 is neither"):
        darknet.read_cfg("hello")
    with pytest.raises(UserError, match="begin with"):
        darknet.check_cfg("[convolutional]\n", model)


def test_relative_layers_are_understood():
    described = [("net", {})]
    for section in sections(tiny_yolo.v3()):
        described.append((section.kind, {k: _text(v) for k, v in section.options.items()}))
    text = "\n".join(
        line for kind, options in described
        for line in (f"[{kind}]", *(f"{k}={v}" for k, v in options.items()))
    )  # fmt: skip
    darknet.check_cfg(text, tiny_yolo.v3())
    number = next(i for i, (kind, _) in enumerate(described[1:]) if kind == "route")
    absolute = described[number + 1][1]["layers"]
    relative = text.replace(f"layers={absolute}\n", f"layers={int(absolute) - number}\n", 1)
    assert relative != text
    darknet.check_cfg(relative, tiny_yolo.v3())
    with pytest.raises(UserError, match=r"\[route\] has layers"):
        darknet.check_cfg(text.replace(f"layers={absolute}\n", "layers=0\n", 1), tiny_yolo.v3())


def _text(value):
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def test_what_darknet_has_not_is_one_line():
    for model, text in (
        (tiny_yolo.v2(), "reorg='darknet'"),
        (tiny_yolo.v1_lecture(), "lecture"),
        (tiny_yolo.v3().clone(backbone=tiny_yolo.darknet(layers=Layers(norm="group"))), "group"),
        (models.ResNet18(), "Darknet has no"),
        (tiny_yolo.v3().clone(endpoints=("stage3", "stage2")), "last stage, not from 'stage3'"),
    ):
        with pytest.raises(UserError, match=text):
            sections(model)


def test_a_file_of_another_class_count_gives_all_but_the_last_layers(tmp_path, caplog):
    ours, theirs = tiny_yolo.v3(), tiny_yolo.v3().clone(num_classes=11)
    path, state = tmp_path / "x.weights", _state(theirs)
    _write(path, state, struct.pack("<3iq", 0, 2, 0, 0))
    loaded, whole = weights.load(path, ours), weights.from_reference(state, theirs)
    assert_equal(loaded["params"]["backbone"], whole["params"]["backbone"])
    left = whole["params"]["head"].keys() - loaded["params"]["head"].keys()
    assert left and all(name.endswith("_predict") for name in left)
    assert "in the file" in caplog.text


def test_a_cfg_of_any_bytes_is_one_line(tmp_path):
    model, path = tiny_yolo.v3(), tmp_path / "x.weights"
    _write(path, _state(model), struct.pack("<3iq", 0, 2, 0, 0))
    route = b"[net]\n[convolutional]\nfilters=nan\n[route]\nlayers=inf,-1e999,x\n"
    for text in (b"\xff\xfe\x00\x1b[2J\n", bytes(range(256)), route):
        (tmp_path / "x.cfg").write_bytes(text)
        with pytest.raises(UserError) as error:
            weights.load(path, model)
        assert str(error.value).isprintable()


def test_the_first_layers_of_a_whole_file(tmp_path):
    model = tiny_yolo.v3()
    state = _state(model)
    path = tmp_path / "x.conv.2"
    _write(path, state, struct.pack("<3iq", 0, 2, 0, 0))
    assert list(weights.load(path, model)["params"]) == ["backbone"]
