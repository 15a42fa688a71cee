"""Weights by name: a path, a name of the zoo, or a file of the Hugging Face Hub."""

import os.path
from pathlib import Path

from vision_jax.config import UserError
from vision_jax.weights import cache, hed, hub, zoo


def resolve(weights: str | Path) -> Path:
    """Returns the file that is meant, fetched into the cache if it is not there.

    Args:
      weights: a path; a name of the zoo, 'torchvision/resnet50-0676ba61'; `hed.NAME`, which a
        package ships; or `hf:OWNER/REPO[@REVISION][/FILE]`. A file or folder of that name goes
        before a name.

    Raises:
      UserError: no such file and no such name, or it cannot be fetched.
    """
    name = str(weights)
    if isinstance(weights, Path) or os.path.exists(name):
        return Path(weights)
    try:
        if name.startswith(hub.PREFIX):
            return hub.fetch(hub.parse(name))
        if name == hed.NAME:
            return hed.packaged()
        if name in zoo.entries():
            return fetch(zoo.find(name))
        raise UserError(f"no such file or folder, and no name of the zoo{zoo.nearest(name)}")
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def fetch(entry: zoo.Entry) -> Path:
    """Returns the file of a row of the zoo, fetched into the cache if it is not there.

    Raises:
      UserError: it cannot be fetched.
    """
    if entry.is_on_hub:
        return hub.fetch(hub.parse(entry.source))
    return cache.fetch(entry.place, entry.source, entry.digest)


def cached(entry: zoo.Entry) -> Path | None:
    """Returns the file of a row if it is in the cache."""
    return hub.cached(hub.parse(entry.source)) if entry.is_on_hub else cache.find(entry.place)


def verify(entry: zoo.Entry) -> str:
    """Compares the file of a row in the cache with the publisher's hash; returns what it was.

    Where no hash is published, it is compared with its own from when it was fetched.

    Raises:
      UserError: it is another file, or is not in the cache.
    """
    path = cached(entry)
    if path is None:
        raise UserError(
            f"not in the cache; `python -m vision_jax.weights fetch {entry.name}` fetches it"
        )
    cache.check(path, entry.digest)
    if entry.digest is not None:
        return f"{entry.digest}, as published"
    return "unchanged since it was fetched; no hash is published"
