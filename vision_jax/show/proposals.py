"""Writes proposals for every image of a data set into a file that `data.WithProposals` reads.

What is done lies in F.npz.parts until all is there, so that a second call goes on after the first
was interrupted. `python -m vision_jax.proposals` is the command line.
"""

import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import datetime
import functools
import json
import multiprocessing
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vision_jax import proposals
from vision_jax.config import UserError, suggest
from vision_jax.data.by_text import source_from_text
from vision_jax.data.decode import decode_image
from vision_jax.data.sources import Source
from vision_jax.system import disk

_IMAGES = 32  # of a part
_SETTINGS = "settings.json"
Job = tuple[proposals.Method, str, int, int, pathlib.Path, int, int]  # see `_write_part`


@dataclasses.dataclass(frozen=True)
class Order:
    """What shall be written, as the command line's flags of these names say it.

    Attributes:
      method: of `proposals.METHODS`.
      source: the images, KIND:…, see `data.by_text`.
      out: the npz.
      workers: processes beside this one; 0: this one works.
      most: boxes per image, the best.
      seed: of the first image; each following one has the next.
      fit: a source whose boxes the method takes after; None: it stays as it is.
      weights: a folder with BING's published weights; None: it is fitted.

    Raises:
      UserError: an unknown method, a number out of range, or another file's ending.
    """

    method: str
    source: str
    out: pathlib.Path
    workers: int = 0
    most: int = 2000
    seed: int = 0
    fit: str | None = None
    weights: pathlib.Path | None = None

    def __post_init__(self):
        for name, value, least in (
            ("--workers", self.workers, 0),
            ("--most", self.most, 1),
            ("--seed", self.seed, 0),
        ):
            if value < least:
                raise UserError(f"{name} {value} must be {least} or more")
        if self.out.suffix != ".npz":
            raise UserError(f"--out {self.out} must end with .npz")
        if self.method not in proposals.METHODS:
            known = suggest(self.method, proposals.METHODS)
            raise UserError(f"unknown method {self.method!r}{known}")


def write(order: Order) -> str:
    """Writes the file; returns a line about it.

    Raises:
      UserError: a source that cannot be read, or a file or parts that were made otherwise.
    """
    method, source = _method(order), _opened(order.source)
    settings = {
        "method": repr(method),
        "source": order.source,
        "images": len(source),
        "most": order.most,
        "seed": order.seed,
    }
    if order.out.exists():
        _same_settings(order.out, _settings_of(order.out), settings)
        return f"{order.out} is complete"
    parts = order.out.with_name(f"{order.out.name}.parts")
    _begin(parts, settings)
    began = time.monotonic()
    starts = [s for s in range(0, len(source), _IMAGES) if not _part(parts, s).exists()]
    jobs: list[Job] = [
        (method, order.source, order.seed, order.most, parts, s, min(s + _IMAGES, len(source)))
        for s in starts
    ]
    done = len(source) - sum(job[-1] - job[-2] for job in jobs)
    _tell(_run(jobs, order.workers), done, len(source))
    boxes = _merge(parts, order.out, source, settings)
    seconds = time.monotonic() - began
    return f"{order.out}: {boxes} boxes of {len(source)} images, {seconds:.1f} s"


def _method(order: Order) -> proposals.Method:
    """Returns the method that an order names, fitted if it says so."""
    method = proposals.METHODS[order.method]
    if order.weights is not None:
        if order.method != "bing":
            raise UserError(f"--weights is for bing, not for {order.method}")
        return proposals.Bing.read(order.weights)
    if order.fit is None:
        if order.method == "bing":
            raise UserError("bing needs --fit SOURCE, to learn from, or --weights FOLDER")
        return method
    with_boxes = _with_boxes(order.fit)
    if isinstance(method, proposals.Bing):
        return proposals.learned_bing(with_boxes)
    if isinstance(method, proposals.Uniform | proposals.Gaussian):
        return method.fitted(with_boxes)
    raise UserError(f"--fit is for uniform, gaussian and bing, not for {order.method}")


def _with_boxes(text: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the images of a source with their boxes, those without extent left out."""
    source = _opened(text)
    for i in range(len(source)):
        example = source[i]
        if "boxes" not in example:
            raise UserError(f"--fit {text}: the source has no boxes")
        boxes = np.asarray(example["boxes"], np.float64)
        yield _rgb(example["image"]), boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]


@functools.cache
def _opened(text: str) -> Source:
    """Opens a source, once in each process."""
    return source_from_text(text)


def _rgb(image: bytes | np.ndarray) -> np.ndarray:
    """Returns an example's image as uint8 (h, w, 3)."""
    if isinstance(image, bytes):
        return decode_image(image)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _part(parts: pathlib.Path, start: int) -> pathlib.Path:
    return parts / f"{start:09d}.npz"


def _begin(parts: pathlib.Path, settings: dict[str, Any]) -> None:
    """Makes the folder of parts, or checks that the one that is there is of the same settings."""
    path = parts / _SETTINGS
    if path.exists():
        _same_settings(parts, path.read_text(encoding="utf-8"), settings)
        return
    with disk.writing(parts):
        parts.mkdir(parents=True, exist_ok=True)
    with disk.whole_file(path) as half:
        half.write_text(json.dumps(settings), encoding="utf-8")


def _settings_of(path: pathlib.Path) -> str:
    """Returns the settings that a file was made with, '' if it holds none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file["settings"]) if "settings" in file.files else ""
    except Exception as error:  # zipfile, zlib, numpy: each has its own
        raise UserError(
            f"--out {path} exists and is no npz file; remove it, or choose another"
        ) from error


def _same_settings(path: pathlib.Path, found: str, settings: dict[str, Any]) -> None:
    """Raises an error that names the first setting that differs from those of a file."""
    try:
        before = dict(json.loads(found))
    except ValueError:
        before = {}
    for name, value in settings.items():
        if before.get(name) != value:
            raise UserError(
                f"{path} was made with {name} {before.get(name, 'unknown')}, not {value}; remove "
                "it, or choose another --out"
            )


def _write_part(job: Job) -> int:
    """Proposes boxes for some images, and writes them down; returns the number of images."""
    method, text, seed, most, parts, start, stop = job
    source, found = _opened(text), []
    for i in range(start, stop):
        boxes = method(_rgb(source[i]["image"]), seed + i)[:most]
        found.append(np.asarray(boxes, np.float32).reshape(-1, 4))
    counts = np.array([len(boxes) for boxes in found], np.int64)
    with disk.whole_file(_part(parts, start)) as half, open(half, "wb") as file:
        np.savez_compressed(file, counts=counts, boxes=np.concatenate(found))
    return len(found)


def _run(jobs: list[Job], workers: int) -> Iterator[int]:
    """Yields the number of images of each part that is done."""
    if not workers:
        yield from map(_write_part, jobs)
        return
    with contextlib.ExitStack() as stack:
        pool = concurrent.futures.ProcessPoolExecutor(
            min(workers, max(len(jobs), 1)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),
        )
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting = [pool.submit(_write_part, job) for job in jobs]
        try:
            for each in concurrent.futures.as_completed(waiting):
                yield each.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError(
                "a worker process died, perhaps for want of memory; the same command, with fewer "
                "--workers, goes on"
            ) from error


def _tell(finished: Iterable[int], done: int, total: int) -> None:
    """Goes through what is finished, and tells of it on standard error."""
    terminal = sys.stderr.isatty()
    began, first, due = time.monotonic(), done, 0.0
    for images in finished:
        done += images
        now = time.monotonic()
        if now < due and done < total:
            continue
        due = now + (0.5 if terminal else 15)
        rate = (done - first) / max(now - began, 1e-3)
        left = datetime.timedelta(seconds=round((total - done) / rate))
        line = f"{done} of {total} images, {rate:.1f} images/s, {left} left"
        end = "\r" if terminal and done < total else "\n"
        print(f"{line:<79}" if terminal else line, end=end, file=sys.stderr, flush=True)


def _merge(parts: pathlib.Path, out: pathlib.Path, source: Source, settings: dict[str, Any]) -> int:
    """Writes the file from its parts, and removes them; returns the number of boxes."""
    counts, boxes = [np.zeros(0, np.int64)], [np.zeros((0, 4), np.float32)]
    for start in range(0, len(source), _IMAGES):
        with np.load(_part(parts, start)) as part:
            counts.append(part["counts"])
            boxes.append(part["boxes"])
    with disk.whole_file(out) as half, open(half, "wb") as file:
        np.savez_compressed(
            file,
            counts=np.concatenate(counts),
            boxes=np.concatenate(boxes),
            ids=np.array([str(source.image_id(i)) for i in range(len(source))]),
            settings=np.array(json.dumps(settings)),
        )
    shutil.rmtree(parts)
    return sum(len(b) for b in boxes)
