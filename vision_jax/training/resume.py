"""Whether a run may go on: with these data, with this length, in this folder.

The run folder's data.json holds the fingerprints of the data, and the run's length. A continuation
promises the bits of a run that was never stopped, so other training data are refused. A larger
length is not that run any more, and is told: the optimizer's state goes on, under the schedule of
the new length.
"""

import json
import pathlib
from typing import Any

import jax.numpy as jnp

from vision_jax.config import UserError
from vision_jax.report.folder import write_atomically
from vision_jax.training import fingerprint
from vision_jax.training.experiment import Experiment
from vision_jax.training.initial import CHECKPOINTS

FILE = "data.json"


def saved_step(folder: pathlib.Path) -> int | None:
    """Returns the newest step that was saved in a run folder; None before there is any."""
    names = [path.name for path in (folder / CHECKPOINTS).glob("*")]
    return max((int(name) for name in names if name.isdigit()), default=None)


def has_begun(folder: pathlib.Path) -> bool:
    """Returns whether a run folder, or one of its stages', holds anything that a run has saved."""
    folders = [folder, *(path.parent for path in folder.glob(f"*/{CHECKPOINTS}"))]
    return any((one / "DONE").exists() or saved_step(one) is not None for one in folders)


def check(folder: pathlib.Path, experiment: Experiment) -> tuple[dict[str, Any], list[str]]:
    """Compares an experiment with what a run folder says of the run there.

    Args:
      folder: the run folder, which need not exist.
      experiment: the one that is to run there.

    Returns:
      What `write` writes, and lines that tell what has changed.

    Raises:
      UserError: other training data than the run had so far, other evaluation data that its
        learning rate follows, or a length below what the run has.
    """
    pipelines = {"train": experiment.train, "eval": experiment.eval}
    new: dict[str, Any] = {
        name: None if pipeline is None else fingerprint.of(pipeline.source)
        for name, pipeline in pipelines.items()
    }
    new["steps"] = experiment.total_steps
    step, old = saved_step(folder), _read(folder / FILE)
    if step is None or old is None:
        return new, []
    lines = []
    goes_on = experiment.total_steps > step or experiment.total_steps != old.get("steps")
    for name, promised in (("train", True), ("eval", experiment.plateau is not None)):
        if not (old.get(name) and new[name]):
            continue
        told = "; ".join(fingerprint.differences(old[name], new[name]))
        if told and promised and goes_on:
            raise UserError(
                f"the data of `{name}` are not those that the run in {str(folder)!r} began with: "
                f"{told}; bring them back, or choose another --workdir (there "
                f"--config.init.weights={folder} begins with this run's weights)"
            )
        if told:
            lines.append(f"the data of `{name}` have changed since the run began: {told}")
    return new, [*lines, *_length(folder, experiment, step, int(old.get("steps") or 0))]


def write(folder: pathlib.Path, found: dict[str, Any]) -> None:
    """Writes what `check` found; a run that was done, and goes on, is not done any more."""
    done = _read(folder / "DONE") or {}
    if int(done.get("step", found["steps"])) < found["steps"]:
        (folder / "DONE").unlink(missing_ok=True)
    write_atomically(folder / FILE, json.dumps(found, indent=1, sort_keys=True).encode())


def _length(folder: pathlib.Path, experiment: Experiment, step: int, old: int) -> list[str]:
    """Tells what a larger length does to the learning rate; refuses a smaller one."""
    new = experiment.total_steps
    if not old or new == old:
        return []
    if new < old:
        raise UserError(
            f"the run in {str(folder)!r} is one of {old} steps, of which {step} are made, and not "
            f"of {new}; it can become longer, but for a shorter one choose another --workdir"
        )
    line = f"the run goes on from step {step} to {new} in place of {old}"
    if experiment.optimizer is None:
        return [line]
    each = experiment.steps_per_epoch
    rates = [
        float(experiment.optimizer.schedule.build(total, each)(jnp.int32(step)))
        for total in (old, new)
    ]
    how = "as before" if rates[0] == rates[1] else f"{rates[1]:.4g} in place of {rates[0]:.4g}"
    return [f"{line}; by the schedule of that length the learning rate there is {how}"]


def _read(file: pathlib.Path) -> dict[str, Any] | None:
    """Reads a JSON object; None where there is none, or nothing whole, to compare with."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
