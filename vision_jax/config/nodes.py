"""Nodes: constructor calls as config trees, with the dotted name under `target`, and back."""

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from vision_jax.config.errors import UserError, suggest

TARGET = "target"
EXPERIMENT = "experiment_"  # the names of experiment files' modules begin with it
# Linen adds these two to every module's constructor; they are not settings.
_LINEN_FIELDS = ("parent", "name")


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
    hints = hints_of(cls)
    tree = ConfigDict({TARGET: f"{cls.__module__}.{cls.__qualname__}"})
    for key, parameter in parameters.items():
        value = described(kwargs[key] if key in kwargs else _default(cls, key, parameter))
        if value is inspect.Parameter.empty:
            raise UserError(f"{cls.__qualname__} needs the argument {key!r}")
        if value is None:
            value = config_dict.placeholder(_optional_type(hints.get(key, object)))
        tree[key] = value
    return tree


def locate(name: str) -> Callable:
    """Imports the object with a dotted name: 'vision_jax.models.classifiers.resnet.ResNet'."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = ""
        if module.startswith(EXPERIMENT):
            hint = "; it lies in an experiment file, which --config names"
        raise UserError(f"config target {name!r} cannot be imported: {error}{hint}") from error


def as_node(tree: Any, partial: bool = False) -> Any:
    """Turns plain dicts, lists and tuples, as `plain` makes them, into the config that they were.

    Args:
      tree: as JSON gives it, too.
      partial: leave a part that cannot be imported, or has other arguments now, as it is; it is
        missed where it is built.

    Raises:
      UserError: a 'target' that cannot be imported, or arguments that it does not take.
    """
    if isinstance(tree, ConfigDict):
        return tree
    if isinstance(tree, Mapping):
        items = {key: as_node(value, partial) for key, value in tree.items()}
        if TARGET not in items:
            return ConfigDict(items)
        name = items[TARGET]
        if not isinstance(name, str):
            raise UserError(f"config target {name!r} is no text such as 'module.Class'")
        try:
            return node(locate(name), **{k: v for k, v in items.items() if k != TARGET})
        except UserError:
            if not partial:
                raise
            return ConfigDict(items)
    return tuple(as_node(x, partial) for x in tree) if isinstance(tree, (list, tuple)) else tree


def plain(tree: Any) -> Any:
    """Turns a config into dicts and tuples, whose `repr` a flag takes: "{'target': …}"."""
    if isinstance(tree, Mapping | ConfigDict):
        return {key: plain(tree[key]) for key in tree}
    return tuple(map(plain, tree)) if isinstance(tree, (list, tuple)) else tree


def brief(value: Any) -> str:
    """Writes a config's value for names and tables: of a node its class, and what is not default.

    So `node(AdamW, eps=1e-6)` is 'AdamW(eps=1e-06)'.
    """
    if isinstance(value, (list, tuple)) and any(isinstance(item, ConfigDict) for item in value):
        return ",".join(map(brief, value))
    if not isinstance(value, ConfigDict) or TARGET not in value:
        return str(value)
    cls = locate(value[TARGET])
    defaults = {key: _default(cls, key, p) for key, p in _parameters(cls).items()}
    changed = [
        f"{key}={brief(value[key])}"
        for key, default in defaults.items()
        if key in value and plain(value[key]) != plain(described(default))
    ]
    return cls.__name__ + (f"({','.join(changed)})" if changed else "")


def hint_of(group: ConfigDict, key: str) -> Any:
    """Returns the type that a setting has in its constructor's signature; object without one."""
    return hints_of(locate(group[TARGET])).get(key, object) if TARGET in group else object


def is_none_by_default(cls: Callable, key: str) -> bool:
    """Returns whether a constructor's setting may be left out as None."""
    parameter = _parameters(cls).get(key)
    return parameter is not None and parameter.default is None


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


def described(value: Any) -> Any:
    """Turns a dataclass instance into the node that builds it, so that its fields are knobs."""
    if isinstance(value, type) or not dataclasses.is_dataclass(value):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    return node(type(value), **{k: v for k, v in fields.items() if k not in _LINEN_FIELDS})


def hints_of(cls: Callable) -> dict[str, Any]:
    """Returns the types in a constructor's signature, by argument; {} where they cannot be had."""
    try:
        return typing.get_type_hints(cls.__init__ if inspect.isclass(cls) else cls)
    except (NameError, TypeError):
        return {}


def _optional_type(hint: Any) -> type:
    """Returns int for `int | None`; object where more than one type is possible."""
    options = [t for t in typing.get_args(hint) if t is not type(None)] or [hint]
    plain = typing.get_origin(options[0]) or options[0]
    return plain if len(options) == 1 and plain in (int, float, str, bool, tuple) else object
