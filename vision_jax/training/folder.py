"""The run folder: the config that it holds, and whether its run is finished."""

import contextlib
import hashlib
import json
import logging
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from vision_jax.config import UserError
from vision_jax.report.folder import write_atomically
from vision_jax.system import disk
from vision_jax.training import lock, multiprocess, phases, resume
from vision_jax.training.experiment import Experiment, may_change

_LOG = logging.getLogger(__name__)
_LONGEST_NAME = 120  # bytes; file systems take 255


def name(spec: str) -> str:
    """Returns the default folder name of a config: 'x-a1-b' for 'experiments/x.py:a=1,b'.

    Paths in an argument make no sub-folders, and long names end with a digest of all.
    """
    file, _, argument = spec.partition(":")
    parts = pathlib.PurePath(file).with_suffix("").parts
    stem = "-".join(p for p in parts if p not in ("experiments", "/", ".", ".."))
    whole = "-".join(filter(None, [stem, *argument.replace("=", "").split(",")]))
    safe = re.sub(r"[^\w.+-]+", "-", whole).strip("-")
    if len(safe.encode()) <= _LONGEST_NAME:
        return safe
    digest = hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{safe[: _LONGEST_NAME // 4].rstrip('-')}-{digest}"


@contextlib.contextmanager
def opened(folder: pathlib.Path, config: ConfigDict, experiment: Experiment) -> Iterator[None]:
    """Opens a run folder for the run of a config, and keeps others out; of several processes the
    first does.

    Raises:
      UserError: see `lock.held` and `open_folder`; in every process.
    """
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(lock.held(folder))
            open_folder(folder, config, experiment)

        multiprocess.first(begin, f"process 0 cannot have the run folder {str(folder)!r}")
        yield


def open_folder(
    folder: pathlib.Path, config: ConfigDict, experiment: Experiment | None = None
) -> None:
    """Makes the folder and writes config.json, or checks that the run there may go on.

    Settings that change no weight (`may_change`) may differ from the earlier command's, and all may
    as long as nothing was saved. What differs is told.

    Args:
      folder: the run folder.
      config: the run's.
      experiment: built from it; None where the folder only holds those of stages.

    Raises:
      UserError: another experiment lives there (the first settings that differ are named), its
        config.json is damaged, the folder cannot be written, or see `resume.check`.
    """
    disk.make_folder(folder)
    for half in folder.glob(".*.half"):  # of a process that was killed while it wrote
        with contextlib.suppress(OSError):
            half.unlink()
    file, tree = folder / "config.json", json.loads(config.to_json())
    earlier = _earlier(folder, file)
    lines = [] if earlier is None else _changed(folder, earlier, tree)
    if experiment is not None:
        found, more = resume.check(folder, experiment)
        resume.write(folder, found)
        lines += more
    write_json(file, tree)
    for line in lines:
        phases.tell(line)


def _changed(folder: pathlib.Path, earlier: dict[str, Any], tree: dict[str, Any]) -> list[str]:
    """Tells which settings have changed since a run began; refuses those that may not."""
    told = {key: f"{key} {old!r} -> {new!r}" for key, (old, new) in changes(earlier, tree).items()}
    if not told:
        return []
    if not resume.has_begun(folder):
        return [f"nothing was saved yet in {folder}: the run begins with the new config"]
    refused = [text for key, text in told.items() if not may_change(key, tree)]
    if refused:
        more = f" and {len(refused) - 2} more" if len(refused) > 2 else ""
        raise UserError(
            f"run folder {str(folder)!r} holds a run with another config: "
            f"{', '.join(refused[:2])}{more}; choose another --workdir"
        )
    return [f"changed since the run began: {', '.join(told.values())}"]


def _earlier(folder: pathlib.Path, file: pathlib.Path) -> dict[str, Any] | None:
    """Reads the config of the run in a folder; None where it has none, and nothing to lose."""
    if not file.exists():
        return None
    config = read_json(file)
    if config is not None:
        return config
    left = [name for name in ("checkpoints", "DONE", "metrics.jsonl") if (folder / name).exists()]
    if left:
        raise UserError(
            f"{str(file)!r} is damaged, so that nobody knows whether this is the run of "
            f"{' and '.join(left)} beside it; delete it if the command is the same, or choose "
            "another --workdir"
        )
    _LOG.warning("%s is damaged and is written anew", file)
    return None


def changes(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """Returns the settings that differ between two configs in JSON: {path: (old, new)}."""
    before, after = dict(_flat(old)), dict(_flat(new))
    return {
        key: (before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    }


def finish(folder: pathlib.Path, step: int, metrics: dict[str, float]) -> None:
    """Marks the run as done; written last, so that it means that all else is there."""
    write_json(folder / "DONE", {"step": step, "metrics": metrics})


def finished(folder: pathlib.Path) -> dict[str, Any] | None:
    """Returns what the run left when it was done ({'step', 'metrics'}); None before that.

    Where the file is damaged, the run's last checkpoint knows the same: it is then not done, and
    goes on from there.

    Raises:
      UserError: it is damaged, and there is no checkpoint.
    """
    file = folder / "DONE"
    if not file.exists():
        return None
    done = read_json(file)
    if done is not None and isinstance(done.get("metrics"), dict) and "step" in done:
        return done
    if not (folder / "checkpoints").is_dir():
        raise UserError(
            f"{str(file)!r} is damaged, and without checkpoints beside it the run would begin anew;"
            " delete it if it shall"
        )
    _LOG.warning("%s is damaged; the run's end is made again from its last checkpoint", file)
    return None


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


def read_json(file: pathlib.Path) -> dict[str, Any] | None:
    """Reads a JSON object that is not empty; None where the file holds something else."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise UserError(f"{str(file)!r} cannot be read: {error.strerror}") from error
    return content if isinstance(content, dict) and content else None


def write_json(file: pathlib.Path, value: Any) -> None:
    """Writes the whole file or nothing, also when the process is killed in between."""
    write_atomically(file, json.dumps(value, indent=1, sort_keys=True).encode())
