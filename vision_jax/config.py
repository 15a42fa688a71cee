"""The config tree is the constructor tree.

`node(cls, ...)` describes a constructor call as an `ml_collections.ConfigDict`: the dotted name
under the key `target` and every argument, defaults included. `build` makes the call. So each
argument of each part is a knob that a flag can turn, and a default lives in its constructor only.
"""

import ast
import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import pathlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

TARGET = "target"
# Linen adds these two to every module's constructor; they are not settings.
_LINEN_FIELDS = ("parent", "name")


class UserError(Exception):
    """An error of the user's: one line that names the thing, the value and what to do.

    `launch.py` and the `python -m` tools print it and exit with `code`, without a traceback.
    """

    code = 2


def suggest(word: str, known: typing.Iterable[str]) -> str:
    """Returns ' - did you mean X?' with the closest known word, or all known words."""
    words = [str(k) for k in known]
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    if close:
        return f" - did you mean {close[0]}?"
    return f" - known: {', '.join(sorted(words))}" if words else ""


def printable(text: object, limit: int = 80) -> str:
    """Returns text from a file as a message may show it: on one line, of at most `limit` letters.

    Control characters, which could steer a terminal or turn the writing round, become '?'.
    """
    text = str(text)
    shown = "".join(c if c.isprintable() else " " if c in "\n\t" else "?" for c in text[:limit])
    return shown if len(text) <= limit else shown[: limit - 1] + "…"


def node(cls: Callable, **kwargs: Any) -> ConfigDict:
    """Describes the call `cls(**kwargs)` as a config tree.

    Args:
      cls: a class or function that is importable by name.
      **kwargs: its arguments; other nodes, and tuples or dicts of nodes, nest.

    Raises:
      UserError: an argument that `cls` does not take, or a required one that is missing.
    """
    parameters = _parameters(cls)
    if TARGET in parameters:
        raise UserError(
            f"{cls.__qualname__} has an argument {TARGET!r}, which configs use themselves"
        )
    for key in kwargs:
        if key not in parameters:
            raise UserError(f"{cls.__qualname__} has no argument {key!r}{suggest(key, parameters)}")
    hints = _hints(cls)
    tree = ConfigDict({TARGET: f"{cls.__module__}.{cls.__qualname__}"})
    for key, parameter in parameters.items():
        value = _as_node(kwargs[key] if key in kwargs else _default(cls, key, parameter))
        if value is inspect.Parameter.empty:
            raise UserError(f"{cls.__qualname__} needs the argument {key!r}")
        if value is None:
            value = config_dict.placeholder(_optional_type(hints.get(key, object)))
        tree[key] = value
    return tree


def build(tree: Any, built: Mapping[str, Any] | None = None) -> Any:
    """Makes the calls that `node` described, innermost first; lists come back as tuples.

    Args:
      tree: nodes, and containers of them.
      built: arguments of the outermost call, by name, that are made already.
    """
    if isinstance(tree, ConfigDict):
        built = built or {}
        parts = {key: build(tree[key]) for key in tree if key != TARGET and key not in built}
        arguments = {**parts, **built}
        if TARGET not in tree:
            return arguments
        try:
            return locate(tree[TARGET])(**arguments)
        except (TypeError, ValueError) as error:
            raise UserError(f"{tree[TARGET]} cannot be built: {error}") from error
    if isinstance(tree, (list, tuple)):
        return tuple(build(item) for item in tree)
    return tree


def locate(name: str) -> Callable:
    """Imports the object with a dotted name: 'vision_jax.models.classifiers.resnet.ResNet'."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"config target {name!r} cannot be imported: {error}") from error


def override(tree: ConfigDict, path: str, value: Any) -> None:
    """Sets `tree.a.b[0].c` for the path 'a.b[0].c', checking that it exists and the value's type.

    Args:
      tree: changed in place.
      path: dotted keys, with `[i]` for an item of a tuple.
      value: a Python value, or text as typed in a flag, which is read as the type already there.

    Raises:
      UserError: an unknown key, or a value that does not fit.
    """
    *parents, last = _keys(path)
    group: Any = tree
    for key in parents:
        group = _descend(tree, group, key, path)
    if isinstance(last, int):
        raise UserError(f"config key {path!r} is an item; override the whole tuple instead")
    if not isinstance(group, ConfigDict) or last not in group:
        raise _unknown_key(tree, group, path, last)
    kind, current = group.get_type(last), group[last]
    if isinstance(value, str) and (kind is not str or value == "None"):
        value = _read(value)
    if value is None and current is not None and not _is_optional(group, last):
        raise UserError(f"config key {path!r} holds {current!r}; None is not allowed there")
    if isinstance(current, ConfigDict) and not isinstance(value, Mapping | ConfigDict | None):
        raise UserError(f"config key {path!r} is a group; set one of: {', '.join(current)}")
    if value is not None and not isinstance(current, ConfigDict):
        value = _of_kind(path, value, object if kind is type(None) else kind)
    with group.ignore_type():
        group[last] = value


def override_everywhere(tree: ConfigDict, key: str, value: Any) -> None:
    """Sets the settings called `key` in all parts of a config; see `override`."""
    for path, _ in list(leaves(tree)):
        if path.rpartition(".")[2] == key:
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
    """Imports the experiment file of 'F.py:argument'; returns it and the argument, '' if none."""
    file, _, argument = spec.partition(":")
    path = pathlib.Path(file)
    if not path.is_file():
        known = sorted(str(p) for p in path.parent.glob("*.py"))
        raise UserError(f"config {file!r} not found{suggest(file, known)}")
    source = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if source is None or source.loader is None:
        raise UserError(f"config {file!r} is not a Python file")
    module = importlib.util.module_from_spec(source)
    try:
        source.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"config {file!r}, line {error.lineno}: {error.msg}") from error
    return module, argument


def leaves(tree: Any, prefix: str = "") -> typing.Iterator[tuple[str, Any]]:
    """Yields every setting of a config as (path, value), paths as `override` takes them."""
    if isinstance(tree, ConfigDict):
        for key in tree:
            yield from leaves(tree[key], f"{prefix}.{key}" if prefix else key)
    elif isinstance(tree, (tuple, list)) and any(isinstance(item, ConfigDict) for item in tree):
        for number, item in enumerate(tree):
            yield from leaves(item, f"{prefix}[{number}]")
    else:
        yield prefix, tree


def arguments(text: str | None, **defaults: Any) -> types.SimpleNamespace:
    """Reads a config's own argument, `F.py:depth=56,smoke`, into a namespace.

    Args:
      text: comma-joined `key=value` or `flag`; None and '' mean the defaults.
      **defaults: each known key with its default, whose type the value is read as.

    Raises:
      UserError: an unknown key or a value of the wrong type.
    """
    values = dict(defaults)
    for item in filter(None, (text or "").split(",")):
        key, equals, raw = item.partition("=")
        if key not in defaults:
            raise UserError(f"unknown config argument {key!r}{suggest(key, defaults)}")
        value = (raw if isinstance(defaults[key], str) else _read(raw)) if equals else True
        if type(value) is not type(defaults[key]):
            kind = _article(type(defaults[key]).__name__)
            raise UserError(f"config argument {key!r} takes {kind}, not {raw or 'nothing'!r}")
        values[key] = value
    return types.SimpleNamespace(**values)


def _parameters(cls: Callable) -> dict[str, inspect.Parameter]:
    """Returns the arguments of a constructor that are settings."""
    parameters = inspect.signature(cls).parameters
    is_linen = all(name in parameters for name in _LINEN_FIELDS)
    return {
        name: p
        for name, p in parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and not (is_linen and name in _LINEN_FIELDS)
    }


def _default(cls: Callable, name: str, parameter: inspect.Parameter) -> Any:
    """Returns a parameter's default; a dataclass's default_factory is called."""
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        if field.name == name and field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
    return parameter.default


def _as_node(value: Any) -> Any:
    """Turns a dataclass instance into the node that builds it, so that its fields are knobs."""
    if isinstance(value, type) or not dataclasses.is_dataclass(value):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    return node(type(value), **{k: v for k, v in fields.items() if k not in _LINEN_FIELDS})


def _hints(cls: Callable) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls.__init__ if inspect.isclass(cls) else cls)
    except (NameError, TypeError):
        return {}


def _optional_type(hint: Any) -> type:
    """Returns int for `int | None`; object where more than one type is possible."""
    options = [t for t in typing.get_args(hint) if t is not type(None)] or [hint]
    plain = typing.get_origin(options[0]) or options[0]
    return plain if len(options) == 1 and plain in (int, float, str, bool, tuple) else object


def _of_kind(path: str, value: Any, kind: type) -> Any:
    """Returns a value as the type that a setting has; refuses one that does not fit."""
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    if kind is str:
        value = str(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"config key {path!r} takes {_article(kind.__name__)}, not {value!r}")
    return value


def _is_optional(tree: ConfigDict, key: str) -> bool:
    return isinstance(tree._fields[key], config_dict.FieldReference)


def _keys(path: str) -> list[str | int]:
    """Splits 'a.b[0].c' into its keys and the numbers of its items."""
    keys: list[str | int] = []
    for part in path.split("."):
        name, *items = part.replace("]", "").split("[")
        keys.append(name)
        keys += [int(i) if i.isdigit() else i for i in items]
    return keys


def _descend(tree: ConfigDict, here: Any, key: str | int, path: str) -> Any:
    """Returns the part of `here` that a key of the path names."""
    if isinstance(key, int) and isinstance(here, (tuple, list)):
        if key < len(here):
            return here[key]
        raise UserError(f"config key {path!r}: item {key} of {len(here)} does not exist")
    if isinstance(here, ConfigDict) and key in here:
        return here[key]
    raise _unknown_key(tree, here, path, key)


def _unknown_key(tree: ConfigDict, here: Any, path: str, key: str | int) -> UserError:
    """Makes the error that names a place where this very key exists, else a close key."""
    last = path.rpartition(".")[2]
    elsewhere = [p for p, _ in leaves(tree) if p.rpartition(".")[2] == last]
    if elsewhere:
        return UserError(f"unknown config key {path!r} - did you mean {elsewhere[0]}?")
    known = list(here) if isinstance(here, ConfigDict) else []
    return UserError(f"unknown config key {path!r}{suggest(str(key), known)}")


def _read(text: str) -> Any:
    """Reads a Python literal, 'true' included; text that is none stays text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
