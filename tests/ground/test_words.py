"""Captions split into words by the Penn Treebank's rules."""

import random

import pytest

from vision_jax.words import _words_by_rules, tokenize


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("", ""),
        (" \n\t. !", ""),
        ("A cat.", "a cat"),
        ("A cat on a mat.A dog", "a cat on a mat a dog"),
        ("wait... what?!", "wait what"),
        ("two cats - one dog -- no bird --- end", "two cats one dog no bird end"),
        (
            "don’t I can't; he'll they'd we've I'm it’s",
            "do n't i ca n't he 'll they 'd we 've i 'm it 's",
        ),
        ("the boys' ball, James' hat", "the boys ball james hat"),
        ("'small' “dog” ``cat'' \"bird\"", "small dog cat bird"),
        (
            "Gonna gotta lemme gimme wanna cannot 'tis",
            "gon na got ta lem me gim me wan na can not 't is",
        ),
        ("(a) [b] {c}", "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb-"),
        ("$5.00 50% 1,000 2:30 .5 3.5m -5", "$ 5.00 50 % 1,000 2:30 5 3.5 m -5"),
        ("Mr. Smith vs. Dr. Jones on Main St.", "mr. smith vs. dr. jones on main st."),
        ("at 5 p.m. in the U.S. by J. Doe", "at 5 p.m. in the u.s. by j. doe"),
        ("a half-eaten and/or t-shirt", "a half-eaten and/or t-shirt"),
        ("o'clock O'Brien d'Artagnan", "o'clock o'brien d'artagnan"),
        (
            "see www.example.com, https://a.org/b?c=1. me@a-b.co.uk",
            "see www.example.com https://a.org/b?c=1 me@a-b.co.uk",
        ),
        ("salt &amp; pepper & more # 1 * a", "salt & pepper & more # 1 * a"),
        ("cafe\u0301 ÉCOLE 日本 42nd", "cafe\u0301 école 日本 42nd"),
        ("and…then–so", "and then so"),
    ],
)
def test_words_of_captions(caption, words):
    assert " ".join(tokenize(caption)) == words
    assert " ".join(tokenize(words)) == words


def test_plain_captions_have_a_short_way_with_the_same_words():
    rng = random.Random(0)
    words = ("a", "A", "cat", "st", "mr", "cannot", "gonna", "lemme", "I", "Main", "u", "com", "é")
    pieces = (*words, ",", ".", " ", "  ", "\n", "'s", "5", "-")
    short = 0
    for _ in range(3000):
        text = "".join(rng.choices(pieces, k=rng.randint(0, 9)))
        assert tokenize(text) == _words_by_rules(text), text
        text = " ".join(rng.choices(words[:8], k=rng.randint(0, 6))) + rng.choice(["", ".", " ."])
        assert tokenize(text) == _words_by_rules(text), text
        short += "cannot" not in text
    assert short > 500


def test_a_long_caption_takes_no_time_that_grows_with_its_square():
    for text in (
        "a" * 20_000,
        "a-" * 10_000,
        "1." * 10_000,
        "'" * 20_000,
        "a.b" * 7_000,
        " " * 20_000 + "!",
    ):
        assert tokenize(text) is not None
