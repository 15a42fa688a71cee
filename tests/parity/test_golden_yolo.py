"""The Darknets and YOLO v1, v2, v3 against Darknet's own C code and PyTorch-YOLOv3.

Darknet computes in float32 alone: its files are met within 1e-4 of the largest magnitude. A file's
`.cfg` chooses the model, which is then checked against all of it.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, subsample
from tests.parity.golden_cases import FOLDER
from tests.parity.golden_detection import check_array
from vision_jax import models, weights
from vision_jax.models.classifiers.darknet import DARKNET
from vision_jax.models.detectors import yolo_v2
from vision_jax.structs import Targets
from vision_jax.weights import darknet as darknet_files

MAKERS = {
    "darknet19": functools.partial(models.Darknet19, layers=DARKNET),
    "darknet53": functools.partial(models.Darknet53, layers=DARKNET),
    "yolov1": functools.partial(models.YOLOv1Shipped, layers=DARKNET),
    "yolov1-tiny": functools.partial(models.FastYOLO, layers=DARKNET),
    "yolov2": lambda: _yolo_v2(80, yolo_v2.COCO_PRIORS),
    "yolov2-voc": lambda: _yolo_v2(20, yolo_v2.VOC_PRIORS),
    "yolov2-tiny-voc": functools.partial(models.YOLOv2Tiny, layers=DARKNET),
    "yolov3": lambda: models.YOLOv3(models.ResidualDarknet(layers=DARKNET), layers=DARKNET),
    "yolov3-tiny": functools.partial(models.YOLOv3Tiny, layers=DARKNET),
}
FILES = sorted(FOLDER.rglob("darknet_*.npz"))
NETWORKS = [p for p in FILES if p.stem.removeprefix("darknet_") in MAKERS]
LOSSES = [p for p in FILES if p.stem.startswith("darknet_losses_")]


def _yolo_v2(classes, priors):
    backbone = models.Darknet(layers=DARKNET)
    return models.YOLOv2(backbone, classes, priors=priors, reorg="darknet", layers=DARKNET)


@pytest.mark.golden
@pytest.mark.parametrize("path", NETWORKS, ids=lambda p: p.stem)
def test_a_network_computes_what_darknet_does(path):
    golden = Golden(path)
    model = MAKERS[path.stem.removeprefix("darknet_")]()
    darknet_files.check_cfg(golden.meta["cfg"], model)
    state = golden.state_dict()
    assert list(state) == list(darknet_files.shapes(model))
    values = {name: value.size for name, value in state.items() if "running" not in name}
    assert sum(values.values()) == golden.meta["param_count"]
    outputs = _run(model, weights.from_reference(state, model), golden)
    for name, info in golden.meta["outputs"].items():
        number = int(name.split(".")[1])
        ours = _layer(model, outputs, number)
        assert ours.size == info["size"], name
        difference = np.abs(subsample(ours, info["stride"]) - golden[name].reshape(-1)).max()
        assert difference <= 1e-4 * info["absmax"], f"{name}: {difference}"


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ["yolov3", "yolov3_tiny"])
def test_a_network_computes_what_pytorch_yolov3_does(name, dtype):
    golden = Golden(FOLDER / "models_thirdparty" / f"{name}.npz")
    model = network(golden)
    state = weights.from_reference(golden.state_dict(), model)
    parameters = sum(x.size for x in jax.tree.leaves(state["params"]))
    assert parameters == golden.meta["param_count"]
    with jax.enable_x64(dtype is np.float64):
        check_eval(golden, model, jax.tree.map(lambda a: jnp.asarray(a, dtype), state), dtype)


def network(golden):
    """As PyTorch-YOLOv3 builds it."""
    if golden.meta["name"] == "yolov3":
        return models.YOLOv3()
    # Its padding for the last pooling is zero, where Darknet's is minus infinity, and its .cfg
    # gives the second scale the priors 1, 2, 3.
    model = models.YOLOv3Tiny()
    return model.clone(masks=((3, 4, 5), (1, 2, 3)), backbone=model.backbone.clone(same_fill="0"))


def check_eval(golden, model, variables, dtype):
    """The one array that PyTorch-YOLOv3's file holds."""
    ours = _as_pytorch_yolov3(model, _run(model, variables, golden, dtype))
    check_array(golden, "eval/out", ours, dtype)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("path", "case"),
    [(path, case) for path in LOSSES for case in Golden(path).meta["cases"]],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_a_loss_has_darknets_gradient_and_cost(path, case):
    golden = Golden(path)
    info = golden.meta["cases"][case]
    _, (kind, options) = darknet_files.read_cfg(info["cfg"])
    x, truth = golden[f"{case}/in/x"], golden[f"{case}/in/truth"]
    make = {"detection": _loss_v1, "region": _loss_v2, "yolo": _loss_v3}[kind]
    outputs, loss = make(options, info, x.shape, truth)

    terms, gradient = _with_gradient(loss, jnp.asarray(x))
    # YOLO v1's loss has no factor 1/2 in front of its squares.
    delta = -np.asarray(gradient) / (2 if kind == "detection" else 1)
    _close(delta, golden[f"{case}/out/delta"])
    _close(outputs(jnp.asarray(x)), golden[f"{case}/out/output"])
    # Darknet's cost is the sum of the squared deltas.
    cost = golden[f"{case}/out/cost"][0]
    np.testing.assert_allclose((delta.astype(np.float64) ** 2).sum(), cost, rtol=1e-4)
    assert all(np.isfinite(value) for value in terms.values())


def _with_gradient(loss, x):
    def total(x):
        terms = {name: value for name, (value, _) in loss(x).items()}
        return sum(terms.values()), terms

    gradient, terms = jax.jit(jax.grad(total, has_aux=True))(x)
    return terms, gradient


def _loss_v1(options, info, shape, truth):
    side = int(options["side"])
    model = models.FastYOLO(int(options["classes"])).clone(
        side=side,
        boxes_per_cell=int(options["num"]),
        objectness_target="iou" if options["rescore"] == "1" else "one",
        sqrt=options["sqrt"] == "1",
        box_loss_weight=float(options["coord_scale"]),
        noobject_loss_weight=float(options["noobject_scale"]),
        object_loss_weight=float(options["object_scale"]),
        class_loss_weight=float(options["class_scale"]),
    )
    # Per cell: whether there is an object, its classes, x and y in the cell, w and h.
    classes = truth[..., 1:-4].argmax(-1)
    cell = np.arange(side * side)
    centre = truth[..., -4:-2] + np.stack([cell % side, cell // side], -1)
    boxes = np.concatenate([centre / side, truth[..., -2:]], -1)
    targets = _targets(boxes, classes, truth[..., 0] > 0, side * model.stride)
    valid = jnp.ones(len(truth), bool)
    return lambda x: x, lambda x: model.loss(model.split(x), targets, valid)


def _loss_v2(options, info, shape, truth):
    assert options["rescore"] == options["softmax"] == options["bias_match"] == "1"
    anchors = [float(side) for side in options["anchors"].split(",")]
    model = models.YOLOv2(
        num_classes=int(options["classes"]),
        priors=tuple(zip(anchors[::2], anchors[1::2], strict=True)),
        ignore_iou=float(options["thresh"]),
        object_loss_weight=float(options["object_scale"]),
        noobject_loss_weight=float(options["noobject_scale"]),
        class_loss_weight=float(options["class_scale"]),
        box_loss_weight=float(options["coord_scale"]),
    )
    targets = _listed(truth, shape[2] * model.stride)
    seen = jnp.float32(info["seen"])

    def loss(x):
        outputs = model.split(x.transpose(0, 2, 3, 1), seen)
        return model.loss(outputs, targets, jnp.ones(shape[0], bool))

    return lambda x: _activated(model, x.transpose(0, 2, 3, 1), len(model.priors)), loss


def _loss_v3(options, info, shape, truth):
    anchors = [float(side) for side in options["anchors"].split(",")]
    mask = tuple(int(number) for number in options["mask"].split(","))
    stride = info["net_size"] // shape[2]
    model = models.YOLOv3(
        num_classes=int(options["classes"]),
        endpoints=(f"stage{int(math.log2(stride))}",),
        priors=tuple(zip(anchors[::2], anchors[1::2], strict=True)),
        masks=(mask,),
        ignore_iou=float(options["ignore_thresh"]),
    )
    assert model.strides == (stride,)
    targets = _listed(truth, info["net_size"])

    def loss(x):
        outputs = model.split((x.transpose(0, 2, 3, 1),))
        return model.loss(outputs, targets, jnp.ones(shape[0], bool))

    return lambda x: _activated(model, x.transpose(0, 2, 3, 1), len(mask)), loss


def _listed(truth, pixels):
    """Darknet's list of (cx, cy, w, h, class), relative, up to the first that is zero."""
    present = np.cumprod(truth[..., 0] != 0, axis=1) > 0
    return _targets(truth[..., :4], truth[..., 4], present, pixels)


def _targets(boxes, labels, present, pixels):
    centre, half = boxes[..., :2] * pixels, boxes[..., 2:4] * pixels / 2
    return Targets(
        boxes=jnp.asarray(np.concatenate([centre - half, centre + half], -1), jnp.float32),
        labels=jnp.asarray(np.where(present, labels, -1), jnp.int32),
        valid=jnp.asarray(present),
    )


def _run(model, variables, golden, dtype=np.float32):
    image = jnp.asarray(golden.inputs()["x"].transpose(0, 2, 3, 1), dtype)
    sizes = jnp.tile(jnp.array([image.shape[1:3]], jnp.float32), (len(image), 1))
    extra = () if isinstance(model, models.Classifier) else (sizes,)
    if isinstance(model, models.YOLOv2):
        variables = {**variables, "counters": {"head": {"seen": jnp.zeros(())}}}
    return jax.tree.map(np.asarray, jax.jit(model.apply)(variables, image, *extra))


def _layer(model, outputs, number):
    """Returns what Darknet's layer of that number gives out, flat."""
    kinds = [section.kind for section in darknet_files.sections(model)]
    kind = kinds[number]
    if kind in ("avgpool", "softmax"):
        logits = outputs["logits"]
        return np.asarray(jax.nn.softmax(logits)) if kind == "softmax" else logits
    if kind in ("connected", "detection"):
        names = ("class_logits", "objectness_logits", "box_deltas")
        return np.concatenate([outputs[name].reshape(-1) for name in names])
    scale = kinds[:number].count("yolo")
    prediction_map = outputs["prediction_maps"][scale]
    if kind in ("region", "yolo"):
        priors = len(model.masks[scale] if kind == "yolo" else model.priors)
        return _activated(model, prediction_map, priors)
    return prediction_map.transpose(0, 3, 1, 2).reshape(-1)


def _activated(model, prediction_map, priors):
    """Computes Darknet's last layer, flat, of a map (b, h, w, priors * k)."""
    x = prediction_map.reshape(*prediction_map.shape[:3], priors, -1)
    sigmoid = jax.nn.sigmoid
    classes = jax.nn.softmax if isinstance(model, models.YOLOv2) else sigmoid
    parts = sigmoid(x[..., :2]), x[..., 2:4], sigmoid(x[..., 4:5]), classes(x[..., 5:])
    return np.concatenate(parts, -1).transpose(0, 3, 4, 1, 2).reshape(-1)


def _as_pytorch_yolov3(model, outputs):
    """Gives outputs as (b, a, 5 + classes): cx, cy, w, h in pixels, probabilities.

    A scale's predictions are in the order of priors, rows and columns.
    """
    boxes = np.asarray(model.decode(outputs))
    low, high = boxes[..., :2], boxes[..., 2:]
    logits = outputs["objectness_logits"][..., None], outputs["class_logits"]
    scores = np.asarray(jax.nn.sigmoid(np.concatenate(logits, -1)))
    rows = np.concatenate([(low + high) / 2, high - low, scores], -1)
    scales, start = [], 0
    for prediction_map, mask in zip(outputs["prediction_maps"], model.masks, strict=True):
        grid, end = prediction_map.shape[:3], start + prediction_map[0, ..., 0].size * len(mask)
        scale = rows[:, start:end].reshape(*grid, len(mask), -1)
        scales.append(scale.transpose(0, 3, 1, 2, 4).reshape(grid[0], end - start, -1))
        start = end
    return np.concatenate(scales, 1)


def _close(ours, theirs):
    difference = np.abs(ours.reshape(-1) - theirs.reshape(-1)).max()
    assert difference <= 1e-4 * np.abs(theirs).max()
