"""Runs an exported program on pictures; imports no network."""

import pathlib
import time
from typing import Any

import jax
import numpy as np

from vision_jax.config import UserError, as_node, build
from vision_jax.data.loading import AnyTransform, fed
from vision_jax.export.artifact import Artifact, OnnxArtifact
from vision_jax.report.rendering import Rendered, render
from vision_jax.structs import Batch, Detections
from vision_jax.tasks.descriptions import (
    Answers,
    describe_captions,
    describe_classes,
    describe_objects,
    describe_pixels,
    describe_places,
)


class Runner:
    """An exported program as a function from pictures to answers, as `--mode predict` gives them.

    Attributes:
      channels: of the pictures that it takes, 3 or 1.
    """

    def __init__(self, artifact: Artifact | OnnxArtifact):
        self._description = artifact.description
        self._transforms: tuple[AnyTransform, ...] = build(as_node(self._description.transforms))
        self._call = artifact.caller()
        self.channels = self._description.image[2]

    def answer(self, image: np.ndarray, threshold: float | None = None) -> Rendered:
        """Answers for one picture.

        Args:
          image: (h, w, c) uint8 RGB, as decoded.
          threshold: the least score of what is told and drawn; see `report.rendering.render`.

        Raises:
          UserError: the transforms do not give the size that the program takes.
        """
        batch = fed(image, self._transforms)
        outputs = jax.tree.map(lambda x: np.asarray(x)[:1], self._run(batch))
        place = batch
        if self._description.kind in ("objects", "places"):  # they come in the original's pixels
            place = batch.replace(scale=np.ones((1, 2), np.float32))
        if self._description.kind == "objects":
            outputs = {"detections": Detections(**outputs)}
        classes = self._description.classes
        return render(self._describe, outputs, place, image, classes, threshold)

    def seconds(self, times: int) -> list[float]:
        """Measures so many calls on a batch of zeros, after one that compiles; in seconds each."""
        count = self._description.batch or 1
        images = np.zeros((count, *self._description.image), np.uint8)
        pair = np.ones((count, 2), np.float32)
        size = pair * np.float32(self._description.image[:2])
        jax.block_until_ready(self._call(images, size, pair))
        measured = []
        for _ in range(times):
            began = time.perf_counter()
            jax.block_until_ready(self._call(images, size, pair))
            measured.append(time.perf_counter() - began)
        return measured

    def _run(self, batch: Batch) -> dict[str, Any]:
        """Calls the program; a batch of several gets the picture several times."""
        expected = (1, *self._description.image)
        if batch.pixels.shape != expected:
            raise UserError(
                f"the transforms make images of {batch.pixels.shape[1:]}, the program takes "
                f"{expected[1:]}"
            )
        count = self._description.batch or 1
        arrays = (batch.image, batch.size, batch.scale)
        return self._call(*(np.repeat(x, count, axis=0) for x in arrays))

    def _describe(
        self, outputs: dict[str, Any], classes: tuple, threshold: float | None
    ) -> Answers:
        kind = self._description.kind
        if kind == "objects":
            return describe_objects(outputs["detections"], classes, threshold)
        if kind == "captions":
            return describe_captions(outputs["tokens"], outputs["score"], classes)
        if kind == "pixels":
            return describe_pixels(outputs["segmentation"], classes)
        if kind == "places":
            name = "boxes" if "boxes" in outputs else "points"
            return describe_places(outputs["logits"], name, outputs[name], classes, threshold)
        return describe_classes(outputs["logits"], classes, threshold, kind == "multilabel")


def summary(file: pathlib.Path, artifact: Artifact | OnnxArtifact) -> str:
    """Describes an exported program in a line: what it answers, for what, and its size."""
    described = artifact.description
    height, width, channels = described.image
    batch = "any number of" if described.batch is None else str(described.batch)
    return (
        f"{file}: {described.kind}, {batch} images of {width}×{height}×{channels}, "
        f"{', '.join(described.platforms)}, {file.stat().st_size / 2**20:.1f} MiB"
    )
