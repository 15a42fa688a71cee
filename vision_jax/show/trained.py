"""The trained network that a mode looks at: from the run folder alone, or from given weights."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from vision_jax.config import UserError, build, node
from vision_jax.data import Propose, StretchTo
from vision_jax.tasks import Ensemble, Predictor, StyledPicture
from vision_jax.training import (
    Experiment,
    agree,
    folder,
    initial,
    signature,
    spread,
    stages,
    vmapped,
)

# Settings of how a machine works: they change no answer.
_OF_THE_MACHINE = re.compile(
    r"parallel|keep|checkpoint_every|log_every|(train|eval)\.(threads|workers|device_cache)"
)
_SHOWN = 5  # settings in a message
# Parts of an experiment that need data, for modes that need none.
WITHOUT_DATA: Mapping[str, Any] = {"eval": None, "metrics": {}, "baselines": {}}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder, or an experiment with weights, as the looking modes see it.

    Attributes:
      config: with the numbers of classes filled in.
      workdir: of the run itself; of a staged one that of the last stage.
      experiment: its training data are a `Signature`, which only knows classes and shapes.
      signature: of the training data.
      lines: what to tell of it.
      as_trained: whether no setting that matters differs from the training's.
    """

    config: ConfigDict
    workdir: pathlib.Path
    experiment: Experiment
    signature: signature.Signature
    lines: list[str]
    as_trained: bool

    @property
    def several(self) -> vmapped.Runs | None:
        """The runs that one program trained; None for a single run, or weights from elsewhere."""
        if not (self.workdir / initial.CHECKPOINTS).is_dir():
            return None
        return vmapped.runs(self.experiment)

    @property
    def transforms(self) -> tuple[ConfigDict, ...]:
        """How pictures are prepared in evaluation, as nodes.

        Where nothing is done, since all images of the data have one size, pictures of other sizes
        are stretched to it. A network that makes images takes pictures of any size as they are.
        """
        if "image" in self.experiment.task.shown:
            return ()
        transforms = self.config.eval.transforms if self.config.eval else ()
        if transforms or len(self.signature.image) != 3:
            return tuple(transforms)
        height, width, _ = self.signature.image
        return (node(StretchTo, size=height, width=width),)

    @property
    def _proposes(self) -> bool:
        """Whether pictures get proposals as they are prepared."""
        return any(isinstance(part, Propose) for part in build(self.transforms))

    def check_pictures(self) -> None:
        """Refuses a network that cannot answer for a picture alone.

        Raises:
          UserError: it reads proposals that were made beforehand, or is one picture itself.
        """
        if isinstance(self.experiment.task, StyledPicture):
            raise UserError(
                f"this run made one picture, {self.workdir / 'picture.png'}; a network that "
                "repaints others is trained by experiments/style_johnson_coco.py"
            )
        if self.signature.proposals and not self._proposes:
            raise UserError(
                "this network reads proposals that were made beforehand, which a picture of your "
                "own does not have; use one that makes its own, such as Faster R-CNN, or let "
                "eval.transforms begin with data.Propose"
            )

    def predictor(self) -> tuple[Predictor, Any, str]:
        """Reads the network as (predictor, variables, where they are from).

        Several runs in one program answer together, with the mean of their probabilities.

        Raises:
          UserError: no checkpoint and no weights, some that do not fit, or several runs of
            something else than classifiers.
        """
        several = self.several
        if several is None:
            return self.experiment.task, *initial.trained(self.experiment, self.workdir)
        task = Ensemble(tuple(several.solo(k).task for k in range(several.count)))
        variables, origin = vmapped.stacked(several, self.workdir)
        return task, tuple(vmapped.take(variables, k) for k in range(several.count)), origin


def run_of(
    config: ConfigDict, workdir: pathlib.Path, built: Mapping[str, Any] = WITHOUT_DATA
) -> Run:
    """Finds the run that a mode looks at.

    Args:
      config: of the run folder, or of an experiment file; flags are applied.
      workdir: the run folder, which need not exist where the config names weights.
      built: parts of the experiment that are not built from the config.

    Raises:
      UserError: a damaged file, or settings that do not fit the data's classes.
    """
    config, workdir = last_stage(config, workdir)
    config = spread(config)
    known, lines = signature.read(workdir), list[str]()
    if known is None:
        known, lines = signature.of_config(config)
    config, experiment, told = agree(config, {**built, "train": known})
    differences = _differences(config, workdir)
    if len(differences) > _SHOWN:
        lines.append(f"not as trained: {len(differences) - _SHOWN} more settings")
    lines = [*differences[:_SHOWN], *lines, *told]
    return Run(config, workdir, experiment, known, lines, as_trained=not differences)


def last_stage(config: ConfigDict, workdir: pathlib.Path) -> tuple[ConfigDict, pathlib.Path]:
    """Returns the config and the folder of a staged experiment's last run, or those given."""
    return stages.resolve(config, workdir)[-1] if config.stages else (config, workdir)


def tell(lines: list[str]) -> None:
    """Prints lines, once in a run of several processes."""
    if jax.process_index() == 0:
        print("".join(f"{line}\n" for line in lines), end="")


def _differences(config: ConfigDict, workdir: pathlib.Path) -> list[str]:
    """Tells which settings are not those that the run was trained with."""
    file = workdir / signature.CONFIG
    if not file.is_file():
        return []
    stored = folder.read_json(file)
    if stored is None:
        return [f"{file} is damaged: nobody knows whether the settings are as trained"]
    changed = folder.changes(stored, json.loads(config.to_json()))
    return [
        f"not as trained: {key} {old!r} -> {new!r}"
        for key, (old, new) in changed.items()
        if not _OF_THE_MACHINE.fullmatch(key)
    ]
