"""Evaluates several run folders as one ensemble.

python -m vision_jax.training.ensemble runs/a runs/b runs/c
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax

from vision_jax.config import CommandLine, UserError
from vision_jax.tasks.ensemble import Ensemble
from vision_jax.training import signature, vmapped
from vision_jax.training.classes import agree
from vision_jax.training.evaluate import Evaluator, scalars
from vision_jax.training.experiment import Experiment
from vision_jax.training.parallel import Parallel


def evaluate(folders: Sequence[pathlib.Path | str]) -> dict[str, Any]:
    """Measures the mean probability of all runs' best checkpoints by the first run's metrics.

    The networks may differ; the data is the first run's evaluation set, prepared as it is there.

    Args:
      folders: finished or unfinished runs, at least one; a folder of several runs side by side
        (`vmapped`) gives all of them.

    Returns:
      Results by name, as an `Evaluate` returns them.

    Raises:
      UserError: a folder without a run, or runs that are evaluated on other data or classes.
    """
    experiments = [_experiment(pathlib.Path(folder)) for folder in folders]
    first = experiments[0]
    if first.eval is None:
        raise UserError(f"run {str(folders[0])!r} has no evaluation set")
    for folder, experiment in zip(folders, experiments, strict=True):
        if experiment.eval is None or experiment.eval.source != first.eval.source:
            raise UserError(
                f"run {str(folder)!r} is evaluated on other data than {str(folders[0])!r}"
            )
    members = [
        member
        for experiment, folder in zip(experiments, folders, strict=True)
        for member in vmapped.trained(experiment, pathlib.Path(folder))
    ]
    parallel = Parallel(first.parallel)
    ensemble = Ensemble(tuple(experiment.task for experiment, _ in members))
    variables = tuple(variables for _, variables in members)
    evaluator = Evaluator(ensemble, first.eval, first.metrics, parallel)
    return evaluator(parallel.put_state(variables)) or {}


def main(argv: Sequence[str]) -> int:
    """Evaluates the folders of a command line and prints the numbers; returns the exit code."""
    parser = CommandLine(prog="python -m vision_jax.training.ensemble")
    parser.add_argument("folders", nargs="+", help="run folders")
    try:
        results = evaluate(parser.parse_args(argv).folders)
    except UserError as error:
        print(f"ensemble: {error}", file=sys.stderr)
        return error.code
    if jax.process_index() == 0:
        for name, value in sorted(scalars(results).items()):
            print(f"{name} {value:.6g}")
    return 0


def _experiment(folder: pathlib.Path) -> Experiment:
    """Builds the experiment whose config lies in a run folder; its training data are not read."""
    config, known = signature.read_config(folder), signature.read(folder)
    built = {} if known is None else {"train": known}
    return agree(config, built)[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
