"""Reads single values of annotation files, whose types are those of JSON or text.

Every function raises ValueError, with the value's name and the value itself, for what it cannot
read. Numbers and flags that are written as text are read as they are meant.
"""

import math
import reprlib
from typing import Any

import numpy as np

_FALSE = {"0", "false", "no", "f", "n", ""}
_TRUE = {"1", "true", "yes", "t", "y"}
_LONGEST_NUMBER = 400  # digits and signs; longer ones take time that grows with the square
_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = _shortened.maxlong = 60


def shown(value: Any) -> str:
    """Returns a value on one short line for messages, in JSON's words where it has others."""
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return printable(_shortened.repr(value))


def printable(text: str, longest: int = 200) -> str:
    """Returns a text on one line, its control characters as escapes, shortened in its middle."""
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[-longest // 2 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def number(value: Any, name: str) -> float:
    """Returns a number, which may be infinite or not a number where it is written so."""
    if isinstance(value, str) and len(value) < _LONGEST_NUMBER and "_" not in value:
        try:
            return float(value)
        except ValueError:
            pass
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    raise ValueError(f"{name} is {shown(value)}, not a number")


def finite(value: Any, name: str) -> float:
    """Returns a finite number."""
    read = number(value, name)
    if not math.isfinite(read):
        raise ValueError(f"{name} is {shown(value)}, not a finite number")
    return read


def all_finite(values: list[Any], name: str) -> list[float]:
    """Returns finite numbers; an error names the first that is none."""
    if {*map(type, values)} <= {int, float}:  # a fast look at what nearly all files hold
        try:
            if np.isfinite(np.asarray(values, np.float64)).all():
                return values
        except OverflowError:
            pass
    return [finite(value, f"{name}[{place}]") for place, value in enumerate(values)]


def whole(value: Any, name: str, least: int = 0) -> int:
    """Returns a whole number that is not less than `least`."""
    read = finite(value, name)
    if not read.is_integer() or read < least:
        raise ValueError(f"{name} is {shown(value)}, not a whole number from {least} on")
    return int(read)


def flag(value: Any, name: str) -> bool:
    """Returns a truth value: a Boolean, 0 or 1, or their words; null is false."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    word = value.strip().lower() if isinstance(value, str) else None
    if word in _FALSE or word in _TRUE:
        return word in _TRUE
    raise ValueError(f"{name} is {shown(value)}, neither 0 nor 1")


def filled(value: Any, name: str) -> str:
    """Returns a text that is not empty."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}, not a text")
    if not value.strip():
        raise ValueError(f"{name} is empty")
    return value


def identifier(value: Any, name: str) -> int | str | None:
    """Returns an id such that 7, 7.0 and "7" are one; null stays None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str | None):
        raise ValueError(f"{name} is {shown(value)}, neither a number nor a text")
    if isinstance(value, str) and len(value) < _LONGEST_NUMBER:
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit() and str(int(value)) == value:
            return int(value)
    return value


def size(height: Any, width: Any) -> tuple[int, int] | None:
    """Returns the stated height and width of an image; None where one is null or 0."""
    if height is None or width is None:
        return None
    stated = whole(height, "height"), whole(width, "width")
    return stated if all(stated) else None
