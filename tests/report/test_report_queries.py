"""Pictures of queries: whose attention is shown, where it lies on the image, and the page."""

import json

import numpy as np

from vision_jax import report, visualize
from vision_jax.report.folder import save_arrays
from vision_jax.report.gallery_queries import AttentionGallery, Slots
from vision_jax.report.pictures import evaluation_pictures
from vision_jax.report.saved_arrays import checked_arrays
from vision_jax.structs import Batch, Detections, Targets
from vision_jax.visualize import colors

EXPECT = {"metric": "eval/ap50", "value": 0.6, "source": "this demo's own bar"}
GREEN, RED, BLUE = (30, 150, 60), (210, 50, 40), (40, 80, 200)


def batch(valid=(True, True, False)):
    """Images of 32×64 pixels on a canvas of 64×64."""
    count = len(valid)
    return Batch(
        image=np.full((count, 64, 64, 3), 90, np.uint8),
        valid=np.array(valid),
        index=np.arange(count, dtype=np.int32),
        targets=Targets(),
        size=np.tile(np.float32([32, 64]), (count, 1)),
        scale=np.ones((count, 2), np.float32),
        id=np.arange(count, dtype=np.int32),
    )


def outputs(count=3):
    maps = np.zeros((count, 2, 2, 8, 8), np.float32)
    maps[:, 0, 0, 3, 7] = 1  # the decoder: the lower right corner of the content
    maps[:, 0, 1, 0, 0] = 1  # the encoder: the upper left one
    scores = np.float32([[0.9, 0.2], [0.6, 0.5], [0.99, 0.9]])[:count]
    boxes = np.tile(np.float32([[4, 4, 20, 20], [30, 4, 60, 30]]), (count, 1, 1))
    found = Detections(
        boxes=boxes, scores=scores, labels=np.ones((count, 2), np.int32), valid=scores > 0
    )
    relative = np.tile(np.float32([[0.25, 0.5, 0.2, 0.1]]), (count, 2, 1))
    return {"detections": found, "attention_maps": maps, "relative_boxes": relative}


def brightest(picture):
    return np.unravel_index(picture.astype(int).sum(-1).argmax(), picture.shape[:2])


def test_attention_lies_on_the_image():
    gallery = AttentionGallery(("dot", "cat"))
    gallery.add(outputs(), batch())
    result = gallery.result()
    assert result["caption"].tolist() == ["cat 90%", "cat 60%"]  # no padding, the surest first
    height, width = 96, 192
    decoder, encoder = (result[name][0][:height, :width] for name in ("decoder", "encoder"))
    y, x = brightest(decoder)
    assert y > 0.75 * height and x > 0.85 * width
    y, x = brightest(encoder)
    assert y < 0.25 * height and x < 0.15 * width
    assert (result["object"][0][:height, :width] == colors.of_class(1)).all(-1).any()


def test_images_without_detections_are_left_out():
    given = outputs()
    none = given["detections"].replace(valid=np.zeros((3, 2), bool))
    gallery = AttentionGallery()
    gallery.add({**given, "detections": none}, batch())
    assert len(gallery.result()["caption"]) == 0


def test_slots_are_dots_in_their_squares():
    boxes = np.float32([[[0.25, 0.75, 0.02, 0.02], [0.5, 0.5, 0.5, 0.3], [0.9, 0.1, 0.3, 0.5]]])
    picture = visualize.draw_slots(boxes, side=100)
    for number, (color, x, y) in enumerate(((GREEN, 25, 75), (RED, 50, 50), (BLUE, 90, 10))):
        assert tuple(picture[10 + y, 10 + number * 110 + x]) == color
    assert visualize.draw_slots(np.zeros((2, 50, 4)), most=7, side=50).shape[1] == 5 * 60 + 10


def test_so_many_images_boxes_are_kept():
    slots = Slots(most=3)
    for _ in range(3):
        slots.add(outputs()["relative_boxes"], batch())
    assert slots.result()["boxes"].shape == (3, 2, 4)
    assert len(Slots().result()["boxes"]) == 0


def test_the_page_shows_both(tmp_path):
    gallery, slots = AttentionGallery(), Slots()
    gallery.add(outputs(), batch()), slots.add(outputs()["relative_boxes"], batch())
    save_arrays(tmp_path, "attention", gallery.result())
    save_arrays(tmp_path, "slots", slots.result())
    assert {"attention", "slots"} <= {*evaluation_pictures(tmp_path)}
    assert checked_arrays(tmp_path, "slots")["boxes"].shape == (2, 2, 4)
    (tmp_path / "config.json").write_text(json.dumps({"expect": EXPECT}))
    text = report.write_report(tmp_path).read_text()
    assert "where its query looks" in text and "Centres of the boxes of 2 queries" in text
