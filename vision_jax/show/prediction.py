"""Answers for images that nobody annotated: predictions.json and annotated pictures."""

import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vision_jax.config import UserError, build
from vision_jax.data.decode import decode_image
from vision_jax.data.loading import unannotated
from vision_jax.show import answers
from vision_jax.structs import Batch
from vision_jax.tasks import Ensemble
from vision_jax.training import Experiment, folder, initial, vmapped

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def predict(config: ConfigDict, workdir: pathlib.Path, given: str | None = None) -> list[dict]:
    """Answers for an image or a folder of images: predictions.json and annotated PNGs.

    What has a place is told and drawn in pixels of the original image. Several runs in one program
    answer together, with the mean of their probabilities.

    Raises:
      UserError: several runs of something else than classifiers; no `--input`, or one that does
        not exist, holds no image, or cannot be decoded.
    """
    files = _image_files(given)
    experiment: Experiment = build(config)
    task, classes = experiment.task, experiment.train.classes
    several = vmapped.runs(experiment)
    if several is not None and (workdir / initial.CHECKPOINTS).is_dir():
        task = Ensemble(tuple(several.solo(k).task for k in range(several.count)))
        stacked, origin = vmapped.stacked(several, workdir)
        variables = tuple(vmapped.take(stacked, k) for k in range(several.count))
    else:
        variables, origin = initial.trained(experiment, workdir)
    forward = jax.jit(lambda v, batch: {k: task.predict(v, batch)[k] for k in task.shown})
    target = workdir / "predictions"
    target.mkdir(parents=True, exist_ok=True)
    told = []
    for file in files:
        image = _read(file, experiment.train.element().image.shape[-1])
        batch = _fed(image, experiment.eval.transforms if experiment.eval else ())
        outputs = forward(variables, batch)
        answer, pictures = answers.answer(task, outputs, batch, image, classes)
        stem = file.name.replace(".", "_")  # a.png and a.jpg may both be there
        for name, picture in pictures.items():
            path = target / f"{stem}{'' if name == 'picture' else '_' + name}.png"
            picture.save(path)
            answer = {name: str(path), **answer}
        told.append({"file": str(file), **answer})
        print(f"{file}: {answer['text']}")
    folder.write_json(target / "predictions.json", {"weights": origin, "predictions": told})
    print(f"written: {target / 'predictions.json'} and pictures of {len(told)} images beside it")
    return told


def _fed(image: np.ndarray, transforms: tuple) -> Batch:
    """A batch of one image, transformed as in evaluation."""
    example: dict[str, Any] = unannotated(image)
    for transform in transforms:
        example = transform(example, np.random.default_rng(0))
    return Batch(
        image=np.asarray(example["image"])[None],
        valid=np.ones(1, bool),
        index=np.zeros(1, np.int32),
        size=example["size"][None],
        scale=np.asarray(example["scale"], np.float32)[None],
    )


def _image_files(given: str | None) -> list[pathlib.Path]:
    if given is None:
        raise UserError("--mode predict needs --input IMAGE or --input FOLDER")
    path = pathlib.Path(given)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise UserError(f"--input {given!r} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        return files
    if not path.is_file():
        raise UserError(f"--input {given!r}: no such image or folder")
    return [path]


def _read(file: pathlib.Path, channels: int) -> np.ndarray:
    try:
        return decode_image(file.read_bytes(), channels)
    except (ValueError, OSError) as error:
        raise UserError(f"--input {str(file)!r}: {error}") from error
