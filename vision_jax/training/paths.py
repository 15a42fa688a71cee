"""Parameters by path, 'backbone/conv1/kernel' in place of nested dicts, and patterns over paths.

A pattern is a regular expression that must match the whole path: 'head/.*', '.*/bias'.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from vision_jax.config import UserError, suggest


def flatten(tree: Any) -> dict[str, Any]:
    """Turns any pytree into {path: leaf}, in its order; None and empty nodes leave no entry."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turns {path: leaf} into nested dicts."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        here = tree
        for key in parents:
            here = here.setdefault(key, {})
        here[last] = leaf
    return tree


def like(tree: Any, flat: Mapping[str, Any]) -> Any:
    """Makes a tree shaped as `tree` with the leaves of `flat`, which has every path of it."""
    return jax.tree.unflatten(jax.tree.structure(tree), [flat[path] for path in flatten(tree)])


def matches(patterns: Iterable[str], path: str) -> bool:
    """Returns whether any of the patterns matches the whole path."""
    return any(re.fullmatch(pattern, path) for pattern in patterns)


def check_patterns(setting: str, patterns: Iterable[str], paths: Iterable[str]) -> None:
    """Refuses a pattern that matches no path.

    Args:
      setting: the name of the setting that holds the patterns, for the message.
      patterns: regular expressions.
      paths: all parameter paths.

    Raises:
      UserError: with the nearest path or group of paths, or the fault in the expression.
    """
    paths = list(paths)
    for pattern in patterns:
        try:
            is_match = any(re.fullmatch(pattern, path) for path in paths)
        except re.error as error:
            raise UserError(f"{setting}={pattern!r} is no regular expression: {error}") from error
        if not is_match:
            raise UserError(f"{setting}={pattern!r} matches no parameter{_nearest(pattern, paths)}")


def _nearest(pattern: str, paths: list[str]) -> str:
    """Suggests a path, or a module's 'path/.*', that the pattern may have meant."""
    modules = {path.rpartition("/")[0] for path in paths if "/" in path}
    modules |= {module.split("/")[0] for module in modules}
    if pattern.rstrip("/") in modules:
        return f" - did you mean {pattern.rstrip('/')}/.*?"
    close = suggest(pattern, [*paths, *(f"{module}/.*" for module in modules)])
    return close if close.startswith(" - did") else f" - the first is {paths[0]}"
