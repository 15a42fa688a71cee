"""The run folder: the config that it holds, and whether its run is finished."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from vision_jax.config import UserError
from vision_jax.report.folder import write_atomically
from vision_jax.training.experiment import FREE_KEYS


def name(spec: str) -> str:
    """Returns the default folder name of a config: 'x-a1-b' for 'experiments/x.py:a=1,b'."""
    file, _, argument = spec.partition(":")
    parts = pathlib.PurePath(file).with_suffix("").parts
    stem = "-".join(p for p in parts if p not in ("experiments", "/", ".", ".."))
    return "-".join(filter(None, [stem, *argument.replace("=", "").split(",")]))


def open_folder(folder: pathlib.Path, config: ConfigDict) -> None:
    """Makes the folder and writes config.json, or checks that it holds the same config.

    Settings that cannot change a result (`FREE_KEYS`) may differ from the earlier command's.

    Raises:
      UserError: another experiment lives there; the first settings that differ are named.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"run folder {str(folder)!r} cannot be made: {error.strerror}") from error
    file, tree = folder / "config.json", json.loads(config.to_json())
    if file.exists():
        old, new = dict(_flat(json.loads(file.read_text()))), dict(_flat(tree))
        changed = [
            f"{key} {old.get(key)!r} -> {new.get(key)!r}"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key) and key not in FREE_KEYS
        ]
        if changed:
            more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
            raise UserError(
                f"run folder {str(folder)!r} holds a run with another config: "
                f"{', '.join(changed[:2])}{more}; choose another --workdir"
            )
    write_json(file, tree)


def finish(folder: pathlib.Path, step: int, metrics: dict[str, float]) -> None:
    """Marks the run as done; written last, so that it means that all else is there."""
    write_json(folder / "DONE", {"step": step, "metrics": metrics})


def finished(folder: pathlib.Path) -> dict[str, Any] | None:
    """Returns what the run left when it was done ({'step', 'metrics'}); None before that."""
    file = folder / "DONE"
    return json.loads(file.read_text()) if file.exists() else None


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (path, value) of every setting, paths as flags name them."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        for number, item in enumerate(tree):
            yield from _flat(item, f"{path}[{number}]")
    else:
        yield path, tree


def write_json(file: pathlib.Path, value: Any) -> None:
    """Writes the whole file or nothing, also when the process is killed in between."""
    write_atomically(file, json.dumps(value, indent=1, sort_keys=True).encode())
