"""Pictures with captions: which are kept, what stands below them, and the attention of words."""

import json

import numpy as np

from vision_jax import report, visualize
from vision_jax.data.sources import BaseSource
from vision_jax.report.folder import save_arrays
from vision_jax.report.gallery_captions import CaptionGallery
from vision_jax.report.pictures import evaluation_pictures
from vision_jax.report.rendering import render
from vision_jax.report.saved_arrays import checked_arrays
from vision_jax.structs import Batch, Targets
from vision_jax.tasks.descriptions import describe_captions
from vision_jax.visualize.captions import font_for_labels, wrapped
from vision_jax.words import SPECIAL

WORDS = (*SPECIAL, "a", "red", "cat")
EXPECT = {"metric": "eval/cider_d", "value": 2.0, "source": "this demo's own bar"}


class People(BaseSource):
    """Two captions of each image."""

    classes = ()

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return {"image": np.full((8, 8, 3), 90, np.uint8), "captions": ["A red cat.", f"cat {i}"]}


def batch(valid=(True, True, False)):
    count = len(valid)
    return Batch(
        image=np.full((count, 8, 8, 3), 90, np.uint8),
        valid=np.array(valid),
        index=np.arange(count, dtype=np.int32),
        targets=Targets(tokens=np.tile(np.int32([1, 6, 2, 0, 0]), (count, 1))),
        size=np.tile(np.float32([8, 8]), (count, 1)),
        scale=np.ones((count, 2), np.float32),
        id=np.arange(count, dtype=np.int32),
    )


def outputs(attends=True):
    tokens = np.int32([[1, 4, 5, 6, 2], [1, 6, 2, 0, 0], [1, 2, 0, 0, 0]])
    found = {"tokens": tokens, "score": np.float32([-1, -6, -9])}
    attention = np.zeros((3, 4, 4, 4), np.float32)
    attention[:, 0, 0, 0] = 1  # of the first word: the upper left corner
    attention[:, 1:, 3, 3] = 1
    return {**found, "attention": attention} if attends else found


def test_the_least_certain_caption_comes_first_with_all_that_people_wrote():
    gallery = CaptionGallery(WORDS, People())
    gallery.add(outputs(), batch())
    result = gallery.result()
    assert result["found"].tolist() == ["cat", "a red cat"]  # no padding
    assert result["truth"].tolist() == ["a red cat\ncat 1", "a red cat\ncat 0"]
    assert result["image"].shape == (2, 224, 224, 3)
    alone = CaptionGallery(WORDS)
    alone.add(outputs(attends=False), batch())
    assert alone.result()["truth"].tolist() == ["cat", "cat"]
    assert len(alone.looks()["caption"]) == 0


def test_a_word_lies_beside_the_place_that_was_looked_at():
    gallery = CaptionGallery(WORDS)
    gallery.add(outputs(), batch())
    looks = gallery.looks()
    texts = looks["caption"].reshape(-1, 8).tolist()
    assert [text[:4] for text in texts] == [["", "cat", "", ""], ["", "a", "red", "cat"]]
    pictures = looks["image"].reshape(2, 8, 96, 96, 3).astype(int).sum(-1)
    for word, place in ((1, (0, 0)), (3, (1, 1))):
        corner = np.unravel_index(pictures[1, word].argmax(), (96, 96))
        assert tuple(np.array(corner) // 48) == place
    assert (pictures[0, 3] == 3 * 255).all()  # filled up


def test_the_page_shows_both(tmp_path):
    gallery = CaptionGallery(WORDS)
    gallery.add(outputs(), batch())
    save_arrays(tmp_path, "captions", gallery.result())
    save_arrays(tmp_path, "looks", gallery.looks())
    assert {"captions", "looks"} <= {*evaluation_pictures(tmp_path)}
    assert checked_arrays(tmp_path, "looks")["image"].shape == (16, 96, 96, 3)
    (tmp_path / "config.json").write_text(json.dumps({"expect": EXPECT}))
    text = report.write_report(tmp_path).read_text()
    assert "green if it is one" in text and "Attention of words" in text


def test_an_answer_has_its_caption_below_it_and_its_attention_beside_it():
    def describe(outputs, classes, threshold):
        return describe_captions(outputs["tokens"], outputs["score"], classes)

    one = {name: value[:1] for name, value in outputs().items()}
    image = np.full((40, 500, 3), 90, np.uint8)
    answer, pictures = render(describe, one, batch((True,)), image, WORDS)
    assert answer == {"text": "a red cat", "caption": "a red cat", "score": -1.0}
    assert set(pictures) == {"picture", "attention"}
    assert set(render(describe, {k: one[k] for k in ("tokens", "score")}, batch((True,)), image,
                      WORDS)[1]) == {"picture"}  # fmt: skip


def test_lines_break_between_words():
    line = "a large red star a small blue ring and a medium green cross"
    lines = wrapped(line, 120, most=9)
    assert " ".join(lines) == line and len(lines) > 2
    assert all(font_for_labels().getlength(one) <= 120 for one in lines)
    assert len(wrapped(line, 60, most=2)) == 2 and wrapped("", 60) == [""]
    assert visualize.draw_attended_words(
        np.zeros((8, 8, 3), np.uint8), [], np.zeros((3, 2, 2))
    ).any()
