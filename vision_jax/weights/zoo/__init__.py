"""The zoo: published files of weights by name, with all that is needed to use them."""

import functools
from collections.abc import Mapping

from vision_jax.config import UserError, suggest
from vision_jax.weights.zoo import detectron2, detr, others, timm, torchvision
from vision_jax.weights.zoo.entry import Entry
from vision_jax.weights.zoo.preprocessing import Prepared, Preprocessing

__all__ = ["Entry", "Prepared", "Preprocessing", "entries", "find"]


@functools.cache
def entries() -> Mapping[str, Entry]:
    """Returns all rows by their names."""
    sources = (torchvision, timm, detectron2, detr, others)
    return {entry.name: entry for source in sources for entry in source.entries()}


def find(name: str) -> Entry:
    """Returns the row of a name.

    Raises:
      UserError: there is none; the nearest name is suggested.
    """
    if name not in entries():
        raise UserError(f"{name!r} is no name of the zoo{nearest(name)}")
    return entries()[name]


def nearest(name: str) -> str:
    """Returns ' - did you mean X?', or where all names are listed."""
    last = name.rpartition("/")[2].partition(".")[0]
    beginning = [known for known in entries() if known.rpartition("/")[2].startswith(last)]
    text = suggest(name, entries() if not last or not beginning else beginning)
    if "did you mean" in text:
        return text
    return " - `python -m vision_jax.weights list` shows them"
