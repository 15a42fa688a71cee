"""Limits of settings: numbers in intervals, known words, and the types of signatures."""

import dataclasses
import math
from typing import Any, Literal, Protocol

import pytest

from vision_jax.config import SettingError
from vision_jax.config.limits import misfit, one_of, unsuited, within


@dataclasses.dataclass(frozen=True)
class Part:
    value: Any


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        (0, "[0, inf)"),
        (0.0, "[0, 1)"),
        (1, "[0, 1]"),
        (None, "(0, inf)"),
        ((0.5, 2), "(0, inf)"),
        ((), "[1, inf)"),
        (-3.5, "(-inf, inf)"),
    ],
)
def test_what_lies_within_passes(value, interval):
    within(Part(value), interval, "value")


@pytest.mark.parametrize(
    ("value", "interval", "message"),
    [
        (0, "[1, inf)", "value=0 must be at least 1"),
        (0.0, "(0, inf)", "value=0.0 must be above 0"),
        (1.0, "[0, 1)", "value=1.0 must be at least 0 and below 1"),
        (1.5, "[0, 1]", "value=1.5 must be at least 0 and at most 1"),
        (math.nan, "[0, inf)", "value=nan must be at least 0 and finite"),
        (math.inf, "[0, inf)", "value=inf must be at least 0 and finite"),
        (-math.inf, "(-inf, inf)", "value=-inf must be a number and finite"),
        ((1, 0), "[1, inf)", "value=(1, 0) must be at least 1"),
        ("3", "[1, inf)", "value='3' must be at least 1"),
        (True, "[1, inf)", "value=True must be at least 1"),
        ([[1]], "[1, inf)", "value=[[1]] must be at least 1"),
    ],
)
def test_what_lies_outside_is_named(value, interval, message):
    with pytest.raises(SettingError) as error:
        within(Part(value), interval, "value")
    assert str(error.value) == message
    assert str(error.value.within("a.b")) == f"a.b.{message}"


def test_a_word_that_is_not_known():
    one_of(Part("max"), value=("max", "min"))
    with pytest.raises(SettingError, match="value='maxx' - did you mean max"):
        one_of(Part("maxx"), value=("max", "min"))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, float),
        (1, int | None),
        ("x", str | tuple[str, ...]),
        ((1, 2.5), tuple[float, ...]),
        ([], tuple[int, ...]),
        (("a", 1), tuple[str, float]),
        ("a", Literal["a", "b"]),
        ({"x": 1}, Part),
        ({"x": 1}, dict),
        (5, Any),
        (5, object),
        ((), tuple),
    ],
)
def test_values_that_fit_a_type(value, hint):
    assert misfit(value, hint) is None


@pytest.mark.parametrize(
    ("value", "hint", "takes"),
    [
        (1.5, int, "an int"),
        (True, int, "an int"),
        (True, float, "a float"),
        ("x", float | None, "a float"),
        ((1, "x"), tuple[int, ...], "tuple[int, ...], such as (1,)"),
        (("a", 1), tuple[tuple[str, float], ...], "such as (('…', 1.0),)"),
        ((1, 2), tuple[int, int, int], "such as (1, 1, 1)"),
        (5, tuple, "a tuple"),
        (5, Part, "a part (Part)"),
        ((5,), tuple[Part, ...], "tuple["),
        ("c", Literal["a", "b"], "Literal['a', 'b']"),
        ({"x": 1}, int, "an int"),
    ],
)
def test_values_that_do_not_fit_a_type(value, hint, takes):
    assert takes in str(misfit(value, hint))


class Rule(Protocol):
    def build(self, decay: float) -> float: ...


class Follows:
    def build(self, decay, more=0):
        return decay


class Otherwise:
    def build(self, steps):
        return steps


@pytest.mark.parametrize(
    ("cls", "hint", "fits"),
    [
        (Follows, Rule, True),
        (Otherwise, Rule, False),
        (Part, Rule, False),
        (Part, Part | None, True),
        (Follows, Part | None, False),
        (Follows, Any, True),
        (Follows, object, True),
    ],
)
def test_classes_of_parts(cls, hint, fits):
    assert (unsuited(cls, hint) is None) == fits
