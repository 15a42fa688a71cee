"""Faces: MTCNN's whole cascade on a photograph, and FaceNet's embedding of aligned crops."""

import pathlib
from typing import Any

import numpy as np

from benchmarks.work import Work, ours

WEIGHTS = pathlib.Path(__file__).parents[2] / "experiments" / "weights" / "mtcnn.safetensors"
SLOTS = 8  # faces that are compared
MIN_SIZE = 20


def detect(shared: pathlib.Path, steps: int, side: int = 0) -> Work:
    """Finds the faces of scikit-image's astronaut, with published weights."""
    import jax
    import jax.numpy as jnp

    from vision_jax import models, tasks, weights
    from vision_jax.structs import Batch

    model = models.MTCNN(min_size=MIN_SIZE)
    task = tasks.Detection(model, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    image = photograph(side)[None]
    batch = Batch(image=image, valid=np.ones(1, bool), index=np.zeros(1, np.int32))
    variables = weights.load(WEIGHTS, model)

    def run(variables: Any, batch: Batch) -> dict[str, jax.Array]:
        found = task.predict(variables, batch)["detections"]
        boxes = jnp.concatenate([found.boxes, found.scores[..., None]], -1)
        return {"boxes": boxes[:, :SLOTS], "points": found.keypoints[:, :SLOTS, :, :2]}

    return ours.inference(run, variables, batch, steps)


def embed(shared: pathlib.Path, batch_size: int, steps: int) -> Work:
    """Embeds crops of 160 pixels with Inception-ResNet v1, its norms folded."""
    import jax

    from vision_jax import models, tasks
    from vision_jax.export import fold_norms
    from vision_jax.structs import Batch

    model = models.InceptionResNetV1()
    task = tasks.Embedding(model, mean=(127.5 / 255,) * 3, std=(128 / 255,) * 3)
    image, index = crops(batch_size), np.arange(batch_size, dtype=np.int32)
    batch = Batch(image=image, valid=np.ones(batch_size, bool), index=index)
    variables = ours.weights_of(shared, model, task, batch)
    variables = fold_norms(model, variables, task.normalize(jax.numpy.asarray(image)))
    return ours.inference(
        lambda v, b: {"embedding": task.apply(v, task.normalize(b.pixels))["embedding"]},
        variables,
        batch,
        steps,
    )


def photograph(side: int = 0) -> np.ndarray:
    """Returns the astronaut, 512×512, or so many of its pixels around the face."""
    from skimage.data import astronaut

    image = astronaut()
    return image[:side, 120 : 120 + side] if side else image


def crops(batch_size: int) -> np.ndarray:
    """Returns pixels like those of aligned faces, uint8 (b, 160, 160, 3)."""
    return np.random.default_rng(0).integers(0, 256, (batch_size, 160, 160, 3), dtype=np.uint8)
