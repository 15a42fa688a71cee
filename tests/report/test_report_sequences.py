"""Pictures of sequences: their text, whose images are shown, and the page's part."""

import numpy as np

from tests.report.test_report_queries import batch, outputs
from vision_jax.ops.pix2seq import NOISE, PADDING
from vision_jax.report.folder import save_arrays
from vision_jax.report.gallery_sequences import SequenceGallery, sequence_text
from vision_jax.report.pictures import evaluation_pictures
from vision_jax.report.saved_arrays import checked_arrays
from vision_jax.structs import Targets

WRITTEN = np.int32(
    [
        [1, 2, 30, 40, 1],
        [5, 6, 7, -1, 0],
        [0, 0, 9, 9, NOISE],
        [0, 0, 9, 8, NOISE],
        [3, 3, 3, 3, PADDING],
        [1, 1, 1, 1, 1],
    ]
)


def test_the_text_of_a_sequence():
    text = sequence_text(WRITTEN, ("dot", "cat"))
    assert text == "1 2 30 40 cat; 5 6 7 · dot; 2 made up; end"
    assert sequence_text(WRITTEN[:4], ()) == "1 2 30 40 1; 5 6 7 · 0; 2 made up"
    assert sequence_text(np.tile(WRITTEN[:1], (9, 1)), ("", "cat"), 2).endswith("cat; …")
    assert sequence_text(WRITTEN[4:], ()) == "end"


def drawn():
    given = batch()
    targets = Targets(
        boxes=np.tile(np.float32([[4, 4, 20, 20]]), (3, 1, 1)),
        labels=np.array([[1], [0], [1]], np.int32),
        valid=np.ones((3, 1), bool),
    )
    gallery = SequenceGallery(("dot", "cat"))
    gallery.add(
        {**outputs(), "written": np.tile(WRITTEN, (3, 1, 1))}, given.replace(targets=targets)
    )
    return gallery.result()


def test_images_come_with_what_was_written():
    result = drawn()
    assert len(result["caption"]) == 2 and result["caption"][0].startswith("1 2 30 40 cat;")
    assert result["found"].shape[0] == 2


def test_they_are_saved_and_drawn(tmp_path):
    save_arrays(tmp_path, "sequences", drawn())
    assert checked_arrays(tmp_path, "sequences") is not None
    picture = evaluation_pictures(tmp_path)["sequences"]
    assert picture.ndim == 3 and picture.dtype == np.uint8
