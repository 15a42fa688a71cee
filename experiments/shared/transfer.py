"""Settings that transfer experiments share: which part of a network is trained, and how fast."""

import dataclasses
import functools

import numpy as np
from ml_collections import ConfigDict

from vision_jax.config import UserError, node
from vision_jax.data import Wrapped
from vision_jax.data.sources import Example
from vision_jax.models.classifiers.probe import ProbeHead

TUNE = ("head", "last", "all", "scratch")


@dataclasses.dataclass(frozen=True)
class SomeClasses(Wrapped):
    """The images of some of a source's classes, labelled anew in the order of `names`.

    Attributes:
      source: a source with the field 'label'.
      names: of the classes.
      count: the first so many of their images; None for all.
    """

    names: tuple[str, ...] = ()
    count: int | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.names

    def __len__(self) -> int:
        return len(self._positions)

    def position(self, i: int) -> int:
        return int(self._positions[i])

    def __getitem__(self, i: int) -> Example:
        example = super().__getitem__(i)
        return {**example, "label": self.names.index(self.source.classes[example["label"]])}

    @functools.cached_property
    def _positions(self) -> np.ndarray:
        """The source's numbers of these images, increasing."""
        wanted = [self.source.classes.index(name) for name in self.names]
        labels = [self.source[i]["label"] for i in range(len(self.source))]
        return np.flatnonzero(np.isin(labels, wanted))[: self.count]


def tune(config: ConfigDict, how: str, stages: tuple[str, ...], last: int = 1) -> ConfigDict:
    """Sets which part of a pretrained classifier is trained, and how fast.

    Args:
      config: a classification experiment; changed in place.
      how: 'head', a linear classifier on frozen features; 'last', the last stages of the backbone
        too; 'all', the whole network. In both the backbone learns at a tenth of the head's rate,
        and keeps its batch statistics. 'scratch' trains all of a fresh network at the full rate.
      stages: patterns of the backbone's parameters by stage, from the image on.
      last: how many stages 'last' trains.

    Raises:
      UserError: another `how`, or more stages than there are.
    """
    if how not in TUNE:
        raise UserError(f"tune={how!r}: use one of {', '.join(TUNE)}")
    if not 1 <= last <= len(stages):
        raise UserError(f"last={last}: the backbone has {len(stages)} stages")
    if how == "scratch":
        config.init.weights = None
        return config
    config.task.model.backbone.layers.norm = "frozen"
    trained = {"head": (), "last": stages[-last:], "all": ("backbone/.*",)}[how]
    config.optimizer.trainable = ("head/.*", *trained)
    config.optimizer.groups = (("backbone/.*", 0.1),)
    return config


def probe(config: ConfigDict, endpoint: str, num_classes: int) -> ConfigDict:
    """Puts a linear classifier on `endpoint`, instead of the last map, where one is named."""
    if endpoint:
        config.task.model.head = node(ProbeHead, endpoint=endpoint, num_classes=num_classes)
    else:
        config.task.model.head.num_classes = num_classes
    return config
