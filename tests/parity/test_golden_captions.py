"""Parity of captions' words and scores with pycocoevalcap."""

import numpy as np
import pytest

from tests.parity.test_golden_evaluation import FOLDER, golden
from vision_jax.evaluation.captions import caption_scores
from vision_jax.words import tokenize

pytestmark = pytest.mark.golden


def meta():
    path = FOLDER / "caption_metrics.npz"
    return golden(path).meta if path.exists() else {"cases": {}, "tokenizer": {"texts": []}}


@pytest.mark.parametrize("number", range(len(meta()["tokenizer"]["texts"])))
def test_words(number):
    words = meta()["tokenizer"]
    assert " ".join(tokenize(words["texts"][number])) == words["tokens"][number]


@pytest.mark.parametrize("name", meta()["cases"])
def test_scores(name):
    case = meta()["cases"][name]
    candidates = [text.split() for text in case["candidates"]]
    references = [[text.split() for text in own] for own in case["references"]]
    got, scores = caption_scores(candidates, references), case["scores"]
    for n in range(4):
        assert got[f"bleu_{n + 1}"] == pytest.approx(scores["bleu"][n], rel=1e-12)
        per_image = scores["bleu_per_image"][n]
        np.testing.assert_allclose(got[f"per_image_bleu_{n + 1}"], per_image, rtol=1e-12)
    for measure in ("rouge_l", "cider_d"):
        assert got[measure] == pytest.approx(scores[measure], rel=1e-12)
        per_image = scores[f"{measure}_per_image"]
        np.testing.assert_allclose(got[f"per_image_{measure}"], per_image, rtol=1e-12, atol=1e-15)
