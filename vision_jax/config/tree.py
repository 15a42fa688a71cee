"""Builds, changes and loads config trees."""

import ast
import dataclasses
import importlib
import importlib.util
import pathlib
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from vision_jax.config import keys, limits
from vision_jax.config.errors import SettingError, UserError, article, suggest
from vision_jax.config.keys import leaves
from vision_jax.config.nodes import (
    EXPERIMENT,
    TARGET,
    as_node,
    brief,
    described,
    hint_of,
    hints_of,
    is_none_by_default,
    locate,
    node,
    plain,
)

_PIECE = re.compile(r'(?:"[^"]*"|[^,"])+')  # up to a comma outside of double quotes


class CommaText(str):
    """An argument's default whose value may hold commas: it goes on until the next known key.

    `arguments("train=coco:a.json,photos,size=9", train=CommaText(), size=0)` so finds both. A key
    is followed by '=', or is that of a flag. What stands in double quotes begins no key; the quotes
    remain for whoever reads the value.
    """


def build(tree: Any, built: Mapping[str, Any] | None = None, path: str = "") -> Any:
    """Makes the calls that `node` described, innermost first; lists come back as tuples.

    Args:
      tree: nodes, and containers of them.
      built: arguments of the outermost call, by name, that are made already.
      path: where the tree lies in its config, for messages.

    Raises:
      UserError: a value that does not fit its type, or that a constructor refuses; it names the
        setting by its path.
    """
    if isinstance(tree, ConfigDict):
        built, inside = built or {}, f"{path}." if path else ""
        cls = locate(tree[TARGET]) if TARGET in tree else None
        given = [key for key in tree if key != TARGET and key not in built]
        hints = {} if cls is None else hints_of(cls)
        for key in given:
            _check_type(f"{inside}{key}", tree[key], hints.get(key, object))
        parts = {key: build(tree[key], path=f"{inside}{key}") for key in given}
        arguments = {**parts, **built}
        return arguments if cls is None else _called(cls, arguments, path)
    if isinstance(tree, (list, tuple)):
        return tuple(build(item, path=f"{path}[{number}]") for number, item in enumerate(tree))
    return tree


def _called(cls: Callable, arguments: Mapping[str, Any], path: str) -> Any:
    """Makes the call at a path of a config; what it refuses is told with the path."""
    where = f"{path}: " if path else ""
    try:
        return cls(**arguments)
    except SettingError as error:
        raise error.within(path) from error
    except UserError as error:
        if not path or type(error) is not UserError:
            raise
        raise UserError(f"{where}{error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        name = f"{cls.__module__}.{cls.__qualname__}"
        raise UserError(f"{where}{name} cannot be built: {error}") from error


def override(tree: ConfigDict, path: str, value: Any) -> None:
    """Sets `tree.a.b[0].c` for the path 'a.b[0].c', checking that it exists and the value's type.

    Args:
      tree: changed in place.
      path: dotted keys, with `[i]` for an item of a tuple.
      value: a Python value, or text as typed in a flag, which is read as the type already there.

    Raises:
      UserError: an unknown key, or a value that does not fit.
    """
    *parents, last = keys.split(path)
    group: Any = tree
    for key in parents:
        group = _descend(tree, group, key, path)
    if isinstance(last, int):
        raise UserError(f"config key {path!r} is an item; override the whole tuple instead")
    if not isinstance(group, ConfigDict) or last not in group:
        raise _unknown_key(tree, group, path)
    kind, current = group.get_type(last), group[last]
    if isinstance(value, str) and (kind is not str or value == "None"):
        value = _read(value)
    value = described(as_node(value))
    if isinstance(value, ConfigDict) and TARGET not in value and hint_of(group, last) is not dict:
        raise UserError(f"config key {path!r} takes a part: {plain(value)!r} lacks its 'target'")
    if value is None and current is not None and not _is_optional(group, last):
        held = brief(current) if isinstance(current, ConfigDict) else repr(current)
        raise UserError(f"config key {path!r} holds {held}; None is not allowed there")
    if isinstance(current, ConfigDict) and not isinstance(value, ConfigDict | None):
        settings = ", ".join(key for key in current if key != TARGET)
        raise UserError(f"config key {path!r} is a group; set one of: {settings}")
    if value is not None and not isinstance(current, ConfigDict):
        value = _of_kind(path, value, object if kind is type(None) else kind)
    _check_type(path, value, hint_of(group, last))
    with group.ignore_type():
        group[last] = value


def override_everywhere(tree: ConfigDict, key: str, value: Any) -> None:
    """Sets the settings called `key` in all parts of a config; see `override`."""
    for path, _ in list(leaves(tree)):
        if keys.last(path) == key:
            override(tree, path, value)


def load(spec: str) -> ConfigDict:
    """Makes the config of an experiment file.

    Args:
      spec: a path, and after a colon the file's own argument: 'experiments/x.py:depth=56'.

    Raises:
      UserError: no such file, or one that is no experiment.
    """
    module, argument = load_module(spec)
    get_config = vars(module).get("get_config")
    if get_config is None:
        raise UserError(f"config {spec.partition(':')[0]!r} has no get_config(arg) function")
    config = get_config(argument)
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config of {spec!r} returned {type(config).__name__}, not a node")
    return config


def load_module(spec: str) -> tuple[types.ModuleType, str]:
    """Imports the experiment file of 'F.py:argument'; returns it and the argument, '' if none.

    Its module is called experiment_F, whatever its folder; of two with one name the last counts.
    """
    file, _, argument = spec.partition(":")
    path = pathlib.Path(file)
    if not path.is_file():
        known = sorted(str(p) for p in path.parent.glob("*.py"))
        raise UserError(f"config {file!r} not found{suggest(file, known)}")
    name = EXPERIMENT + path.stem.removeprefix(EXPERIMENT)
    source = importlib.util.spec_from_file_location(name, path)
    if source is None or source.loader is None:
        raise UserError(f"config {file!r} is not a Python file")
    module = importlib.util.module_from_spec(source)
    sys.modules[name] = module  # so that classes defined there can be targets
    try:
        source.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"config {file!r}, line {error.lineno}: {error.msg}") from error
    return module, argument


def arguments(text: str | None, **defaults: Any) -> types.SimpleNamespace:
    """Reads a config's own argument, `F.py:depth=56,smoke`, into a namespace.

    Args:
      text: comma-joined `key=value` or `flag`; None and '' mean the defaults. A value in double
        quotes may hold commas.
      **defaults: each known key with its default, whose type the value is read as.

    Raises:
      UserError: an unknown key or a value of the wrong type.
    """
    values = dict(defaults)
    for item in _items(text or "", defaults):
        key, equals, raw = item.partition("=")
        if key not in defaults:
            raise UserError(f"unknown config argument {key!r}{suggest(key, defaults)}")
        if not isinstance(defaults[key], CommaText):
            raw = raw.replace('"', "")
        value: Any = type(defaults[key])(raw) if isinstance(defaults[key], str) else _read(raw)
        value = value if equals else True
        if isinstance(defaults[key], float) and type(value) is int:
            value = float(value)
        if type(value) is not type(defaults[key]):
            kind = article(type(defaults[key]).__name__)
            raise UserError(f"config argument {key!r} takes {kind}, not {raw or 'nothing'!r}")
        values[key] = value
    return types.SimpleNamespace(**values)


def _items(text: str, defaults: Mapping[str, Any]) -> list[str]:
    """Splits an argument at commas; see `CommaText` for those that part nothing."""
    if text.count('"') % 2:
        raise UserError(f"config argument {text!r}: a quotation mark has no partner")
    items: list[str] = []
    for piece in _PIECE.findall(text):
        before = items[-1].partition("=")[0] if items else ""
        key, equals, _ = piece.partition("=")
        begins = key in defaults and (equals or isinstance(defaults[key], bool))
        if isinstance(defaults.get(before), CommaText) and not begins:
            items[-1] += f",{piece}"
        else:
            items.append(piece)
    return items


def _of_kind(path: str, value: Any, kind: type) -> Any:
    """Returns a value as the type that a setting has; refuses one that does not fit."""
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    if kind is str:
        value = str(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"config key {path!r} takes {article(kind.__name__)}, not {value!r}")
    return value


def _is_optional(tree: ConfigDict, key: str) -> bool:
    is_placeholder = isinstance(tree._fields[key], config_dict.FieldReference)
    return is_placeholder or (TARGET in tree and is_none_by_default(locate(tree[TARGET]), key))


def _check_type(path: str, value: Any, hint: Any) -> None:
    """Refuses a value that does not fit its type; None is looked at where it is written."""
    takes = None if value is None else limits.misfit(value, hint)
    if isinstance(value, ConfigDict) and TARGET in value:
        takes = takes or limits.unsuited(locate(value[TARGET]), hint)
    if takes is not None:
        shown = brief(value) if isinstance(value, ConfigDict) else repr(value)
        raise UserError(f"config key {path!r} takes {takes}, not {shown}")


def _descend(tree: ConfigDict, here: Any, key: str | int, path: str) -> Any:
    """Returns the part of `here` that a key of the path names; one that is None is made.

    Raises:
      UserError: there is none, or one of which only a whole node says what it is to be.
    """
    if isinstance(key, int) and isinstance(here, (tuple, list)):
        if key < len(here):
            return here[key]
        raise UserError(f"config key {path!r}: item {key} of {len(here)} does not exist")
    if not isinstance(here, ConfigDict) or key not in here:
        raise _unknown_key(tree, here, path)
    if here[key] is None:
        hint = hint_of(here, str(key))
        classes: list[Any] = [
            t for t in typing.get_args(hint) or (hint,) if dataclasses.is_dataclass(t)
        ]
        if len(classes) != 1:
            raise UserError(
                f"config key {path!r}: {key!r} is None; give the whole part, as a node in the "
                "experiment or a flag in the form \"{'target': 'module.Class', …}\""
            )
        with here.ignore_type():
            here[key] = node(classes[0])
    return here[key]


def _unknown_key(tree: ConfigDict, here: Any, path: str) -> UserError:
    """Makes the error that names the nearest setting that exists, else all that exist there."""
    near = keys.nearest(tree, path)
    if near is not None:
        return UserError(f"unknown config key {path!r} - did you mean {near}?")
    known = [key for key in here if key != TARGET] if isinstance(here, ConfigDict) else []
    return UserError(f"unknown config key {path!r}{suggest(keys.last(path), known)}")


def _read(text: str) -> Any:
    """Reads a Python literal, 'true' included; text that is none stays text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
