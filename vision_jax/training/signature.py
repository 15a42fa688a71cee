"""A run folder as the trained model: its config, its classes, and the shape of what it is fed.

With them the modes that look at a run need neither its experiment file nor its training data.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from ml_collections import ConfigDict

from vision_jax.config import UserError, build, load_module
from vision_jax.config.nodes import EXPERIMENT, TARGET, as_node
from vision_jax.data import Vocabulary
from vision_jax.data.tfds import IMAGE_SHAPES
from vision_jax.structs import Batch, Targets
from vision_jax.training.experiment import Experiment
from vision_jax.training.folder import write_json
from vision_jax.words import SPECIAL

CONFIG, FILE = "config.json", "signature.json"
VOCABULARY = "vocabulary.json"  # of captions, for `data.WithVocabulary(file=…)`


@dataclasses.dataclass(frozen=True)
class Signature:
    """The classes and shapes of a run's training data; it stands in for them where none are read.

    Attributes:
      classes: the names of labels 0..C-1; () where nobody knows them.
      image: the shape of an image as it is fed, (h, w, c), or (crops, h, w, c).
      dtype: of the images.
      proposals: proposals per image; 0 where there are none.
    """

    classes: tuple[str, ...]
    image: tuple[int, ...]
    dtype: str = "uint8"
    proposals: int = 0
    batch_size: ClassVar[int] = 1
    num_examples: ClassVar[int] = 1

    def element(self) -> Batch:
        """Returns a batch of one image of zeros, shaped as in training."""
        targets = Targets()
        if self.proposals:
            targets = Targets(
                proposals=np.zeros((1, self.proposals, 4), np.float32),
                proposal_valid=np.zeros((1, self.proposals), bool),
            )
        return Batch(
            image=np.zeros((1, *self.image), self.dtype),
            valid=np.ones(1, bool),
            index=np.zeros(1, np.int32),
            targets=targets,
        )


def write(workdir: pathlib.Path, experiment: Experiment) -> None:
    """Writes a run's signature, and beside it the experiment files whose own classes it uses.

    Where its classes are the words of a vocabulary, that is also written as a file of its own.
    """
    signature = _of_data(experiment.train)
    write_json(workdir / FILE, dataclasses.asdict(signature))
    if signature.classes[: len(SPECIAL)] == SPECIAL:
        Vocabulary(signature.classes[len(SPECIAL) :]).save(workdir / VOCABULARY)
    tree = json.loads((workdir / CONFIG).read_text())
    for name in sorted({t.partition(".")[0] for t in _targets(tree)}):
        if name.startswith(EXPERIMENT) and name in sys.modules:
            source = pathlib.Path(str(sys.modules[name].__file__))
            if source.parent.resolve() != workdir.resolve():
                shutil.copyfile(source, workdir / f"{name}.py")
                # Processes that decode (`train.workers`) are spawned, and import it from there.
                sys.path.append(str(workdir.resolve()))


def read(workdir: pathlib.Path) -> Signature | None:
    """Reads the signature of a run; None where a folder has none.

    Raises:
      UserError: the file is damaged.
    """
    file = workdir / FILE
    if not file.is_file():
        return None
    try:
        stored = json.loads(file.read_text())
        return Signature(
            classes=tuple(map(str, stored["classes"])),
            image=tuple(map(int, stored["image"])),
            dtype=str(np.dtype(stored["dtype"])),
            proposals=int(stored["proposals"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise UserError(
            f"{file} is damaged ({error}); the run's training command writes it anew"
        ) from error


def of_config(config: ConfigDict) -> tuple[Signature, list[str]]:
    """Makes the signature of an experiment that was never run.

    Returns:
      The signature, and lines that tell what is not known since the training data are not there.

    Raises:
      UserError: neither the data nor a transform say how large images are.
    """
    try:
        return _of_data(build(config.train)), []
    except UserError as error:
        size = stated_size(config)
        if size is None:
            raise
        return Signature((), size), [f"classes are told by number: {error}"]


def _of_data(train: Any) -> Signature:
    """Returns the signature of training data, `data.Train`."""
    element = train.element()
    proposals = element.targets.proposals
    return Signature(
        classes=tuple(train.classes),
        image=tuple(element.pixels.shape[1:]),
        dtype=str(element.pixels.dtype),
        proposals=0 if proposals is None else proposals.shape[1],
    )


def stated_size(config: ConfigDict) -> tuple[int, int, int] | None:
    """Returns the input's height, width and channels as far as they are known without the data.

    The last transform that states a size does, or else the name of a set of images of one size.
    """
    for transform in reversed(config.train.transforms):
        if "size" in transform and isinstance(transform.size, int):
            return (transform.size, transform.size, 3)
        if "height" in transform and "width" in transform:
            return (transform.height, transform.width, 3)
    source = config.train.source
    name = str(source.name) if isinstance(source, ConfigDict) and "name" in source else ""
    return IMAGE_SHAPES.get(name.partition(":")[0])


def read_config(workdir: pathlib.Path) -> ConfigDict:
    """Reads the config with which a run was trained, whether or not its parts can be imported.

    Classes of its experiment file come from the copy in the run folder.

    Raises:
      UserError: no run folder, or a damaged file.
    """
    file = workdir / CONFIG
    if not file.is_file():
        where = "holds no run: it has no config.json" if workdir.is_dir() else "does not exist"
        raise UserError(f"run folder {str(workdir)!r} {where}; name a run's --workdir, or --config")
    try:
        stored = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{file} is damaged ({error}); the run's training command, with --config, mends it"
        ) from error
    if not isinstance(stored, dict) or TARGET not in stored:
        raise UserError(f"{file} is damaged: it describes no experiment")
    for copied in sorted(workdir.glob(f"{EXPERIMENT}*.py")):
        if copied.stem not in sys.modules:
            # Files of an experiment may import what is not here; parts are missed when built.
            with contextlib.suppress(Exception):
                sys.modules[copied.stem] = load_module(str(copied))[0]
    return as_node(stored, partial=True)


def _targets(tree: Any) -> Iterator[str]:
    """Yields the name of every part of a config in JSON."""
    if isinstance(tree, Mapping):
        if isinstance(tree.get(TARGET), str):
            yield tree[TARGET]
        tree = list(tree.values())
    for item in tree if isinstance(tree, list) else ():
        yield from _targets(item)
