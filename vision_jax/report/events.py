"""TensorBoard's event files, written where they are asked for.

tensorboardX's own `SummaryWriter` writes in a thread: it ends silently when the disk is full, and
whoever writes the eleventh event after that waits for ever.
"""

import os
import pathlib
import socket
import time
import weakref

import numpy as np
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import image, scalar

from vision_jax.system import disk

_FLUSH_S = 60.0  # between flushes


class Events:
    """An event file of one attempt, in a folder that is made if it is missing."""

    def __init__(self, folder: pathlib.Path, first_step: int):
        """
        Args:
          folder: of the run's events.
          first_step: TensorBoard drops what earlier attempts wrote from this step on; 0 drops
            nothing.
        """
        self._folder, self._flushed = folder, time.monotonic()
        # The suffix keeps two attempts within one second from writing the same file.
        suffix = f"{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{first_step}"
        with disk.writing(folder):
            folder.mkdir(exist_ok=True)
            self._file = RecordWriter(str(folder / f"events.out.tfevents.{suffix}"))
        self._close = weakref.finalize(self, self._file.close)  # at the program's end at the latest
        self._write(Event(file_version="brain.Event:2"))
        if first_step:
            self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Writes a number."""
        self._add(scalar(name, value), step)

    def add_image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Writes a picture, uint8 (h, w, 3)."""
        self._add(image(name, picture, dataformats="HWC"), step)

    def flush(self) -> None:
        """Returns once all is on the disk."""
        with disk.writing(self._folder):
            self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flushes and closes."""
        with disk.writing(self._folder):
            self._close()

    def _add(self, summary: Summary, step: int) -> None:
        self._write(Event(step=step, summary=summary))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with disk.writing(self._folder):
            self._file.write(event.SerializeToString())
        if time.monotonic() - self._flushed > _FLUSH_S:
            self.flush()
