"""Limits of settings: what a constructor, or a type in its signature, takes.

Constructors call `within` and `one_of`; configs compare every value with the type that the
constructor's signature gives it (`misfit`). Each mistake names the setting and its value.
"""

import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vision_jax.config.errors import SettingError, article, suggest

_INTERVAL = re.compile(r"([\[(])([^,]+), ([^\])]+)([\])])")
_EXAMPLES = {int: "1", float: "1.0", str: "'…'", bool: "True"}


def within(part: Any, interval: str, *names: str) -> None:
    """Refuses settings of a part that are no numbers, or lie outside of an interval.

    Args:
      part: has the settings as attributes. None, where a setting may be that, passes; of a tuple
        each item is looked at.
      interval: in the notation of mathematics, such as '[0, 1)' or '(0, inf)'. NaN lies in none.
      *names: of the settings.

    Raises:
      SettingError: naming the setting, its value and the interval in words.
    """
    for name in names:
        value = getattr(part, name)
        for number in value if isinstance(value, tuple | list) else (value,):
            if number is not None and not _lies_in(number, interval):
                is_infinite = isinstance(number, float) and not math.isfinite(number)
                words = _in_words(interval) + (" and finite" if is_infinite else "")
                raise SettingError(name, f"={value!r} must be {words}")


def one_of(part: Any, **known: Sequence[str]) -> None:
    """Refuses settings of a part that are none of the known words.

    Args:
      part: has the settings as attributes.
      **known: the words, by the setting's name.

    Raises:
      SettingError: naming the setting, its value and the nearest word.
    """
    for name, words in known.items():
        value = getattr(part, name)
        if value not in words:
            raise SettingError(name, f"={value!r}{suggest(str(value), words)}")


def misfit(value: Any, hint: Any) -> str | None:
    """Says what a type takes where a config's value does not fit it; None where it fits.

    Args:
      value: plain, or a mapping that describes a part.
      hint: the type in a constructor's signature.
    """
    if _fits(value, hint):
        return None
    options = [t for t in _options(hint) if t is not type(None)]
    if len(options) == 1 and options[0] in _EXAMPLES:
        return article(options[0].__name__)
    if not any(_is_plain(option) for option in options):
        names = " or ".join(option.__name__ for option in options)
        return f"a part ({names}), whose settings have flags of their own"
    text = " or ".join(_name(option) for option in options)
    example = next((e for e in map(_example, options) if e), None)
    return f"{text}, such as {example}" if example else text


def unsuited(cls: Callable, hint: Any) -> str | None:
    """Says what a type takes where a part's class is none of it; None where it is.

    Of a protocol a class needs the methods, each with an argument of the same name at least.
    """
    kinds = [option for option in _options(hint) if option is not type(None)]
    if not inspect.isclass(cls) or any(map(functools.partial(_is_kind, cls), kinds)):
        return None
    return "a part (" + " or ".join(kind.__name__ for kind in kinds) + ")"


def _is_kind(cls: type, kind: Any) -> bool:
    if not inspect.isclass(kind) or kind in (object, Any):
        return True
    if typing.Protocol not in kind.__bases__:
        return kind is dict or issubclass(cls, kind)
    methods = {n: m for n, m in vars(kind).items() if inspect.isfunction(m) and n[0] != "_"}
    return all(_has_method(cls, name, method) for name, method in methods.items())


def _has_method(cls: type, name: str, method: Callable) -> bool:
    ours = inspect.getattr_static(cls, name, None)
    if not inspect.isfunction(ours):
        return ours is not None
    needed, taken = (set(inspect.signature(f).parameters) - {"self"} for f in (method, ours))
    return not needed or bool(needed & taken)


def _lies_in(number: Any, interval: str) -> bool:
    if isinstance(number, bool | str) or not isinstance(number, typing.SupportsFloat):
        return False
    match = _INTERVAL.fullmatch(interval)
    assert match is not None, interval
    low, high, value = float(match[2]), float(match[3]), float(number)
    is_above = value >= low if match[1] == "[" else value > low
    return is_above and (value <= high if match[4] == "]" else value < high)


def _in_words(interval: str) -> str:
    match = _INTERVAL.fullmatch(interval)
    assert match is not None, interval
    words = []
    if float(match[2]) > -math.inf:
        words.append(f"{'at least' if match[1] == '[' else 'above'} {match[2]}")
    if float(match[3]) < math.inf:
        words.append(f"{'at most' if match[4] == ']' else 'below'} {match[3]}")
    return " and ".join(words) or "a number"


def _fits(value: Any, hint: Any) -> bool:
    """Returns whether a config's value may be one of a type; types that say nothing take all."""
    options = _options(hint)
    if len(options) > 1:
        return any(_fits(value, option) for option in options)
    (hint,) = options
    origin, items = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in items
    kind = origin or hint
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (bool, str, type(None)):
        return isinstance(value, kind)
    if not inspect.isclass(kind) or kind in (object, Any):
        return True
    if issubclass(kind, tuple | list):
        return isinstance(value, tuple | list) and _items_fit(value, items)
    if kind.__module__ in ("collections.abc", "pathlib"):
        return True
    # Anything else is a part: a mapping that describes it, or the thing itself.
    return not isinstance(value, int | float | str | tuple | list | None)


def _items_fit(value: Sequence[Any], items: tuple[Any, ...]) -> bool:
    if not items:
        return True
    if len(items) == 2 and items[1] is Ellipsis:
        return all(_fits(item, items[0]) for item in value)
    return len(value) == len(items) and all(map(_fits, value, items))


def _options(hint: Any) -> tuple[Any, ...]:
    """Returns the types of a union, or the one type that it is."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _is_plain(hint: Any) -> bool:
    """Returns whether values of a type are plain, and no parts."""
    kind = typing.get_origin(hint) or hint
    return kind in (*_EXAMPLES, tuple, list, typing.Literal) or not inspect.isclass(kind)


def _name(hint: Any) -> str:
    """Writes a type as its signature does."""
    if typing.get_origin(hint) is None and inspect.isclass(hint):
        return article(hint.__name__)
    return str(hint).replace("typing.", "")


def _example(hint: Any) -> str:
    """Writes a value of a type; '' where there is no telling."""
    if hint in _EXAMPLES:
        return _EXAMPLES[hint]
    if typing.get_origin(hint) is not tuple:
        return ""
    items = [item for item in typing.get_args(hint) if item is not Ellipsis]
    written = [_example(item) for item in items]
    return f"({_joined(written)})" if all(written) else ""


def _joined(items: Iterable[str]) -> str:
    items = list(items)
    return f"{items[0]}," if len(items) == 1 else ", ".join(items)
