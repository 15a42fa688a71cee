"""R-CNN's host parts: stored features, hard negatives, SVMs and regression of boxes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.models.detectors.detector import DetectorModule
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import Detection, LinearSvm, RegressBoxes, TrainSvms, WriteRegionFeatures
from vision_jax.tasks.box_ridge import ridge_boxes
from vision_jax.tasks.linear_svm import HardNegatives
from vision_jax.tasks.region_features import RegionStore, overlaps

OBJECTS, PROPOSALS, WIDTH = 2, 6, 8


class Given(DetectorModule):
    """A network whose features are functions of the boxes."""

    num_classes: int = 3

    def __call__(self, images, sizes, targets=None, *, train=False, keys=None):
        boxes = targets.proposals
        turned = jnp.concatenate([boxes, boxes[..., ::-1] ** 2 / 50], -1) / 50
        shift = self.get_variable("params", "shift")
        return {"features": turned + shift, "box_features": turned}

    def loss(self, outputs, targets, valid):
        return {}

    def detect(self, outputs, sizes):
        return None


def task():
    return Detection(Given(), mean=(0.0,) * 3, std=(1.0,) * 3)


def batch(first, rows=2, proposals=PROPOSALS):
    rng = np.random.default_rng(first)
    corner = rng.uniform(0, 30, (rows, OBJECTS + proposals, 2))
    side = rng.uniform(8, 30, (rows, OBJECTS + proposals, 2))
    boxes = np.concatenate([corner, corner + side], -1).astype(np.float32)
    boxes[:, OBJECTS] = boxes[:, 0] + 1  # one that hits
    return Batch(
        image=np.zeros((rows, 64, 64, 3), np.uint8),
        valid=np.ones(rows, bool),
        index=np.arange(rows, dtype=np.int32),
        id=np.arange(first, first + rows, dtype=np.int32),
        targets=Targets(
            boxes=boxes[:, :OBJECTS],
            labels=np.tile(np.array([0, 1], np.int32), (rows, 1)),
            valid=np.ones((rows, OBJECTS), bool),
            proposals=boxes[:, OBJECTS:],
            proposal_valid=np.ones((rows, proposals), bool),
        ),
    )


def variables():
    params = {"shift": np.float32(0.1)}
    svm = {"kernel": np.zeros((WIDTH, 3), np.float32), "bias": np.zeros(3, np.float32)}
    boxes = {"kernel": np.zeros((WIDTH, 12), np.float32), "bias": np.zeros(12, np.float32)}
    return {"params": {**params, "head": {"svm": svm, "bbox_pred": boxes}}}


def written(folder, batches):
    return WriteRegionFeatures(str(folder)).solve(task(), variables(), batches, len(batches))


def test_overlaps_are_of_objects_that_are_there():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 0, 0], [2, 0, 6, 4], [0, 0, 4, 4]], np.float32)
    got = overlaps(boxes, np.array([3, -1]))
    np.testing.assert_allclose(got, [[1, 0], [0, 0], [1 / 3, 0], [1, 0]], atol=1e-6)


def test_features_are_written_once(tmp_path, capsys):
    batches = [batch(0), batch(2)]
    written(tmp_path / "regions", batches)
    assert "at most 0.00 GB" in capsys.readouterr().out
    store = RegionStore.open(str(tmp_path / "regions"))
    assert store.features.shape == (4, OBJECTS + PROPOSALS, WIDTH)
    for number, (part, row) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        targets = batches[part].targets
        boxes = np.concatenate([targets.boxes[row], targets.proposals[row]])
        np.testing.assert_array_equal(store.boxes[number], boxes)
        turned = np.concatenate([boxes, boxes[:, ::-1] ** 2 / 50], 1) / 50
        np.testing.assert_allclose(store.features[number], turned + 0.1, rtol=1e-5)
        near = store.overlaps(number).max(1) > 0.6
        near[:OBJECTS] = False
        assert near.any()
        np.testing.assert_allclose(store.box_features[number][near], turned[near], rtol=1e-5)
        assert not np.any(store.box_features[number][~near])


def test_a_killed_writing_goes_on(tmp_path):
    batches, folder = [batch(0), batch(2)], tmp_path / "regions"
    with pytest.raises(UserError, match="no complete features"):
        RegionStore.open(str(folder))

    def cut():
        yield batches[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WriteRegionFeatures(str(folder)).solve(task(), variables(), cut(), 2)
    with pytest.raises(UserError, match="no complete features"):
        RegionStore.open(str(folder))
    half = np.load(folder / "features.npy").copy()
    assert half[:2].any() and not half[2:].any()
    written(folder, batches)
    written(tmp_path / "whole", batches)
    for name in ("features", "box_features", "boxes", "valid", "labels"):
        one, other = (np.load(tmp_path / each / f"{name}.npy") for each in ("regions", "whole"))
        np.testing.assert_array_equal(one, other)
    changed = variables()
    changed["params"]["shift"] = np.float32(0.2)
    with pytest.raises(UserError, match="another network or other data"):
        WriteRegionFeatures(str(folder)).solve(task(), changed, batches, 2)


def test_images_without_proposals_are_refused(tmp_path):
    bare = batch(0).replace(targets=batch(0).targets.replace(proposals=None))
    with pytest.raises(UserError, match="have no proposals"):
        written(tmp_path, [bare])


def test_machines_tell_their_class_from_what_overlaps_little(tmp_path):
    folder = str(tmp_path / "regions")
    batches = [batch(2 * k) for k in range(6)]
    padding = batch(12)
    batches.append(padding.replace(valid=np.array([True, False])))
    written(folder, batches)
    solver = TrainSvms(folder, LinearSvm(c=10.0))
    head = solver.solve(task(), variables(), (), 0)["params"]["head"]["svm"]
    assert head["kernel"].shape == (WIDTH, 3)
    np.testing.assert_array_equal(head["kernel"][:, 2], 0)  # a class without objects
    assert head["bias"][2] == -1
    store = RegionStore.open(folder)
    store = dataclasses.replace(store, features=np.asarray(store.features)[:13])
    scores = np.asarray(store.features) @ head["kernel"] + head["bias"]
    for label in (0, 1):
        positives = scores[:, label, label].mean()
        overlapping = np.stack([store.overlaps(i)[:, label] for i in range(len(scores))])
        assert positives > scores[..., label][overlapping < 0.3].mean()
    narrow = variables()
    narrow["params"]["head"]["svm"]["kernel"] = np.zeros((WIDTH + 1, 3), np.float32)
    with pytest.raises(UserError, match="8 numbers each, but head/svm reads 9"):
        solver.solve(task(), narrow, (), 0)


def test_rows_that_fill_a_batch_are_no_objects(tmp_path, capsys):
    folder = str(tmp_path / "regions")
    one = batch(0).replace(valid=np.array([True, False]))
    written(folder, [one])
    TrainSvms(folder).solve(task(), variables(), (), 0)
    assert "SVMs of 3 classes, of 0 to 1 positives each" in capsys.readouterr().out


def test_loose_positives_are_proposals_on_the_objects(tmp_path, capsys):
    folder = str(tmp_path / "regions")
    written(folder, [batch(0)])
    store = RegionStore.open(folder)
    counts = np.zeros(3, int)
    for number in range(2):
        iou = store.overlaps(number)
        for label in (0, 1):
            counts[label] += 1 + np.sum(iou[OBJECTS:, label] >= 0.6)
    TrainSvms(folder, positive_iou=0.6).solve(task(), variables(), (), 0)
    told = f"of {counts.min()} to {counts.max()} positives each"
    assert counts.max() > 2 and told in capsys.readouterr().out


def test_regressors_move_boxes_towards_their_objects(tmp_path):
    folder = str(tmp_path / "regions")
    written(folder, [batch(2 * k) for k in range(20)])
    solver = RegressBoxes(folder, penalty=1e-3)
    head = solver.solve(task(), variables(), (), 0)["params"]["head"]["bbox_pred"]
    kernel, bias = (head[key].reshape(-1, 3, 4) for key in ("kernel", "bias"))
    assert not kernel[:, 2].any() and not bias[:, 2].any()
    store = RegionStore.open(folder)
    deltas = np.asarray(store.box_features[:, OBJECTS]) @ kernel[:, 0] + bias[:, 0]
    boxes = np.asarray(store.boxes)
    sides = boxes[:, OBJECTS, 2:] - boxes[:, OBJECTS, :2]
    moved = (deltas[:, :2] * sides).mean(0)
    assert (moved < -0.5).all() and (moved > -1.5).all()  # each lies a pixel too far


def test_whitened_targets_have_no_correlation():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4))
    found = ridge_boxes(rng.normal(size=(400, 3)), targets)
    white = (targets - found.mean) @ found.whiten
    np.testing.assert_allclose(white.T @ white / 400, np.eye(4), atol=0.05)
    np.testing.assert_allclose(found.whiten @ found.unwhiten, np.eye(4), atol=1e-9)


def test_the_first_image_gives_all_its_negatives_and_easy_ones_go():
    rng = np.random.default_rng(0)
    mining = HardNegatives(LinearSvm(c=1.0), rng.normal(3, 1, (10, 4)), limit=5)
    mining.see(0, rng.normal(-3, 1, (20, 4)), np.arange(20) < 15)
    assert mining.updates[0].trained == 15 and mining.updates[0].left < 15
    cached = len(mining.cached)
    mining.see(1, rng.normal(-9, 1, (20, 4)), np.ones(20, bool))  # none of them is hard
    assert len(mining.cached) == cached and len(mining.updates) == 1
    hard = rng.normal(2, 1, (6, 4))
    mining.see(2, hard, np.ones(6, bool))
    assert len(mining.updates) == 2 and any(image == 2 for image, _ in mining.cached)
