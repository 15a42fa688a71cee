"""The network and the picture that `python -m vision_jax.inspect` looks at."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vision_jax.config import UserError, build, load, override, suggest
from vision_jax.data import pictures
from vision_jax.data.loading import fed
from vision_jax.inspect import Network
from vision_jax.report.network_parts import Subject
from vision_jax.show.trained import Run, run_of
from vision_jax.structs import Batch, Detector
from vision_jax.tasks import Classification, Detection, Ensemble
from vision_jax.training import flags, folder, initial, signature
from vision_jax.weights import pretrained, zoo

_PAGES = pathlib.Path("inspected")  # of networks without a run folder
_NO_FOLDER = pathlib.Path("no run folder")


class Named(NamedTuple):
    """What a command line names.

    Fields:
      network: a run folder, or a name of the zoo; None with a config.
      config: an experiment file, for a network with `weights`.
      weights: as for `init.weights`.
      overrides: settings that differ, {path: text}.
      picture: an image file.
    """

    network: str | None
    config: str | None = None
    weights: str | None = None
    overrides: Mapping[str, str] = {}
    picture: str | None = None


def subject_of(named: Named) -> tuple[Subject, pathlib.Path]:
    """Reads the network that is named, and the picture.

    Returns:
      What the page shows, and the folder for it.

    Raises:
      UserError: no such run, name, file or picture, or weights that do not fit.
    """
    name, config = named.network, named.config
    if (name is None) == (config is None):
        raise UserError(
            "name a run folder or a network of the zoo, or --config EXPERIMENT.py with --weights"
        )
    file = _file(named.picture)  # before anything is read or compiled
    if name is not None and not pathlib.Path(name).exists():
        if name not in zoo.entries():
            raise UserError(f"{name!r} is no run folder, and no name of the zoo{zoo.nearest(name)}")
        if named.weights is not None or named.overrides:
            raise UserError(f"{name} has its weights and settings; --weights goes with --config")
        return _published(name, file), _PAGES / name
    workdir = _NO_FOLDER if name is None else pathlib.Path(name)
    settings = signature.read_config(workdir) if config is None else load(config)
    flags.apply(settings, named.overrides)
    if named.weights is not None:
        override(settings, "init.weights", named.weights)
    if config is not None and not settings.init.weights:
        raise UserError(f"--config {config} needs --weights FILE, or --weights with a zoo's name")
    subject = _trained(settings, workdir, file)
    place = workdir if config is None else _PAGES / folder.name(config)
    return subject, place / "network"


def label_of(text: str | None, subject: Subject) -> int | None:
    """Returns the number of a class that is given by its name or number; None without any.

    Raises:
      UserError: there is no such class.
    """
    if text is None:
        return None
    if text in subject.classes:
        return subject.classes.index(text)
    shapes = jax.eval_shape(subject.network, subject.images)
    logits = shapes.get("logits", shapes.get("class_logits"))
    count = len(subject.classes) or (logits.shape[-1] if logits is not None else 0)
    if text.isdigit() and int(text) < count:
        return int(text)
    if not count:
        raise UserError(f"--class {text!r}: this network has no classes")
    known = suggest(text, subject.classes) or f" - give a number below {count}"
    raise UserError(f"--class {text!r} is no class of this network{known}")


def _file(picture: str | None) -> pathlib.Path:
    """Returns the one image file that is named."""
    if picture is None:
        raise UserError("name a picture: --input PICTURE")
    file = pathlib.Path(picture).expanduser()
    if file.is_dir():
        raise UserError(f"--input {picture!r} is a folder; name one picture of it")
    if not file.is_file():
        raise UserError(f"--input {picture!r}: no such picture")
    if pictures.is_video(file):
        raise UserError(f"--input {picture!r} is a video; name a picture")
    return file


def _read(file: pathlib.Path, channels: int) -> np.ndarray:
    """Reads an image upright, (h, w, channels) uint8."""
    try:
        (frame,) = pictures.read(file, channels, turned=True)
    except (ValueError, OSError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    return frame.image


def _published(name: str, file: pathlib.Path) -> Subject:
    """Reads a network of the zoo."""
    model, variables, prepare = pretrained(name)
    prepared = prepare(_read(file, 3))
    others = (prepared.sizes,) if isinstance(model, Detector) else ()
    network = Network(model, variables, others)
    notes = (f"{file.name}: {prepare}",)
    return Subject(name, network, prepared.images, prepare.mean, prepare.std, (), name, notes)


def _trained(config: ConfigDict, workdir: pathlib.Path, file: pathlib.Path) -> Subject:
    """Reads the network of a run, or of an experiment with weights."""
    run = run_of(config, workdir)
    channels = run.signature.image[-1]
    if channels not in (1, 3) or run.signature.dtype != "uint8":
        raise UserError(
            f"the network is fed {run.signature.dtype} of {channels} channels, which no picture has"
        )
    batch = fed(_read(file, channels), build(run.transforms))
    if batch.pixels.ndim == 5:  # of several crops the first
        batch = batch.replace(image=batch.pixels[:, 0])
    task, variables, origin = run.predictor()
    notes = [file.name, *run.lines]
    if isinstance(task, Ensemble):
        task, variables = task.members[0], variables[0]
        notes.append(f"run 0 of {run.several.count if run.several else 1} in one program")
    learner = run.experiment.task
    network = Network(learner.model, jax.tree.map(jnp.asarray, variables), _others(learner, batch))
    return Subject(
        title=workdir.resolve().name if workdir.is_dir() else origin,
        network=network,
        images=learner.normalize(jnp.asarray(batch.pixels)),
        mean=learner.mean,
        std=learner.std,
        classes=run.signature.classes,
        origin=origin,
        notes=tuple(notes),
        untrained=_untrained(run),
        multilabel=isinstance(learner, Classification) and learner.multilabel,
    )


def _others(task: Any, batch: Batch) -> tuple:
    """Returns the network's arguments after the images."""
    _, *others = task.inputs(batch)
    if isinstance(task, Detection):
        others[0] = task.sizes(batch)
    return tuple(others)


def _untrained(run: Run) -> str:
    """Says why classes' scores mean nothing: the weights lack a part of the network."""
    if (run.workdir / initial.CHECKPOINTS).is_dir():
        return ""
    _, lines = initial.variables(run.experiment)
    fresh = [line.removeprefix(initial.FRESH) for line in lines if line.startswith(initial.FRESH)]
    return f"not in the weights, so that no score is trained: {fresh[0]}" if fresh else ""
