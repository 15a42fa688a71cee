"""Scores of captions, against counting by hand, and the metric that gathers them."""

import math

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.evaluation import Captions, Perplexity
from vision_jax.evaluation.caption_scores import bleu, cider_d, longest_common, ngrams, rouge_l
from vision_jax.structs import Batch

WORDS = ("<end>", "a", "cat", "dog", "runs", "big", "the")


class Words:
    """A vocabulary of seven words."""

    def decode(self, tokens):
        return [WORDS[token] for token in tokens if token]


def split(*texts):
    return [text.split() for text in texts]


def test_bleu_by_hand():
    got = bleu(split("the the the cat"), [split("the cat the dog", "a cat")])
    assert got[0].total == pytest.approx(3 / 4)  # two of three "the" count, and "cat"
    assert got[1].total == pytest.approx(math.sqrt(3 / 4 * 1 / 3))  # "the cat" of three pairs
    assert got[2].total < 1e-4
    short = bleu(split("a cat"), [split("a cat runs", "a big cat runs far")])
    assert short[0].total == pytest.approx(math.exp(1 - 3 / 2))
    tie = bleu(split("a cat runs"), [split("a cat", "a cat runs far")])
    assert tie[0].total == pytest.approx(1)  # the shorter of two references that are as near


def test_bleu_adds_up_before_it_divides():
    got = bleu(split("a cat", "dog"), [split("a cat"), split("cat")])
    assert got[0].total == pytest.approx(2 / 3)
    assert got[0].per_image == pytest.approx([1, 0], abs=1e-8)


def test_longest_common_subsequence_against_all_subsequences():
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, two = (rng.choice(list("abc"), n).tolist() for n in rng.integers(0, 8, 2))
        best = 0
        for chosen in range(2 ** len(one)):
            part = [word for place, word in enumerate(one) if chosen >> place & 1]
            rest = iter(two)
            if all(word in rest for word in part):
                best = max(best, len(part))
        assert longest_common(one, two) == best


def test_rouge_takes_precision_and_recall_from_different_references():
    got = rouge_l(split("a cat runs"), [split("a cat runs by the big dog", "cat")])
    assert got.total == pytest.approx(1)
    assert rouge_l(split(""), [split("a cat")]).total == 0
    half = rouge_l(split("a dog"), [split("a cat")]).total
    assert half == pytest.approx((1 + 1.44) * 0.25 / (0.5 + 1.44 * 0.5))


def test_cider_of_copies_is_ten_and_falls_with_length_and_repetition():
    truth = [split("a big cat runs away"), split("the dog sleeps all day"), split("no one is here")]
    copies = [own[0] for own in truth]
    assert cider_d(copies, truth).per_image == pytest.approx([10, 10, 10])
    longer = [copies[0] * 3, *copies[1:]]
    assert cider_d(longer, truth).per_image[0] < 10 * math.exp(-(10**2) / 72) / 3
    assert cider_d([[], *copies[1:]], truth).per_image[0] == 0
    assert cider_d(copies[:1], truth[:1]).total == 0  # with one image every word is everywhere


def test_ngrams():
    assert ngrams(["a", "b", "a"]) == {
        ("a",): 2,
        ("b",): 1,
        ("a", "b"): 1,
        ("b", "a"): 1,
        ("a", "b", "a"): 1,
    }
    assert ngrams([]) == {}


def batch(ids, valid):
    rows = np.arange(len(ids), dtype=np.int32)
    return Batch(image=None, valid=np.array(valid), index=rows, id=np.array(ids, np.int32))


def test_the_metric_gathers_valid_rows_in_any_order():
    references = [["A cat runs.", "The cat runs!"], [], ["A big dog"], ["The dog"]]
    metric, tokens = (
        Captions(Words(), references),
        {0: [1, 2, 4, 0], 1: [1, 1, 1, 0], 2: [1, 3, 0, 0], 3: [6, 3, 0, 0]},
    )
    results = []
    for parts in (((2, 0), (1, 3)), ((3,), (2,), (1,), (0,))):
        state = metric.empty()
        for part in parts:
            rows = {"tokens": np.array([*(tokens[i] for i in part), [5, 5, 5, 5]])}
            state = metric.collect(state, rows, batch([*part, 0], [*(True for _ in part), False]))
        results.append(metric.result(state))
    first, second = results
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    assert set(metric.names()) < set(first)
    assert first["per_image_rouge_l"].shape == (3,)  # image 1 has no reference
    assert first["per_image_bleu_1"] == pytest.approx([1, math.exp(-0.5), 1])
    assert metric.result(metric.empty()) == {}


def test_measures_are_chosen():
    metric = Captions(Words(), [["a cat"]], measures=("rouge_l",))
    assert metric.names() == ("rouge_l",)
    assert set(metric.result([(0, np.array([1, 2]))])) == {"rouge_l", "per_image_rouge_l"}


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("meteor", "'meteor' is not available, since it needs a Java program"),
        ("METEOR", "'METEOR' is not available"),
        ("cider", "unknown measure 'cider' - did you mean cider_d?"),
        ("bleu_4", "unknown measure 'bleu_4' - did you mean bleu?"),
    ],
)
def test_measures_that_are_not_there_are_named(measure, message):
    with pytest.raises(UserError, match=message):
        Captions(Words(), [["a"]], measures=(measure,))


def test_references_of_another_source_are_refused():
    with pytest.raises(
        UserError, match="references are those of 1 images, but there is an image 7"
    ):
        Captions(Words(), [["a cat"]]).result([(7, np.array([1]))])


def test_controls_are_other_images_captions_and_the_most_frequent_one():
    truth = [["a big cat runs"], ["the dog"], ["the dog"], ["a cat"]]
    tokens = [[1, 5, 2, 4, 0], [6, 3, 0, 0, 0], [6, 3, 0, 0, 0], [1, 2, 0, 0, 0]]
    metric = Captions(Words(), truth)
    got = metric.result([(i, np.array(row)) for i, row in enumerate(tokens)])
    references = [split(own[0]) for own in truth]
    turned = split("the dog", "a cat", "a big cat runs", "the dog")
    assert got["cider_d_shuffled"] == pytest.approx(cider_d(turned, references).total)
    assert got["cider_d_frequent"] == pytest.approx(cider_d(split("the dog") * 4, references).total)
    assert got["cider_d"] > 2 * max(got["cider_d_shuffled"], got["cider_d_frequent"])
    plain = Captions(Words(), truth, controls=False)
    assert "cider_d_shuffled" not in {*plain.names(), *plain.result([(0, np.array([1]))])}
    one = metric.result([(0, np.array([1]))])
    assert "cider_d_shuffled" not in one and "cider_d_frequent" in one


def test_without_a_vocabulary_the_metric_says_where_it_comes_from():
    with pytest.raises(UserError, match=r"training data's source is to be a data\.WithVocabulary"):
        Captions().result([])


def test_perplexity_is_that_of_all_tokens():
    metric = Perplexity()
    state = metric.empty()
    losses, counts = np.float32([[4.0, 2.0], [1.0, 9.0]]), np.int32([[4, 1], [2, 5]])
    for loss, count, valid in zip(losses, counts, ([True, True], [True, False]), strict=True):
        outputs = {"token_loss": loss, "token_count": count}
        new = metric.update(outputs, batch([0, 1], valid))
        state = {name: state[name] + np.asarray(new[name]) for name in state}
    assert metric.result(state)["perplexity"] == pytest.approx(math.exp(7 / 7))
    assert metric.result(metric.empty()) == {}
    with pytest.raises(UserError, match="EncodeCaption among its transforms"):
        metric.update({}, batch([0], [True]))
