"""Answers for all the pictures that a user names, whoever answers: a network or a program."""

import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np

from vision_jax.config import UserError, printable
from vision_jax.data import pictures
from vision_jax.report.answers import Answer, Answers
from vision_jax.report.rendering import Rendered

_LINE = 200  # letters of an answer on the terminal


def predict_all(
    answer: Callable[[np.ndarray], Rendered],
    files: Sequence[tuple[pathlib.Path, str]],
    folder: pathlib.Path,
    channels: int,
    *,
    turned: bool,
    origin: str,
    results: bool = False,
) -> list[Answer]:
    """Answers for images and videos; writes predictions.json and pictures.

    A file that cannot be read is named and left out; the others are answered all the same.

    Args:
      answer: tells and draws one image (h, w, channels) uint8.
      files: the pictures, as `data.pictures.find` lists them.
      folder: where answers are written.
      channels: 3, or 1 for gray.
      turned: turn images by their EXIF tag; else they are taken as stored, and that is said.
      origin: where the weights are from.
      results: write objects in COCO's format too.

    Returns:
      The answers, as in predictions.json.

    Raises:
      UserError: a folder that cannot be written; and, at the end, files that could not be read.
    """
    unread: list[str] = []
    with Answers(folder, origin) as answers:
        for file, name in files:
            rate = pictures.frame_rate(file) if pictures.is_video(file) else None
            try:
                for frame in pictures.read(file, channels, turned):
                    _tell_turn(file, frame, turned)
                    told, drawn = answer(frame.image)
                    place: Answer = {"file": str(file)}
                    if frame.number is not None:
                        place |= {"frame": frame.number, "seconds": round(frame.seconds or 0, 3)}
                    answers.add(name, {**place, **told}, drawn, rate)
                    _tell(file, frame, told["text"])
            except (ValueError, OSError) as error:
                unread.append(printable(file, _LINE))
                print(f"{unread[-1]}: cannot be read, left out: {_reason(error)}", file=sys.stderr)
        if results:
            print(f"written: {answers.write_results()}")
    count = len(answers.all)
    print(f"written: {folder / 'predictions.json'} and pictures of {count} images beside it")
    if unread:
        raise UserError(
            f"{len(unread)} of {len(files)} files could not be read, such as {unread[0]}; the "
            "others are answered"
        )
    return answers.all


def _tell_turn(file: pathlib.Path, frame: pictures.Frame, turned: bool) -> None:
    if frame.turn != 1:
        how = "is turned by it" if turned else "is taken as stored; --upright turns it"
        print(f"{printable(file, _LINE)}: has an EXIF tag that turns it, and {how}")


def _tell(file: pathlib.Path, frame: pictures.Frame, text: str) -> None:
    where = "" if frame.number is None else f" frame {frame.number}"
    print(f"{printable(file, _LINE)}{where}: {printable(text, _LINE)}", flush=True)


def _reason(error: Exception) -> str:
    """Returns an error's text in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text, _LINE)
