"""Changes of an experiment's config, as the command line and sweeps make them."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vision_jax.config import keys, node, override
from vision_jax.config.nodes import hint_of
from vision_jax.data import by_text
from vision_jax.data.folders import ObjectFolder

_SOURCE = "source"
_LENGTHS = {"steps": "epochs", "epochs": "steps"}


def apply(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Makes changes in an experiment's config, {path: value or text}; see `override`.

    A length replaces the other one: where only `steps` or only `epochs` is given, the other becomes
    0. A data source may be given as text, in the words that the doctor takes:
    'coco:train.json,photos'.

    Raises:
      UserError: an unknown setting, or a value that does not fit.
    """
    for path, value in changes.items():
        if isinstance(value, str) and keys.last(path) == _SOURCE:
            value = _source(config, path, value)
        override(config, path, value)
    for given, other in _LENGTHS.items():
        if given in changes and other not in changes and config.get(given):
            override(config, other, 0)


def _source(config: ConfigDict, path: str, text: str) -> Any:
    """Returns the node of the data source that a text names; the text itself where none belongs.

    Fields that the source in place asks for are asked of the new one too, as far as it has them.
    """
    if re.match(r"\s*(\{|None$)", text):
        return text
    group: Any = config
    for key in keys.split(path)[:-1]:
        try:
            group = group[key]
        except (KeyError, IndexError, TypeError):
            return text
    if not isinstance(group, ConfigDict) or _SOURCE not in group or hint_of(group, _SOURCE) is str:
        return text
    kind, settings = by_text.parse(text)
    current, known = group[_SOURCE], {field.name for field in dataclasses.fields(kind)}
    if isinstance(current, ConfigDict) and "fields" in current and "fields" in known:
        offered = kind.offers if issubclass(kind, ObjectFolder) else current.fields
        if fields := tuple(field for field in current.fields if field in offered):
            settings.setdefault("fields", fields)
    return node(kind, **settings)
