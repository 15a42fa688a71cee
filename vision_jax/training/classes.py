"""Training data, evaluation data, network and metrics agree on the classes before all compiles.

Labels are positions in a list of names. Where two parts have different lists, a run would learn or
measure one class as another without a word.
"""

import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vision_jax.config import UserError, build, leaves, override
from vision_jax.data import Vocabulary, captions_of, with_words
from vision_jax.data.by_name import ByName, missing_names
from vision_jax.data.pipeline import Pipeline
from vision_jax.evaluation import Captions, Prefixed
from vision_jax.tasks import Embedding
from vision_jax.training.experiment import Experiment
from vision_jax.words import SPECIAL

_SHOWN = 5  # names in a message
_COUNTED = ("task.", "metrics.")  # parts whose `num_classes` is the data's


def agree(
    config: ConfigDict, built: Mapping[str, Any] | None = None
) -> tuple[ConfigDict, Experiment, list[str]]:
    """Builds an experiment whose parts agree on the classes.

    A `num_classes` that is None becomes the training data's number; one above it is told.
    Evaluation data that number the same classes otherwise, or lack some, are matched by name.
    Where the classes are the words of a vocabulary, evaluation data and metrics take it over.

    Args:
      config: as `spread` leaves it; it is not changed.
      built: parts of the experiment that are made already, such as `train`.

    Returns:
      The config with its numbers of classes, the experiment, and lines that tell what was done.

    Raises:
      UserError: a `num_classes` below the data's, or a class of the evaluation data that the
        training data lack.
    """
    built = dict(built or {})
    if "train" not in built:
        built["train"] = build(
            config.train, path="train"
        )  # first, since the other parts ask for its classes
    train = built["train"]
    names, lines = tuple(train.classes), []
    config = copy.deepcopy(config)
    for path, number in _numbers(config) if names else ():
        if number is None:
            override(config, path, len(names))
            lines.append(f"{path}: {len(names)}, as the data have ({_listed(names)})")
        elif number > len(names):
            lines.append(
                f"{path}={number}, but the data have {len(names)} classes ({_listed(names)})"
            )
        elif number < len(names):
            raise UserError(
                f"{path}={number}, but the data have {len(names)} classes ({_listed(names)}); "
                f"set --config.{path}={len(names)}"
            )
    experiment: Experiment = build(config, built)
    if names[: len(SPECIAL)] == SPECIAL:
        return config, _with_vocabulary(experiment, names), lines
    if not names or experiment.eval is None or tuple(experiment.eval.classes) == names:
        return config, experiment, lines
    if isinstance(experiment.task, Embedding):  # identities that training did not see
        return config, experiment, lines
    experiment, line = _matched(experiment, names)
    return config, experiment, [*lines, line]


def _numbers(config: ConfigDict) -> list[tuple[str, int | None]]:
    """Finds every number of classes in the network and the metrics; 0 stands for no classes."""
    return [
        (path, number)
        for path, number in leaves(config)
        if path.rpartition(".")[2] == "num_classes" and path.startswith(_COUNTED) and number != 0
    ]


def _matched(experiment: Experiment, names: tuple[str, ...]) -> tuple[Experiment, str]:
    """Gives the evaluation data the training data's classes."""
    theirs = tuple(experiment.eval.classes)
    if unknown := missing_names(theirs, names):
        raise UserError(
            f"eval: the class {unknown[0]!r} is none of the training data's ({_listed(names)}); "
            "rename it or leave it out by data.ByName(source, names, rename)"
        )
    absent = missing_names(names, theirs)
    evaluation = dataclasses.replace(
        experiment.eval, source=ByName(experiment.eval.source, names=names)
    )
    line = "eval: classes are matched by name"
    if absent:
        line += f"; the evaluation data lack {_listed(absent)}"
    return dataclasses.replace(experiment, eval=evaluation), line


def _with_vocabulary(experiment: Experiment, words: tuple[str, ...]) -> Experiment:
    """Gives a vocabulary to the data and to the metrics of captions."""

    def known(pipeline: Any) -> Any:
        if not isinstance(pipeline, Pipeline):
            return pipeline
        return dataclasses.replace(pipeline, source=with_words(pipeline.source, words))

    experiment = dataclasses.replace(
        experiment, train=known(experiment.train), eval=known(experiment.eval)
    )
    if experiment.eval is None:
        return experiment
    references = functools.cache(lambda: captions_of(experiment.eval.source))

    def given(metric: Any) -> Any:
        if isinstance(metric, Prefixed):
            return dataclasses.replace(metric, metric=given(metric.metric))
        if isinstance(metric, Captions) and metric.vocabulary is None:
            vocabulary = Vocabulary(words[len(SPECIAL) :])
            return dataclasses.replace(metric, vocabulary=vocabulary, references=references())
        return metric

    metrics = {name: given(metric) for name, metric in experiment.metrics.items()}
    return dataclasses.replace(experiment, metrics=metrics)


def _listed(names: tuple[str, ...] | list[str]) -> str:
    """Lists the first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more
