"""The pictures that `--input` names: image files, folders of them, videos frame by frame."""

import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from vision_jax.config import UserError
from vision_jax.data.decode import check_pixels, decode_image, orientation, upright
from vision_jax.data.folders import SUFFIXES

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")


class Frame(NamedTuple):
    """One picture of a file.

    Fields:
      image: (h, w, c) uint8 RGB.
      number: of a video's frame, from 0; None for an image file.
      seconds: from the video's beginning.
      turn: the image's EXIF orientation, 1 (as stored) to 8.
    """

    image: np.ndarray
    number: int | None = None
    seconds: float | None = None
    turn: int = 1


def find(user_input: str | None, without: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """Lists the files that `--input` names, sub-folders included, in order.

    Args:
      user_input: an image, a video, or a folder.
      without: a folder that is left out, since answers are written there.

    Returns:
      Each file, and its path within the folder, with '/' between its parts.

    Raises:
      UserError: nothing is named, or what is named does not exist or holds no picture.
    """
    if user_input is None:
        raise UserError("--mode predict needs --input IMAGE, VIDEO or FOLDER")
    path = pathlib.Path(user_input).expanduser()
    if path.is_file():
        return [(path, path.name)]
    if not path.is_dir():
        raise UserError(f"--input {user_input!r}: no such image or folder")
    files = sorted(_walk(path, without.resolve()))
    if not files:
        known = ", ".join((*SUFFIXES, *VIDEOS))
        raise UserError(f"--input {user_input!r} holds no picture ({known})")
    return [(file, file.relative_to(path).as_posix()) for file in files]


def is_video(file: pathlib.Path) -> bool:
    """Returns whether a file's name is a video's."""
    return file.suffix.lower() in VIDEOS


def read(file: pathlib.Path, channels: int, turned: bool) -> Iterator[Frame]:
    """Yields an image file's only frame, or those of a video.

    Args:
      file: an image in any format that Pillow knows (of several frames the first), or a video that
        OpenCV opens.
      channels: 3, or 1 for gray.
      turned: turn images by their EXIF orientation; videos are always shown upright.

    Raises:
      OSError, ValueError: the file cannot be read or decoded.
    """
    if is_video(file):
        yield from _frames(file, channels)
        return
    encoded = file.read_bytes()
    turn, image = orientation(encoded), decode_image(encoded, channels)
    yield Frame(upright(image, turn) if turned else image, turn=turn)


def frame_rate(file: pathlib.Path) -> float:
    """Returns a video's frames per second; 25 where it does not say."""
    video = cv2.VideoCapture(str(file))
    rate = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return rate if 0 < rate < 1000 else 25.0


def _walk(folder: pathlib.Path, without: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the pictures of a folder and its sub-folders; hidden ones are left out."""
    for root, folders, names in os.walk(folder):
        here = pathlib.Path(root)
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__MACOSX")) and (here / name).resolve() != without
        ]
        for name in names:
            if not name.startswith(".") and name.lower().endswith((*SUFFIXES, *VIDEOS)):
                yield here / name


def _frames(file: pathlib.Path, channels: int) -> Iterator[Frame]:
    with open(file, "rb"):  # OpenCV does not tell a missing file from an odd one
        pass
    video = cv2.VideoCapture(str(file))
    try:
        size = [int(video.get(p)) for p in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
        if not video.isOpened() or not all(size):
            raise ValueError("OpenCV cannot open the video")
        check_pixels(*size)
        rate, number = frame_rate(file), 0
        while True:
            there, frame = video.read()
            if not there:
                break
            image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            if channels == 1:
                image = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)[:, :, None]
            yield Frame(image, number, number / rate)
            number += 1
        if not number:
            raise ValueError("the video has no frame that OpenCV can decode")
    finally:
        video.release()
