"""The run folder: which config it holds, and whether its run is finished."""

import json
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from vision_jax.config import UserError, leaves
from vision_jax.training.experiment import FREE_KEYS


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
    file = folder / "config.json"
    new = settings(config)
    if file.exists():
        old = json.loads(file.read_text())["settings"]
        absent = "nothing"
        changed = [
            f"{key} {old.get(key, absent)!r} -> {new.get(key, absent)!r}"
            for key in sorted({*old, *new})
            if old.get(key, absent) != new.get(key, absent) and key not in FREE_KEYS
        ]
        if changed:
            more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
            raise UserError(
                f"run folder {str(folder)!r} holds a run with another config: "
                f"{', '.join(changed[:2])}{more}; choose another --workdir"
            )
    write_json(file, {"settings": new, "tree": json.loads(config.to_json())})


def settings(config: ConfigDict) -> dict[str, Any]:
    """All settings as {path: value}, in JSON's types."""
    return json.loads(json.dumps(dict(leaves(config)), sort_keys=True))


def finished(folder: pathlib.Path) -> dict[str, Any] | None:
    """What the run left when it was done ({'step', 'metrics'}), or None."""
    file = folder / "DONE"
    return json.loads(file.read_text()) if file.exists() else None


def write_json(file: pathlib.Path, value: Any) -> None:
    """Writes the whole file or nothing, also when the process is killed in between."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with partial.open("w") as stream:
        json.dump(value, stream, indent=1, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
