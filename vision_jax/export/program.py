"""The whole answer of a trained network as one program: from uint8 pictures to objects or classes.

The program holds the weights. It needs neither the network's code nor a run folder, and runs on the
platforms that it was exported for, without the fast paths that a CPU has in this package.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from vision_jax.config import UserError, as_node, build, node
from vision_jax.data import StretchTo
from vision_jax.data.loading import fed
from vision_jax.export.artifact import Artifact, Description
from vision_jax.export.folding import fold_norms
from vision_jax.show.trained import Run
from vision_jax.structs import Batch, Detections
from vision_jax.tasks import (
    Captioning,
    Classification,
    Detection,
    Ensemble,
    Localization,
    Predictor,
)
from vision_jax.tasks import Segmentation as SegmentationTask

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
Images = UInt8[Array, "b h w c"]
Pair = Float[Array, "b 2"]  # height and width, or y and x


def export(
    run: Run,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> Artifact:
    """Makes the program of a trained network, with its preprocessing beside it.

    Batch norms are folded into the convolutions before them.

    Args:
      run: a run folder, or an experiment with weights; see `show.trained.run_of`.
      batch: images per call; None leaves the number open.
      size: height and width of the network's input; None is that of the training.
      platforms: some of 'cpu', 'cuda', 'rocm', 'tpu'.

    Raises:
      UserError: an unknown platform, no trained network, or one that has no program of that form.
    """
    unknown = [name for name in platforms if name not in PLATFORMS]
    if unknown or not platforms:
        raise UserError(f"platforms={list(platforms)}: use some of {', '.join(PLATFORMS)}")
    answer, description = whole_answer(run, batch, size, platforms)
    with naming_a_number(batch):
        program = jax_export.export(jax.jit(answer), platforms=platforms)(*inputs(description))
    return Artifact(program, description)


def whole_answer(
    run: Run,
    batch: int | None,
    size: tuple[int, int] | None,
    platforms: Sequence[str],
) -> tuple[Callable[[Images, Pair, Pair], dict[str, Array]], Description]:
    """Makes the function that is exported, (images, size, scale) -> named arrays.

    Args:
      run, batch, size: see `export`.
      platforms: for the description.

    Raises:
      UserError: no trained network, or one whose answer has no exported form.
    """
    if len(run.signature.image) != 3 or run.signature.dtype != "uint8":
        raise UserError(
            f"a network that is fed {run.signature.dtype} {run.signature.image} has no exported "
            "form; it takes single images of uint8"
        )
    run.check_pictures()
    if run.signature.proposals:
        raise UserError(
            "this network reads proposals that data.Propose makes on the host, and no program has "
            "them; export a network that makes its own, such as Faster R-CNN"
        )
    task, variables, origin = run.predictor()
    height, width = size or run.signature.image[:2]
    shape = (height, width, run.signature.image[2])
    if not isinstance(task, Ensemble):
        element = dataclasses.replace(run.signature, image=shape).element()
        arguments = run.experiment.task.inputs(element)
        variables = fold_norms(run.experiment.task.model, variables, *arguments)
    description = Description(
        kind=_kind(task),
        classes=run.signature.classes,
        image=shape,
        batch=batch,
        transforms=_transforms(run, shape),
        platforms=tuple(platforms),
        weights=origin,
        jax_version=jax.__version__,
    )
    return _answers(task, variables), description


def inputs(description: Description) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Returns the shapes of images, size and scale; an open number of images is a symbol, b."""
    count = description.batch or jax_export.symbolic_shape("b")[0]
    pair = jax.ShapeDtypeStruct((count, 2), jnp.float32)
    return jax.ShapeDtypeStruct((count, *description.image), jnp.uint8), pair, pair


@contextlib.contextmanager
def naming_a_number(batch: int | None) -> Iterator[None]:
    """Says what to do where a network cannot be traced with an open number of images.

    Raises:
      UserError: the number is open, and the network's code asks for it.
    """
    try:
        yield
    except (TypeError, jax.errors.InconclusiveDimensionOperation) as error:
        if batch is not None:
            raise
        reason = str(error).splitlines()[0]
        raise UserError(
            f"this network has no program for any number of images ({reason}); name one, such as "
            "--batch 1"
        ) from error


def _answers(task: Predictor, variables: Any) -> Callable[[Images, Pair, Pair], dict[str, Array]]:
    """Makes the function of a task with its variables."""

    def answer(images: Images, size: Pair, scale: Pair) -> dict[str, Array]:
        count = images.shape[0]
        index = jnp.arange(count, dtype=jnp.int32)
        valid = jnp.ones(count, bool)
        batch = Batch(image=images, valid=valid, index=index, size=size, scale=scale)
        outputs = task.predict(variables, batch)
        if isinstance(task, Detection):
            return _in_the_original(outputs["detections"], scale)
        shown = {name: outputs[name] for name in task.shown}
        factor = jnp.tile(scale[:, ::-1], (1, 2))[:, None]
        for name, sides in (("boxes", 4), ("points", 2)):
            if name in shown:
                shown[name] = shown[name] / factor[..., :sides]
        return shown

    return answer


def _in_the_original(detections: Detections, scale: Pair) -> dict[str, Array]:
    """Returns the fields of detections, boxes and keypoints in pixels of the original images."""
    xy = scale[:, ::-1]
    fields = {
        "boxes": detections.boxes / jnp.tile(xy, (1, 2))[:, None],
        "scores": detections.scores,
        "labels": detections.labels,
        "valid": detections.valid,
    }
    if detections.masks is not None:
        fields["masks"] = detections.masks
    if detections.keypoints is not None:
        factor = jnp.concatenate([xy, jnp.ones_like(xy[:, :1])], 1)
        fields["keypoints"] = detections.keypoints / factor[:, None, None]
    return fields


def _kind(task: Predictor) -> str:
    """Names what the outputs are, for `Description`.

    Raises:
      UserError: a task whose answers have no exported form.
    """
    first = task.members[0] if isinstance(task, Ensemble) else task
    if isinstance(first, Classification):
        return "multilabel" if first.multilabel else "classes"
    if isinstance(first, Captioning):
        return "captions"
    if isinstance(first, Localization):
        return "places"
    if isinstance(first, Detection):
        return "objects"
    if isinstance(first, SegmentationTask):
        return "pixels"
    raise UserError(f"{type(first).__name__} has no exported form")


def _transforms(run: Run, shape: tuple[int, ...]) -> Any:
    """Returns how pictures become the program's input, as a config in JSON.

    They are the evaluation's transforms, with the size of the program. Where these leave the size
    open, pictures are stretched before.
    """
    tree = json.loads(ConfigDict({"transforms": run.transforms}).to_json())["transforms"]
    for transform in reversed(tree):
        if "height" in transform and "width" in transform:
            transform["height"], transform["width"] = shape[:2]
            break
        if isinstance(transform.get("size"), int) and ("width" in transform or _square(shape)):
            transform["size"] = shape[0]
            if transform.get("width") is not None or not _square(shape):
                transform["width"] = shape[1]
            break
    if _makes(tree, shape):
        return tree
    return [json.loads(node(StretchTo, size=shape[0], width=shape[1]).to_json()), *tree]


def _makes(tree: Any, shape: tuple[int, ...]) -> bool:
    """Returns whether transforms make images of one size of what is higher or wider than that."""
    transforms = build(as_node(tree))
    height, width, channels = shape
    try:
        return all(
            fed(np.zeros((*sides, channels), np.uint8), transforms).pixels.shape[1:] == shape
            for sides in ((height + 3, 2 * width), (2 * height, width + 5))
        )
    except ValueError:
        return False


def _square(shape: tuple[int, ...]) -> bool:
    return shape[0] == shape[1]
