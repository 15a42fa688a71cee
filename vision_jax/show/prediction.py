"""The mode `predict`: predictions.json and annotated pictures of images of your own."""

import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vision_jax.config import UserError
from vision_jax.data.decode import decode_image
from vision_jax.data.loading import unannotated
from vision_jax.show.rendering import render
from vision_jax.structs import Batch
from vision_jax.tasks import Ensemble, Predictor
from vision_jax.training import folder, initial, make_experiment, vmapped

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def predict(config: ConfigDict, workdir: pathlib.Path, user_input: str | None = None) -> list[dict]:
    """Predicts for an image or a folder of images; writes predictions.json and annotated PNGs.

    Boxes, points and masks are told and drawn in pixels of the original image. Several runs in one
    program answer together, with the mean of their probabilities.

    Raises:
      UserError: several runs of something else than classifiers; no `--input`, or one that does
        not exist, holds no image, or cannot be decoded.
    """
    files = _image_files(user_input)
    experiment = make_experiment(config)
    classes = experiment.train.classes
    task: Predictor = experiment.task
    variables: Any
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
    predictions = []
    for file in files:
        image = _read(file, experiment.train.element().image.shape[-1])
        batch = _fed(image, experiment.eval.transforms if experiment.eval else ())
        outputs = forward(variables, batch)
        answer, pictures = render(task, outputs, batch, image, classes)
        stem = file.name.replace(".", "_")  # a.png and a.jpg may both be there
        for name, picture in pictures.items():
            path = target / f"{stem}{'' if name == 'picture' else '_' + name}.png"
            picture.save(path)
            answer = {name: str(path), **answer}
        predictions.append({"file": str(file), **answer})
        print(f"{file}: {answer['text']}")
    record = {"weights": origin, "predictions": predictions}
    folder.write_json(target / "predictions.json", record)
    print(f"written: {target / 'predictions.json'} and pictures of {len(files)} images beside it")
    return predictions


def _fed(image: np.ndarray, transforms: tuple) -> Batch:
    """Makes a batch of one image, transformed as in evaluation."""
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


def _image_files(user_input: str | None) -> list[pathlib.Path]:
    """Lists the images that `--input` names."""
    if user_input is None:
        raise UserError("--mode predict needs --input IMAGE or --input FOLDER")
    path = pathlib.Path(user_input)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise UserError(f"--input {user_input!r} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        return files
    if not path.is_file():
        raise UserError(f"--input {user_input!r}: no such image or folder")
    return [path]


def _read(file: pathlib.Path, channels: int) -> np.ndarray:
    try:
        return decode_image(file.read_bytes(), channels)
    except (ValueError, OSError) as error:
        raise UserError(f"--input {str(file)!r}: {error}") from error
