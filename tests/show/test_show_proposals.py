"""The command that writes proposals: its file, resumption, and what is said of bad input."""

import pathlib

import cv2
import numpy as np
import pytest

from vision_jax import data, proposals
from vision_jax.data.by_text import source_from_text
from vision_jax.proposals.__main__ import main
from vision_jax.show import proposals as command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five pictures of two classes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_IMAGES", 2)
    random = np.random.default_rng(0)
    for number in range(5):
        path = pathlib.Path("photos", "ab"[number % 2], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = random.integers(0, 256, (3, 4 + number, 3)).astype(np.uint8)
        cv2.imwrite(str(path), np.kron(picture, np.ones((8, 8, 1), np.uint8)))
    return "folder:photos"


def run(*words):
    return main([str(word) for word in words])


def test_the_file_is_read_with_the_data(folder, capsys):
    assert run("superpixels", folder, "--out", "p.npz", "--seed", 3) == 0
    assert "5 images" in capsys.readouterr().out
    source = source_from_text(folder)
    with_proposals = data.WithProposals(source, "p.npz", max_proposals=50)
    for i in range(5):
        image = command._rgb(source[i]["image"])
        expected = proposals.METHODS["superpixels"](image, 3 + i)
        example = with_proposals[i]
        np.testing.assert_array_equal(example["proposals"][: len(expected)], expected)
        assert example["proposal_valid"].sum() == len(expected) > 1
    assert not pathlib.Path("p.npz.parts").exists()
    assert run("superpixels", folder, "--out", "p.npz", "--seed", 3) == 0
    assert "is complete" in capsys.readouterr().out


def test_it_goes_on_where_it_was_interrupted(folder, monkeypatch, capsys):
    assert run("uniform", folder, "--out", "whole.npz", "--most", 7) == 0
    calls = []
    write = command._write_part

    def interrupted(job):
        calls.append(job[-2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(job)

    monkeypatch.setattr(command, "_write_part", interrupted)
    arguments = ("uniform", folder, "--out", "half.npz", "--most", 7)
    assert run(*arguments) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not pathlib.Path("half.npz").exists()
    assert run("uniform", folder, "--out", "half.npz", "--most", 8) == 2
    assert "made with most 7, not 8" in capsys.readouterr().err
    assert run(*arguments) == 0
    assert calls == [0, 2, 2, 4]  # the first part was not made again
    with np.load("whole.npz") as whole, np.load("half.npz") as half:
        assert whole.files == half.files
        for key in whole.files:
            np.testing.assert_array_equal(whole[key], half[key])
        np.testing.assert_array_equal(whole["counts"], 7)


@pytest.mark.slow
def test_workers_write_the_same(folder):
    assert run("uniform", folder, "--out", "one.npz") == 0
    assert run("uniform", folder, "--out", "two.npz", "--workers", 2) == 0
    with np.load("one.npz") as one, np.load("two.npz") as two:
        np.testing.assert_array_equal(one["boxes"], two["boxes"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("selective_serach_fast", "folder:photos"), "did you mean"),
        (("uniform", "folder:nothing"), "nothing"),
        (("uniform", "photos"), "KIND"),
        (
            ("uniform", "folder:photos", "--workers", -1),
            "--workers: '-1' must be a whole number of at least 0",
        ),
        (
            ("uniform", "folder:photos", "--most", 0),
            "--most: '0' must be a whole number of at least 1",
        ),
        (
            ("uniform", "folder:photos", "--seed", -1),
            "--seed: '-1' must be a whole number of at least 0",
        ),
        (("uniform", "folder:photos", "--out", "p.npy"), "must end with .npz"),
        (("uniform", "folder:photos", "--out", "text.npz"), "is no npz file"),
        (("uniform", "folder:photos", "--out", "other.npz"), "method unknown"),
        (("uniform", "folder:photos", "--fit", "folder:photos"), "has no boxes"),
        (("superpixels", "folder:photos", "--fit", "folder:photos"), "--fit is for"),
    ],
)
def test_bad_input_is_one_line(folder, words, message, capsys):
    pathlib.Path("text.npz").write_text("text")
    np.savez("other.npz", boxes=np.zeros((0, 4)))
    out = () if "--out" in words else ("--out", "p.npz")
    assert run(*words, *out) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error
    assert not pathlib.Path("p.npz").exists()


def test_baselines_are_fitted_to_boxes(folder):
    rows = ("path,what,l,t,r,b", "photos/a/0.png,x,4,4,12,20", "photos/a/2.png,x,8,8,24,16")
    pathlib.Path("boxes.csv").write_text("\n".join(rows))
    text = "csv:boxes.csv,.,xyxy,columns=path;what;l;t;r;b"
    assert run("uniform", folder, "--out", "p.npz", "--fit", text) == 0
    with np.load("p.npz") as file:
        assert "(0.5, 2.0)" in str(file["settings"])
