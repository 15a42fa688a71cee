"""Captions: Karpathy's split files, vocabularies, and rows of tokens."""

import copy
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import SettingError, UserError, build, node
from vision_jax.data import (
    CaptionFolder,
    CocoFolder,
    EncodeCaption,
    Eval,
    HeldOut,
    Vocabulary,
    WithVocabulary,
    captions_of,
    read_vocabulary,
    vocabulary_of,
    with_vocabulary,
    with_words,
)
from vision_jax.data.loading import Loader

COCO = {
    "dataset": "coco",
    "images": [
        {
            "filepath": "val2014",
            "filename": f"{name}.jpg",
            "split": split,
            "cocoid": number,
            "imgid": number - 70,
            "sentids": [number],
            "sentences": [
                {"raw": f"A {word} runs.", "tokens": ["a", word, "runs"], "sentid": number},
                {"tokens": ["the", word], "sentid": number + 1},
            ],
        }
        for name, split, number, word in (
            ("a", "train", 70, "cat"),
            ("b", "val", 71, "dog"),
            ("c", "restval", 72, "cat"),
        )
    ],
}


@pytest.fixture
def write(tmp_path):
    """Writes the file with changes, each a path of keys and the value that goes there."""
    (tmp_path / "i" / "val2014").mkdir(parents=True)
    for name in "abc":
        Image.new("RGB", (8, 6)).save(tmp_path / "i" / "val2014" / f"{name}.jpg")

    def write(*changes, images="i"):
        tree = copy.deepcopy(COCO)
        for *path, last, value in changes:
            here = tree
            for key in path:
                here = here[key]
            here[last] = value
        (tmp_path / "c.json").write_text(json.dumps(tree))
        return {"annotations": str(tmp_path / "c.json"), "images": str(tmp_path / images)}

    return write


def test_splits(write):
    paths = write()
    assert len(CaptionFolder(**paths)) == 3
    source = CaptionFolder(**paths, split="train+restval")
    assert [source.image_id(i) for i in range(2)] == [70, 72]
    assert source[0]["captions"] == ["A cat runs.", "the cat"] and source.classes == ()
    example = Loader(source)(1, np.random.default_rng(0))
    assert example["image"].shape == (6, 8, 3)
    with pytest.raises(UserError, match=r"no image has the split .trian. - did you mean train\?"):
        CaptionFolder(**paths, split="trian")


def test_flickr_has_no_folders_and_no_numbers(write, tmp_path):
    changes = [("images", row, "filepath", None) for row in range(3)]
    changes += [("images", row, "cocoid", None) for row in range(3)]
    source = CaptionFolder(**write(*changes, images="i/val2014"))
    assert [source.image_id(i) for i in range(3)] == ["a", "b", "c"]
    flat = CaptionFolder(**write(images="i/val2014"))  # COCO's images put into one folder
    assert flat.image_id(0) == 70


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("images", 5), "no list 'images'; is it a file of captions?"),
        (("images", 1, 7), r"images\[1\] is 7, no object"),
        (("images", 1, {}), r"images\[1\]: no 'filename'"),
        (("images", 1, "filename", ""), r"images\[1\]: filename is empty"),
        (("images", 1, "filename", "x.jpg"), r"images\[1\]: no image .*x\.jpg"),
        (("images", 1, "filename", "a.jpg"), r"images\[1\]: images\[0\] is the same image"),
        (("images", 1, "filepath", 3), r"images\[1\]: filepath is 3, not a text"),
        (("images", 1, "cocoid", [1]), r"images\[1\]: cocoid is \[1\], neither"),
        (("images", 1, "sentences", None), r"images\[1\]: sentences is null, not a list"),
        (("images", 1, "sentences", [4]), r"images\[1\]: sentences\[0\] is 4, neither"),
        (("images", 1, "sentences", 0, {}), r"sentences\[0\] has neither a text 'raw' nor"),
        (("images", 1, "sentences", 0, "raw", " "), r"sentences\[0\]\.raw is empty"),
        (("images", 1, "sentences", 1, "tokens", []), r"sentences\[1\]\.tokens is empty"),
        (("images", []), "it lists no image"),
        (("annotations", []), "COCO's own format; read it by CocoFolder"),
    ],
)
def test_defects_are_named(write, change, message):
    paths = write(change)
    with pytest.raises(UserError, match=message) as caught:
        CaptionFolder(**paths)
    assert "c.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, '{"images": ' + "1" * 5000 + "}"])
def test_damaged_files_are_named(write, tmp_path, text):
    paths = write()
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UserError, match=r"c\.json"):
        CaptionFolder(**paths)


def test_captions_of_any_source(write, tmp_path):
    source = CaptionFolder(**write())
    (tmp_path / "i" / "val2014" / "b.jpg").write_bytes(b"")  # nobody opens it
    assert captions_of(source) == [[f"A {w} runs.", f"the {w}"] for w in ("cat", "dog", "cat")]
    part = HeldOut(source, "val")
    assert captions_of(part) == [captions_of(source)[part.position(0)]]
    (tmp_path / "coco.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg"}],
                "annotations": [{"image_id": 1, "caption": "A cat."}],
                "categories": [],
            }
        )
    )
    paths = str(tmp_path / "coco.json"), str(tmp_path / "i" / "val2014")
    assert captions_of(CocoFolder(*paths, fields=("captions",))) == [["A cat."]]
    (tmp_path / "coco.json").write_text(
        json.dumps(
            {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []}
        )
    )
    with pytest.raises(UserError, match=r"no captions; is .captions. among the fields\?"):
        captions_of(CocoFolder(*paths))


def test_a_vocabulary_there_and_back(tmp_path):
    texts = ["A cat runs!", "a cat sleeps", "a dog", "cafe\u0301 日本 <end>"]
    words = Vocabulary.of_captions(texts, threshold=2)
    assert words.words == ("<pad>", "<start>", "<end>", "<unk>", "a", "cat")
    assert words.encode("The cat.") == [1, 3, 5, 2] and words.encode("") == [1, 2]
    assert words.decode(np.array([1, 4, 3, 5, 2, 4, 0])) == ["a", "<unk>", "cat"]
    assert words.decode([0, 0]) == [] and words.decode([4, 5]) == ["a", "cat"]
    full = Vocabulary.of_captions(texts, threshold=1)
    assert full.words[4:6] == ("a", "cat") and sorted(full.words[6:]) == [*full.words[6:]]
    full.save(tmp_path / "v.json")
    again = read_vocabulary(tmp_path / "v.json")
    assert again == full != words and hash(again) == hash(full) and len(again) == len(full)
    for wrong in (-1, len(full)):
        with pytest.raises(ValueError, match=f"{wrong} is no token"):
            full.decode([wrong])
    assert full.encode("<end> <pad>")[-1] == 2 and not {0, 1, 2} & {*full.encode("<end>")[1:-1]}


def test_a_threshold_that_no_word_reaches():
    with pytest.raises(UserError, match="no word is there 9 times, the most frequent one 2 times"):
        Vocabulary.of_captions(["a cat", "a dog"], threshold=9)
    with pytest.raises(UserError, match="the most frequent one 0 times"):
        Vocabulary.of_captions([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1"),
        ("[]", "no list 'words' that begins with <pad>, <start>, <end>, <unk>"),
        ('{"words": ["a"]}', "no list 'words' that begins"),
        ('{"words": ["<pad>", "<start>", "<end>", "<unk>", 5]}', r"words\[4\] is 5, not a text"),
        ('{"words": ["<pad>", "<start>", "<end>", "<unk>", "a", "a"]}', "'a' is there twice"),
        ('{"words": ["<pad>", "<start>", "<end>", "<unk>", ""]}', "a word is empty"),
    ],
)
def test_damaged_vocabularies_are_named(tmp_path, text, message):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(UserError, match=rf"v\.json.*{message}"):
        read_vocabulary(tmp_path / "v.json")
    with pytest.raises(UserError, match=r"w\.json"):
        read_vocabulary(tmp_path / "w.json")


def test_rows_of_tokens():
    words, rng = Vocabulary(["a", "cat"]), np.random.default_rng(0)
    example = {"image": None, "encoded": [words.encode("a cat"), words.encode("a")]}
    first = EncodeCaption(length=6, random=False)(example, rng)
    assert first["tokens"].tolist() == [1, 4, 5, 2, 0, 0] and first["tokens"].dtype == np.int32
    short = EncodeCaption(length=3, random=False)(example, rng)
    assert short["tokens"].tolist() == [1, 4, 5]
    drawn = {tuple(EncodeCaption(4)(example, rng)["tokens"].tolist()) for _ in range(40)}
    assert drawn == {(1, 4, 5, 2), (1, 4, 2, 0)}
    empty = EncodeCaption(3)({"encoded": []}, rng)
    assert empty["tokens"].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"no tokens; is the source a data\.WithVocabulary\?"):
        EncodeCaption()({"image": None, "captions": ["a"]}, rng)
    with pytest.raises(SettingError, match="length=1"):
        EncodeCaption(1)


def test_batches_hold_tokens(write):
    source = WithVocabulary(CaptionFolder(**write()), threshold=1)
    pipeline = Eval(source, (EncodeCaption(5, random=False),), batch_size=4)
    (batch,) = pipeline.batches()
    assert batch.targets.tokens.dtype == np.int32 and batch.targets.tokens.shape == (4, 5)
    assert [source.vocabulary.decode(row) for row in batch.targets.tokens] == [
        ["a", "cat", "runs"],
        ["a", "dog", "runs"],
        ["a", "cat", "runs"],
        [],
    ]


def test_classes_are_the_words_of_the_training_captions(write, tmp_path):
    training = WithVocabulary(CaptionFolder(**write() | {"split": "train"}), threshold=1)
    whole = CaptionFolder(**write())
    both = with_words(whole, training.classes)
    assert both.classes == training.classes
    assert "dog" not in both.classes and both.category_ids == ()
    assert 3 in both[1]["encoded"][0]  # a word that training lacks
    both.vocabulary.save(tmp_path / "v.json")
    assert WithVocabulary(whole, file=str(tmp_path / "v.json")).classes == both.classes
    with pytest.raises(UserError, match="either `words` or `file`"):
        WithVocabulary(whole, words=both.words, file="v.json")


def test_known_words_reach_the_vocabulary_within(write, monkeypatch):
    own = WithVocabulary(CaptionFolder(**write()), threshold=1)
    part = with_words(HeldOut(own, "val"), ("<pad>", "<start>", "<end>", "<unk>", "cat"))
    assert isinstance(part, HeldOut) and part.classes[4:] == ("cat",)
    monkeypatch.setattr(with_vocabulary, "vocabulary_of", None)  # nobody reads all captions
    again = pickle.loads(pickle.dumps(part))
    assert again[0]["encoded"] == part[0]["encoded"] and len(part) == len(HeldOut(own, "val"))


def test_a_config_names_vocabulary_and_references(write, tmp_path):
    source = node(CaptionFolder, **write())
    words = build(node(vocabulary_of, source=source, threshold=2))
    words.save(tmp_path / "v.json")
    assert build(node(read_vocabulary, path=str(tmp_path / "v.json"))) == words
    assert build(node(captions_of, source=source)) == captions_of(build(source))
