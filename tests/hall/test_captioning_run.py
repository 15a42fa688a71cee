"""A captioner's run folder: the vocabulary, the scores and the pictures."""

import json
import os
import pathlib

import pytest

import launch
from vision_jax.data import read_vocabulary

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "experiments/quickstart_captioning.py:smoke"
pytestmark = pytest.mark.usefixtures("at_the_root")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trains the smoke; returns its folder."""
    folder = tmp_path_factory.mktemp("captioning") / "run"
    here = pathlib.Path.cwd()
    os.chdir(ROOT)
    try:
        assert launch.main(["--config", CONFIG, "--workdir", str(folder)]) == 0
    finally:
        os.chdir(here)
    return folder


def last_row(folder):
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


def test_the_run_folder_holds_vocabulary_scores_and_pictures(run):
    words = read_vocabulary(run / "vocabulary.json").words
    signature = json.loads((run / "signature.json").read_text())
    assert tuple(signature["classes"]) == words and {"large", "star"} <= {*words}
    row = last_row(run)
    scores = {"cider_d", "cider_d_frequent", "cider_d_shuffled", "bleu_4", "rouge_l", "perplexity"}
    assert scores <= {name.removeprefix("eval/") for name in row}
    assert 1 < row["eval/perplexity"] < 2 * len(words)
    page = (run / "report" / "index.html").read_text()
    assert "Captions</h2>" in page and "cider_d_shuffled" in page
