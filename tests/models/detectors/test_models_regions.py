"""R-CNN and SPP-net: the same regions by loops, and what the heads answer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.detectors import tiny_detectors
from vision_jax import models
from vision_jax.evaluation import VOC
from vision_jax.models.layers import last_map
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.roi_crop import rcnn_crops
from vision_jax.ops.roi_pool import spatial_pyramid_pool
from vision_jax.structs import Targets
from vision_jax.tasks import Detection, LinearSvm, RegressBoxes, TrainSvms, WriteRegionFeatures
from vision_jax.training import AdamW, Cosine, Optimizer, create, make_train_step

CLASSES, SIDE = 3, 64
BOXES = np.array(
    [[4, 4, 30, 40], [0, 0, 64, 64], [20, 30, 50, 62], [33, 2, 60, 21], [8, 40, 31, 60]], np.float32
)


def backbone(pool=0):
    three = (1, 1, 1)
    return models.AlexNetBackbone(
        features=(4, 6, 8),
        kernels=(3, 3, 3),
        steps=three,
        paddings=three,
        groups=three,
        biases=(0.0,) * 3,
        std=0.3,
        lrn=(False,) * 3,
        pools=(0, 0, pool),
        window=2,
    )


def head(**changes):
    return models.RegionClassifier(hidden=(16, 12), std=0.2, batch_size_per_image=8, **changes)


def rcnn(**changes):
    settings = {"crop_size": 16, "context": 2, "chunk": 2} | changes
    return models.RCNN(backbone(), CLASSES, head(), **settings)


def spp_net(**changes):
    settings = {"levels": (2, 1), "short_side": SIDE, "scales": (SIDE,)} | changes
    return models.SPPNet(backbone(None), CLASSES, head(), **settings)


def images(count=2):
    return jax.random.normal(jax.random.key(1), (count, SIDE, SIDE, 3))


def given(count=2):
    boxes = jnp.asarray(np.stack([BOXES, BOXES[::-1]])[:count])
    return Targets(proposals=boxes, proposal_valid=jnp.ones(boxes.shape[:2], bool))


def answered(model, targets=None, count=2):
    sizes = jnp.full((count, 2), float(SIDE))
    variables = jax.jit(model.init)(jax.random.key(0), images(count), sizes, given(count))
    targets = given(count) if targets is None else targets
    return applied(model, variables, images(count), sizes, targets), variables


def applied(model, *arguments):
    return jax.jit(model.apply)(*arguments)


def test_regions_go_through_the_network_one_by_one():
    outputs, variables = answered(rcnn())
    params = variables["params"]

    @jax.jit
    def alone_of(image, box):
        crop = rcnn_crops(image, box[None], 16, 2)
        pooled = last_map(backbone().apply({"params": params["backbone"]}, crop))
        return head().apply({"params": params["head"]}, pooled.reshape(1, 1, -1), CLASSES)

    for i in range(2):
        for j in range(len(BOXES)):
            alone = alone_of(images()[i], given().proposals[i, j])
            np.testing.assert_allclose(
                outputs["class_logits"][i, j], alone["class_logits"][0, 0], atol=1e-5
            )
            np.testing.assert_allclose(
                outputs["features"][i, j], alone["features"][0, 0], atol=1e-5
            )


def test_a_pyramid_is_that_of_the_window_alone():
    model = spp_net()
    outputs, variables = answered(model)
    own = {"params": variables["params"]["backbone"]}
    features = last_map(applied(backbone(None), own, images()))
    x0, y0, x1, y1 = BOXES[2]  # stride 4: floor(x / 4) + 1 to ceil(x / 4) - 1
    window = features[:1, int(y0 // 4) + 1 : int(-(-y1 // 4)), int(x0 // 4) + 1 : int(-(-x1 // 4))]
    expected = spatial_pyramid_pool(window, (2, 1)).reshape(-1)
    np.testing.assert_allclose(outputs["box_features"][0, 2], expected, atol=1e-6)


@pytest.mark.parametrize("windows", ["paper", "released"])
def test_a_region_is_pooled_at_the_scale_that_suits_it(windows):
    scales = (SIDE, 2 * SIDE)
    several, variables = answered(spp_net(scales=scales, windows=windows))
    sizes = jnp.full((2, 2), float(SIDE))
    each = [
        applied(spp_net(scales=(s,), windows=windows), variables, images(), sizes, given())
        for s in scales
    ]
    got = several["box_features"]
    as_one = [np.isclose(got, e["box_features"], atol=1e-6).all(-1) for e in each]
    assert (as_one[0] | as_one[1]).all()
    # 208 pixels are wished for: no box of this image is as large at either scale.
    assert as_one[1].all()


def test_nothing_below_the_pyramid_learns():
    model = spp_net()
    sizes = jnp.full((2, 2), float(SIDE))
    truth = given().replace(
        boxes=given().proposals[:, :2],
        labels=jnp.array([[0, 1]] * 2),
        valid=jnp.ones((2, 2), bool),
    )
    keys = jax.random.split(jax.random.key(2), 2)
    _, variables = answered(model)

    def loss(params, model):
        outputs = model.apply({"params": params}, images(), sizes, truth, train=True, keys=keys)
        total, count = model.loss(outputs, truth, jnp.ones(2, bool))["roi_class"]
        return total / count

    def moved(model, variables):
        gradients = jax.jit(jax.grad(loss), static_argnums=1)(variables["params"], model)
        return {
            f"{path[0].key}/{path[1].key}": bool(np.any(np.asarray(leaf)))
            for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
            if path[-1].key == "kernel"
        }

    spp = moved(model, variables)
    assert not any(spp[f"backbone/conv{i}"] for i in (1, 2, 3))
    assert spp["head/fc6"] and spp["head/fc7"] and spp["head/cls_score"]
    assert not spp["head/svm"] and not spp["head/bbox_pred"]
    whole = moved(rcnn(), answered(rcnn())[1])
    assert all(whole[f"backbone/conv{i}"] for i in (1, 2, 3))
    assert not whole["head/svm"] and not whole["head/bbox_pred"]


def test_scores_and_boxes_are_those_asked_for():
    model = rcnn()
    outputs, variables = answered(model)
    # Untrained machines are at their border, and untrained regressors leave boxes alone.
    scores = np.asarray(outputs["detections"].scores)[np.asarray(outputs["detections"].valid)]
    np.testing.assert_array_equal(scores, 0.5)
    params = jax.tree.map(jnp.asarray, variables["params"])
    params["head"]["svm"]["bias"] = jnp.array([2.0, -9.0, -9.0])
    params["head"]["bbox_pred"]["bias"] = jnp.tile(jnp.array([0.1, 0, 0, 0]), 3)
    sizes = jnp.full((2, 2), float(SIDE))
    for refine in (False, True):
        changed = model.clone(head=head(refine=refine, nms_threshold=1.0))
        found = applied(changed, {"params": params}, images(), sizes, given())["detections"]
        valid = np.asarray(found.valid[0])
        assert valid.sum() == len(BOXES) and (np.asarray(found.labels[0])[valid] == 0).all()
        np.testing.assert_allclose(np.asarray(found.scores[0])[valid], 1 / (1 + np.exp(-2)), 1e-6)
        width = BOXES[:, 2] - BOXES[:, 0]
        expected = BOXES + (0.1 * refine * width)[:, None] * np.array([[1, 0, 1, 0]])
        expected = expected.clip(0, SIDE)
        got = np.asarray(found.boxes[0])[valid]
        order = np.lexsort(expected.T), np.lexsort(got.T)
        np.testing.assert_allclose(got[order[1]], expected[order[0]], atol=1e-4)
    softmax = model.clone(head=head(classifier="softmax", refine=False, score_threshold=0.0))
    found = applied(softmax, {"params": params}, images(), sizes, given())["detections"]
    assert np.asarray(found.scores[0]).max() <= 1 and not np.isclose(found.scores[0, 0], 0.5)


def test_a_chunk_changes_nothing():
    outputs, variables = answered(rcnn())
    sizes = jnp.full((2, 2), float(SIDE))
    at_once = applied(rcnn(chunk=64), variables, images(), sizes, given())
    for name in ("features", "class_logits", "box_deltas"):
        np.testing.assert_allclose(outputs[name], at_once[name], atol=1e-5)


def test_a_wrong_name_of_features_is_told():
    model = models.RCNN(backbone(), CLASSES, head(svm_features="fc8"), 16, 2)
    with pytest.raises(ValueError, match="no features 'fc8', only pool5, fc6, fc7"):
        answered(model)


@pytest.mark.parametrize("make", [models.RCNNAlexNet, models.RCNNAlexNet2014, models.RCNNVGG16])
def test_the_papers_networks_have_their_sizes(make):
    model = make()
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, 500, 500, 3)), jnp.full((1, 2), 500.0)
    )
    side = 7 if make is models.RCNNVGG16 else 6
    width = 512 if make is models.RCNNVGG16 else 256
    kernels = {k: v["kernel"].shape for k, v in shapes["params"]["head"].items()}
    pooled = side * side * width
    assert kernels == {
        "fc6": (pooled, 4096),
        "fc7": (4096, 4096),
        "cls_score": (4096, 21),
        "svm": (4096, 20),
        "bbox_pred": (pooled, 80),
    }


def with_proposals(batch, count=24):
    """Gives images proposals: near each object, and elsewhere.

    None overlaps an object by 0.3 to 0.5: SVMs learn nothing of these, so that nothing is known by
    heart of them either.
    """
    rng = np.random.default_rng(0)
    truth, valid = np.asarray(batch.targets.boxes), np.asarray(batch.targets.valid)
    boxes = np.sort(rng.uniform(0, SIDE, (len(truth), count, 2, 2)), 2).reshape(-1, count, 4)
    for image, there in enumerate(valid):
        for number, box in enumerate(truth[image][there]):
            boxes[image, 3 * number : 3 * number + 3] = box + rng.uniform(-2, 2, (3, 4))
    boxes = jnp.asarray(boxes, jnp.float32)
    best = jnp.where(valid[:, None], overlaps(boxes, batch.targets.boxes), 0).max(-1)
    known = (best < 0.3) | (best > 0.5)
    targets = batch.targets.replace(proposals=boxes, proposal_valid=known)
    return batch.replace(targets=targets)


def overlaps(boxes, truth):
    return box_ops.iou(jnp.asarray(boxes)[:, :, None], jnp.asarray(truth)[:, None])


@pytest.mark.usefixtures("embedded_data")
@pytest.mark.parametrize("name", [pytest.param("rcnn", marks=pytest.mark.slow), "spp_net"])
def test_four_images_are_learned_by_heart_stage_by_stage(name, tmp_path):
    """The softmax by gradients, then SVMs and regressors on stored features."""
    batch = with_proposals(tiny_detectors.images())
    task = Detection(tiny_detectors.ALL_DETECTORS[name](), mean=(0.5,) * 3, std=(0.25,) * 3)
    variables = task.init(jax.random.key(0), batch)
    update = Optimizer(AdamW(), Cosine(3e-3), clip=10.0).build(variables["params"], 200, 200)
    step = jax.jit(make_train_step(task, update))
    state = create(variables, update)
    for _ in range(200):
        state, measured = step(state, batch, 0)
    assert measured["loss"] < 0.1
    found = {"softmax": (task, state.variables)}
    folder = str(tmp_path / "regions")
    solved = WriteRegionFeatures(folder).solve(task, state.variables, [batch], 1)
    for solver, fields in (
        (TrainSvms(folder, LinearSvm(c=1.0)), {"classifier": "svm"}),
        (RegressBoxes(folder, penalty=1.0), {"classifier": "svm", "refine": True}),
    ):
        solved = solver.solve(task, solved, [batch], 1)
        model = task.model.clone(head=task.model.head.clone(**fields))
        found[str(fields)] = (dataclasses.replace(task, model=model), solved)
    ious = []
    for title, (task, variables) in found.items():
        answer = jax.tree.map(np.asarray, jax.jit(task.predict)(variables, batch)["detections"])
        metric = VOC(tiny_detectors.CLASSES, inclusive=False)
        host = jax.tree.map(np.asarray, batch)
        measured = metric.result(metric.collect([], {"detections": answer}, host))
        assert measured["ap50"] == 1, title
        ious.append(best_iou(answer, host))
    assert ious[2] > ious[1]  # regressed boxes lie nearer


def best_iou(detections, batch):
    """Returns the mean IoU of each image's objects with their nearest detection."""
    targets, boxes = batch.targets, np.where(detections.valid[..., None], detections.boxes, 0)
    return np.asarray(overlaps(targets.boxes, boxes)).max(-1)[targets.valid].mean()


def test_one_classifier_takes_images_of_any_size():
    model = models.SPPNetZF5(10, hidden=(32, 32))
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert variables["params"]["head"]["fc6"]["kernel"].shape == (50 * 256, 32)
    for size in ((64, 64), (80, 48), (33, 97)):
        logits = jax.eval_shape(model.apply, variables, jnp.zeros((2, *size, 3)))["logits"]
        assert logits.shape == (2, 10)
