"""Looks for what would stop a run later, before anything is traced or compiled.

A metric that nobody measures or images of different sizes would otherwise show hours later, at the
first evaluation. Whether network, losses and metrics fit the data shows when `make_parts` traces.
"""

import contextlib
import pathlib
import traceback
from collections.abc import Iterator

from ml_collections import ConfigDict

from vision_jax.config import SettingError, UserError, printable, suggest, within
from vision_jax.data import Eval, Train
from vision_jax.training import initial, phases, vmapped
from vision_jax.training.classes import agree
from vision_jax.training.experiment import Experiment, spread

_OF_EVALUATION = ("eval/skipped", "eval/cut")  # numbers that no metric reports; see `Evaluator`


def prepared(config: ConfigDict) -> tuple[ConfigDict, Experiment, list[str]]:
    """Builds an experiment and looks at it; see `agree` for what is returned.

    Raises:
      UserError: in one line, naming the setting or the record.
    """
    initial.check(config.init)
    phases.tell("reading the data …")
    config, experiment, lines = agree(spread(config))
    names(experiment)
    for name, pipeline in (("train", experiment.train), ("eval", experiment.eval)):
        if pipeline is not None:
            with in_one_line(f"{name}: the first images cannot be prepared"):
                pipeline.look()
                channels(experiment, name, pipeline)
    return config, experiment, lines


def names(experiment: Experiment) -> None:
    """Refuses two metrics that report one name, and settings that name what none reports.

    Raises:
      UserError: naming the metrics, or the setting and the nearest metric.
    """
    if experiment.eval is None:
        return
    reported: dict[str, str] = {}
    is_known = True
    for key, metric in experiment.metrics.items():
        numbers = metric.names()
        is_known &= numbers is not None
        for number in numbers or ():
            if number in reported:
                raise UserError(
                    f"metrics.{reported[number]} and metrics.{key} both report {number!r}: wrap "
                    f"one of them as node(evaluation.Prefixed, metric=…, prefix='{key}_')"
                )
            reported[number] = key
    several = vmapped.runs(experiment)
    runs = ["", *(f"@{k}" for k in range(several.count))] if several else [""]
    known = [f"eval/{number}{run}" for run in runs for number in reported]
    for setting, metric in experiment.followed.items():
        if is_known and metric not in (*known, *_OF_EVALUATION):
            raise UserError(f"{setting}={metric!r} is not measured{suggest(metric, known)}")


def channels(experiment: Experiment, name: str, pipeline: Train | Eval) -> None:
    """Refuses means and deviations that are not one per channel.

    Raises:
      SettingError: naming the setting and the channels.
    """
    task, count = experiment.task, pipeline.element().pixels.shape[-1]
    for setting in ("mean", "std"):
        values = {"mean": task.mean, "std": task.std}[setting]
        if len(values) != count:
            problem = f"={values!r} has {len(values)} numbers, the images of `{name}` have {count} "
            raise SettingError(f"task.{setting}", f"{problem}channels")
    try:
        within(task, "(-inf, inf)", "mean")
        within(task, "(0, inf)", "std")
    except SettingError as error:
        raise error.within("task") from error


@contextlib.contextmanager
def in_one_line(title: str) -> Iterator[None]:
    """Turns an error into one line that ends with the place in the code that raised it.

    Raises:
      UserError: beginning with the title; the user's own errors pass as they are.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or "no reason given"
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{pathlib.Path(frame.filename).name}:{frame.lineno}"
        raise UserError(
            f"{title}: {printable(text, 300)} ({type(error).__name__}, {place})"
        ) from error
