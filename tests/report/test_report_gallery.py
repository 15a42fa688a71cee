"""Which detections and segmentations are shown, and what the page makes of them."""

import numpy as np
import pytest

from vision_jax import data, report
from vision_jax.evaluation import records
from vision_jax.report.gallery import HardAndEven
from vision_jax.report.gallery_objects import ObjectGallery, f1
from vision_jax.report.gallery_semantic import SemanticGallery
from vision_jax.report.originals import Originals
from vision_jax.structs import Batch, Detections, Targets
from vision_jax.visualize import colors, voc_palette

N, H, W = 10, 40, 60
BOX = np.array([10, 10, 30, 30], np.float32)


def make_batch(rows=N, start=0, **targets):
    one = np.ones((rows, 1), bool)
    given = Targets(
        boxes=np.tile(BOX, (rows, 1, 1)), labels=np.where(one, 1, 0), valid=one, **targets
    )
    return Batch(
        image=np.zeros((rows, H, W, 3), np.uint8),
        valid=np.arange(rows) + start < N - 1,  # the last row only fills the batch
        index=np.arange(rows, dtype=np.int32),
        targets=given,
        size=np.full((rows, 2), [20, 60], np.float32),
        scale=np.full((rows, 2), [2, 0.5], np.float32),
        id=np.arange(start, start + rows, dtype=np.int32),
    )


def found(numbers):
    """Number 3 misses by its place, 5 by its score, 7 by its class; the others are right."""
    numbers = np.asarray(numbers)
    boxes = np.tile(BOX, (len(numbers), 1, 1))
    boxes[numbers == 3] += 15
    scores = np.where(numbers == 5, 0.4, 0.8).astype(np.float32)[:, None]
    labels = np.where(numbers == 7, 0, 1)[:, None]
    return Detections(boxes, scores, labels, np.ones((len(numbers), 1), bool))


@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_the_worst_images_come_first_whatever_the_batch(batch_size):
    gallery = ObjectGallery(("cat", "dog"), count=5)
    for start in range(0, N, batch_size):
        batch = make_batch(batch_size, start) if start + batch_size <= N else make_batch(1, start)
        gallery.add(found(batch.id), batch)
    result = gallery.result()
    assert result["caption"][:3].tolist() == ["F1 0.00"] * 3
    assert result["caption"][3:].tolist() == ["F1 1.00"] * 2
    # The content is 40 by 30 pixels, and enlarged by whole factors.
    assert result["truth"].shape == (5, 280, 280, 3)
    assert (result["truth"][0, :, 210:] == 255).all() and not (result["truth"][0, 270:, :200]).any()
    # Number 3 is the first: its box is elsewhere. 5 has none that is sure.
    dog = np.array(colors.of_class(1))
    truth, drawn = ((result[k][0] == dog).all(-1) for k in ("truth", "found"))
    assert truth[210 - 1, 140] and not drawn[210 - 1, 140]
    assert not (result["found"][1, :, :200] == dog).all(-1).any()


def test_a_crowd_of_proposals_is_told_and_not_drawn():
    batch, boxes = make_batch(2), np.tile(BOX, (2, 30, 1))
    boxes[:, 10:] += 12
    scores = np.linspace(1, 0.3, 30, dtype=np.float32)[None].repeat(2, 0)  # 21 are sure
    crowd = Detections(boxes, scores, np.ones((2, 30), int), np.ones((2, 30), bool))
    gallery = ObjectGallery(("cat", "dog"), count=2)
    gallery.add(crowd, batch)
    result = gallery.result()
    assert result["caption"].tolist() == ["F1 0.09, 10 of 21"] * 2  # one of them is right
    dog = (result["found"][0] == np.array(colors.of_class(1))).all(-1)
    rows = np.flatnonzero(dog.any(1))
    assert rows.max() == 7 * 30 - 1  # the others end lower down


def test_f1_counts_classes_scores_and_places():
    batch = make_batch()
    scores = [f1(record) for record in records(batch, found(batch.id))]
    assert scores == [1, 1, 1, 0, 1, 0, 1, 0, 1]
    none = found(batch.id).replace(valid=np.zeros((N, 1), bool))
    assert f1(records(batch, none)[0]) == 0
    empty = batch.replace(targets=batch.targets.replace(valid=np.zeros((N, 1), bool)))
    assert f1(records(empty, none)[0]) == 1
    assert f1(records(empty, found(batch.id))[0]) == 0
    # Two found where one is: 2 · 1 / (2 + 1).
    twice = Detections(
        *(
            np.repeat(x, 2, 1)
            for x in (
                found(batch.id).boxes,
                found(batch.id).scores,
                found(batch.id).labels,
                batch.targets.valid,
            )
        )
    )
    assert f1(records(batch, twice)[0]) == pytest.approx(2 / 3)


def test_hard_and_even_never_show_an_image_twice():
    kept = HardAndEven(6)
    for number in range(40):
        kept.offer(number, number / 40, lambda number=number: number)
    chosen = kept.result()
    assert chosen[:3] == [0, 1, 2] and len(set(chosen)) == 6
    few = HardAndEven(6)
    few.offer(4, 0.5, lambda: "four")
    assert few.result() == ["four"]


def test_segmentations_stand_beside_each_other_in_vocs_colours():
    segmentation = np.zeros((N, H, W), np.int32)
    segmentation[:, :5] = 255
    segmentation[:, 5:10] = 2
    guess = np.where(segmentation == 255, 1, segmentation)
    guess[4, 5:10] = 3
    gallery = SemanticGallery(("sky", "road", "tree"), count=2)
    gallery.add(guess, make_batch(segmentation=segmentation))
    result = gallery.result()
    assert result["caption"].tolist()[0] == f"{30 / 35:.1%} of pixels"
    assert result["caption"].tolist()[1] == "100.0% of pixels"
    times = 224 // H
    colours = voc_palette()
    row = 7 * times
    # Labels tint the image, which is black here, with 0.6 of their colours; borders have all.
    tinted = np.round(0.6 * colours).astype(int)
    np.testing.assert_array_equal(result["truth"][0, row, 3], tinted[2])
    np.testing.assert_array_equal(result["found"][0, row, 3], tinted[3])
    np.testing.assert_array_equal(result["truth"][0, times, 3], tinted[255])
    np.testing.assert_array_equal(result["truth"][0, 5 * times, 3], colours[2])
    assert not result["image"][0, row, 3].any()
    names = ["sky (not tinted)", "road", "tree", "3", "void"]
    assert result["legend_names"].tolist() == names
    np.testing.assert_array_equal(result["legend_colors"][1:], colours[[1, 2, 3, 255]])


def test_labels_of_the_originals_size_are_shown_whole():
    labels = np.full((N, 30, 64), 255, np.int32)
    labels[:, :20, :60] = 1  # the original's 20×60 pixels, which the network saw as 40×30
    gallery = SemanticGallery(count=2)
    gallery.add(labels, make_batch(segmentation=labels))
    result = gallery.result()
    # The network saw 40×30 pixels, on which the labels lie.
    for name in ("truth", "found"):
        np.testing.assert_array_equal(
            (result[name][0] != 255).any(-1), (result["image"][0] != 255).any(-1)
        )
        assert len(np.unique(result[name][0, 1:190, 1:149], axis=0)) <= 2


class Photos(data.BaseSource):
    """Originals of 20×60 pixels, each of one grey."""

    classes = ("cat", "dog")

    def __init__(self, height=20):
        self.height = height

    def __len__(self):
        return N

    def __getitem__(self, i):
        return {
            "image": np.full((self.height, 60, 3), 10 * i, np.uint8),
            "labels": np.array([i % 2]),
        }


def test_objects_are_drawn_on_the_original_image():
    batch = make_batch()  # 40×30 pixels of the network's input, which is black
    gallery = ObjectGallery(("cat", "dog"), count=2, originals=Originals(Photos()))
    gallery.add(found(batch.id), batch)
    result = gallery.result()
    # 20×60 pixels, enlarged by 4; the box (10, 10, 30, 30) is (20, 5, 60, 15) there.
    shown = result["truth"][0]
    assert (shown[0:2, :240] == 30).all() and (shown[80:] == 255).all() and shown.shape[1] == 240
    dog = (shown == np.array(colors.of_class(1))).all(-1)
    rows, columns = np.flatnonzero(dog[:, 150]), np.flatnonzero(dog[59])
    assert rows.max() == 4 * 15 - 1 and (columns.min(), columns.max()) == (80, 239)


def test_an_original_of_another_size_is_not_drawn_on():
    batch = make_batch()
    gallery = ObjectGallery(("cat", "dog"), count=2, originals=Originals(Photos(height=21)))
    gallery.add(found(batch.id), batch)
    assert gallery.result()["truth"].shape == (2, 280, 280, 3)


def test_a_watcher_leaves_only_what_there_was(tmp_path):
    watcher = report.Watcher(("cat", "dog"))
    batch = make_batch()
    watcher({"detections": found(batch.id)}, batch)
    results = {
        "per_class_ap": np.array([0.5, np.nan]),
        "precision_at_recall": np.stack([np.linspace(1, 0, 101), np.full(101, np.nan)]),
        "curve/recall/proposals/IoU 0.5": np.array([[1, 10], [0.2, 0.9]]),
        "curve/recall/proposals/IoU 0.7": np.array([[1, 10], [0.1, 0.5]]),
        "ap50": 0.5,
    }
    report.save_evaluation(tmp_path, results, watcher)
    saved = {path.stem for path in (tmp_path / "arrays").iterdir()}
    assert saved == {"detections", "per_class", "precision_recall", "curves"}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "eval/ap50": 0.5}\n')
    page = report.write_report(tmp_path)
    text = page.read_text()
    pictures = {path.stem for path in page.parent.glob("*.png")}
    assert pictures == {"detections", "precision_recall", "curve_recall"}
    assert "recall against proposals: IoU 0.5, IoU 0.7" in text
    assert "9 images: truth, found" in text
