"""The files of predictions: answers as they come, annotated pictures, and videos."""

import json
import pathlib
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from PIL import Image

from vision_jax.config import UserError
from vision_jax.report.folder import write_atomically

Answer = dict[str, Any]  # in JSON's types
Pictures = dict[str, Image.Image]


class Answers:
    """The folder into which predictions are written, picture by picture.

    predictions.jsonl gets a line as soon as a picture is answered; predictions.json holds all of
    them at the end, also if that comes early. The picture of `sub/a.jpg` is `sub/a.jpg.png`, and
    what else there is of it `sub/a.jpg.NAME.png`; of a video it is a video.
    """

    def __init__(self, folder: pathlib.Path, origin: str):
        """
        Args:
          folder: made where it is missing.
          origin: where the weights are from.
        """
        self._folder, self._origin = folder, origin
        self._answers: list[Answer] = []
        self._images: list[str] = []  # the name of each answer's picture
        self._video: cv2.VideoWriter | None = None
        self._name = ""  # of the video
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = open(folder / "predictions.jsonl", "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_video()
        self._lines.close()
        record = {"weights": self._origin, "predictions": self._answers}
        content = json.dumps(record, indent=1, sort_keys=True).encode()
        write_atomically(self._folder / "predictions.json", content)

    @property
    def all(self) -> list[Answer]:
        """The answers so far."""
        return self._answers

    def add(
        self,
        name: str,
        answer: dict[str, Any],
        pictures: dict[str, Image.Image],
        rate: float | None,
    ) -> None:
        """Writes one answer and its pictures.

        Args:
          name: the picture's path within what was given, with '/' between its parts.
          answer: in JSON's types; the paths of its pictures are added.
          pictures: by name, 'picture' among them.
          rate: frames per second, for a frame of a video; else None.

        Raises:
          UserError: the folder cannot be written.
        """
        try:
            paths = {}
            for kind, picture in pictures.items():
                paths[kind] = str(self._draw(name, kind, picture, answer, rate))
            told = {**paths, **answer}
            self._lines.write(json.dumps(told, sort_keys=True) + "\n")
            self._lines.flush()
        except OSError as error:
            raise self._failed(error) from error
        self._answers.append(told)
        self._images.append(name if rate is None else f"{name}#{answer['frame']}")

    def end_video(self) -> None:
        """Completes the video that is being written."""
        if self._video is not None:
            self._video.release()
        self._video, self._name = None, ""

    def write_results(self) -> pathlib.Path:
        """Writes the objects of all answers in COCO's results format.

        The id of an image is its path within what was given, with '#12' for a video's frame 12;
        class c is category c + 1.

        Raises:
          UserError: the answers have no objects, or the folder cannot be written.
        """
        rows = []
        for image, answer in zip(self._images, self._answers, strict=True):
            if "objects" not in answer:
                raise UserError("--results: only detectors find objects for COCO's results.json")
            rows += [_result(image, one) for one in answer["objects"]]
        target = self._folder / "results.json"
        try:
            write_atomically(target, json.dumps(rows).encode())
        except OSError as error:
            raise self._failed(error) from error
        return target

    def _draw(
        self, name: str, kind: str, picture: Image.Image, answer: Answer, rate: float | None
    ) -> pathlib.Path:
        """Writes a picture, or a frame of a video, and returns the file's path."""
        if rate is not None and kind == "picture":
            return self._draw_frame(name, picture, rate)
        of_frame = "" if rate is None else f".{answer['frame']:06d}"
        suffix = "" if kind == "picture" else f".{kind}"
        path = self._folder / f"{name}{of_frame}{suffix}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        return path

    def _draw_frame(self, name: str, picture: Image.Image, rate: float) -> pathlib.Path:
        path = self._folder / f"{name}.mp4"
        if self._name != name:
            self.end_video()
            path.parent.mkdir(parents=True, exist_ok=True)
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._video, self._name = cv2.VideoWriter(str(path), codec, rate, picture.size), name
            if not self._video.isOpened():
                raise UserError(f"{path}: OpenCV cannot write the video here")
        assert self._video is not None
        self._video.write(cv2.cvtColor(np.asarray(picture.convert("RGB")), cv2.COLOR_RGB2BGR))
        return path

    def _failed(self, error: OSError) -> UserError:
        return UserError(
            f"predictions cannot be written to {str(self._folder)!r}: {error.strerror}"
        )


def _result(image: str, one: Answer) -> dict[str, Any]:
    """Turns an object of an answer into a row of COCO's results."""
    x0, y0, x1, y1 = one["box"]
    bbox = [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]
    row = {"image_id": image, "category_id": one["label"] + 1, "bbox": bbox, "score": one["score"]}
    if "mask" in one:
        row["segmentation"] = one["mask"]
    if "keypoints" in one:
        row["keypoints"] = [number for point in one["keypoints"] for number in point]
    return row
