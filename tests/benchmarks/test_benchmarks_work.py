"""Our side of the entries, on inputs as small as they go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import networks
from benchmarks.work import classify, coco_ap, detect, growth, inputs, ours
from vision_jax import weights


@pytest.mark.parametrize("network", ["lenet", "resnet20", "mobilenet_v1", "vgg16", "fcn8s"])
def test_classifiers_have_no_dropout_and_fit_their_input(network):
    model = classify.make(network)
    assert getattr(model.head, "dropout", 0) == 0
    settings = next(n.settings for n in networks.NETWORKS if n.settings["network"] == network)
    image, label = inputs.images(network, 2, settings["size"])
    found = jax.eval_shape(model.init_with_output, jax.random.key(0), image.astype(np.float32))[0]
    _, classes = inputs.shape(network)
    assert found["logits"].shape == (*label.shape, classes)
    assert label.min() >= 0 and set(label[label >= classes].tolist()) <= {inputs.VOID}
    again, _ = inputs.images(network, 2, settings["size"])
    assert (image == again).all()


@pytest.mark.parametrize("network", ["yolov3", "retinanet", "rfcn", "mask_rcnn", "keypoint_rcnn"])
def test_detectors_take_their_input(network):
    side = 96
    task, batch = detect.posed(network, 1, side, side)
    sizes = np.full((1, 2), side, np.float32)
    image = batch.image.astype(np.float32)
    variables = jax.eval_shape(task.model.init, jax.random.key(0), image, sizes)
    heads = jax.eval_shape(lambda v, b: detect.heads(network, task.predict(v, b)), variables, batch)
    anchors = {x.shape[1] for x in heads.values()}
    assert len(anchors) == 1 and anchors.pop() > 100
    targets = batch.targets
    assert targets.valid.sum() == inputs.OBJECTS and (targets.labels[targets.valid] >= 0).all()
    assert (targets.labels[~targets.valid] == -1).all()
    if network == "mask_rcnn":
        box, mask = targets.boxes[0, 0], targets.masks[0, 0]
        rows, columns = np.nonzero(mask)
        assert abs(rows.min() - box[1]) < 3 and abs(columns.max() - box[2]) < 3
    if network == "keypoint_rcnn":
        boxes, points = targets.boxes[:, :, None], targets.keypoints
        assert points.shape == (1, inputs.SLOTS, inputs.KEYPOINTS, 3)
        assert (points[..., :2] >= boxes[..., :2]).all()
        assert (points[..., :2] <= boxes[..., 2:]).all()
        assert set(points[..., 2].ravel().tolist()) == {0, 1, 2}
        assert set(targets.labels.ravel().tolist()) == {-1, 0}


def test_a_classifiers_work_runs_and_reads_the_peers_weights(tmp_path):
    from safetensors.numpy import save_file

    settings = {"network": "lenet", "batch_size": 2, "size": 28, "steps": 1}
    task, _, variables = classify.setting(tmp_path, "lenet", 2, 28)
    table = [classify.lenet_table()]
    state = weights.engine.to_reference(variables, task.model, table, None)
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, tmp_path / ours.WEIGHTS)
    work = classify.infer(tmp_path, **settings)
    work.run()
    image, _ = inputs.images("lenet", 2, 28)
    expected = task.model.apply(variables, task.normalize(jnp.asarray(image)))["logits"]
    np.testing.assert_allclose(work.outputs["logits"], expected, rtol=1e-4, atol=1e-5)
    trained = classify.train(tmp_path, **settings)
    first, second = trained.outputs["loss"]
    assert trained.units == 2 and trained.run() is None and first != second


def test_both_sides_of_coco_agree(tmp_path):
    settings = {"images": 6, "truth": 3, "found": 8}
    mine, theirs = coco_ap.ours(tmp_path, **settings), coco_ap.pycocotools(tmp_path, **settings)
    np.testing.assert_allclose(mine.outputs["ap"], theirs.outputs["ap"], atol=1e-9)
    assert 0.05 < mine.outputs["ap"][0] < 0.95


def test_growth_says_what_is_planned(tmp_path):
    work = growth.train(tmp_path, "lenet", 2, 28, 1)
    assert work.run() is None and work.facts["temp_bytes"] > 10_000
