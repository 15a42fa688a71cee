"""JPEG files → shuffled batches of random-resized 224 crops, uint8, as for ImageNet training.

The files are 500×375 with spectra like photographs' (about 80 kB each). Both sides read the same
ones, resize bilinearly with or without antialiasing alike, and normalise later, on the device.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from benchmarks.work import Work
from benchmarks.work.streams import time_batches

BATCH = 64
SIZE = 224


def ours(shared: pathlib.Path, files: int, images: int, antialias: bool) -> Work:
    from vision_jax import data

    source = Files(tuple(write_jpegs(shared, files)))
    train = data.Train(source, (data.RandomResizedCrop(SIZE, antialias=antialias),), BATCH)
    return _work(lambda: train.batches(0, data_seed=0), images, lambda batch: batch.image)


def tf_data(shared: pathlib.Path, files: int, images: int, antialias: bool) -> Work:
    import tensorflow as tf

    def crop(path, label):
        content = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(content),
            tf.zeros((1, 0, 4)),
            area_range=(0.08, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(content, window, channels=3)
        image = tf.image.resize(image, (SIZE, SIZE), antialias=antialias)
        return tf.cast(tf.round(image), tf.uint8), label

    paths = write_jpegs(shared, files)
    dataset = tf.data.Dataset.from_tensor_slices((paths, np.zeros(len(paths), np.int32)))
    dataset = dataset.shuffle(len(paths)).repeat()
    dataset = dataset.map(crop, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    return _work(dataset.as_numpy_iterator, images, lambda batch: batch[0])


@dataclasses.dataclass(frozen=True)
class Files:
    """A source of JPEG files, all of one class."""

    paths: tuple[str, ...]
    classes: tuple[str, ...] = ("photograph",)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict:
        return {"image": pathlib.Path(self.paths[i]).read_bytes(), "label": 0}

    def describe(self, i: int) -> str:
        return self.paths[i]

    def arrays(self) -> None:
        return None


def write_jpegs(folder: pathlib.Path, count: int) -> list[str]:
    """Paths of the files, the same bytes for the same count; those that exist are kept."""
    from PIL import Image

    paths = [folder / f"{i}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        if not path.exists():
            Image.fromarray(_photograph(np.random.default_rng(i))).save(path, quality=90)
    return [str(path) for path in paths]


def _photograph(rng: np.random.Generator, height: int = 375, width: int = 500) -> np.ndarray:
    """Noise whose amplitude falls as 1/frequency, as in natural images; mostly gray."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    falloff = 1 / np.maximum(np.hypot(y, x), 1 / width)
    planes = [
        np.fft.irfft2(falloff * np.exp(2j * np.pi * rng.random(falloff.shape)), (height, width))
        for _ in range(4)
    ]
    planes = [plane / plane.std() for plane in planes]
    image = np.stack([planes[0] + 0.3 * plane for plane in planes[1:]], axis=-1)
    return np.clip(128 + 50 * image, 0, 255).astype(np.uint8)


def _work(start: Callable, images: int, image_of: Callable) -> Work:
    count = -(-images // BATCH)

    def check(batch) -> None:
        image = image_of(batch)
        assert image.shape == (BATCH, SIZE, SIZE, 3) and image.dtype == np.uint8

    def run() -> dict[str, float]:
        # A fresh iterator per round: none works ahead while it is the peer's turn.
        batches = start()
        spent = time_batches(batches, count, check)
        if hasattr(batches, "close"):
            batches.close()
        return spent

    return Work(run, count * BATCH)
