"""50,000 images of 32×32 in memory → shuffled, padded, cropped, flipped, normalised batches."""

import dataclasses
import itertools
import pathlib
import time
from typing import ClassVar

import numpy as np

from benchmarks.work import Work
from benchmarks.work.streams import time_batches

BATCH = 256
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def ours(shared: pathlib.Path, batches: int) -> Work:
    """Gathered on the host, augmented on the device."""
    import jax
    import jax.numpy as jnp

    from vision_jax import data
    from vision_jax.ops import image as image_ops
    from vision_jax.tasks import augment

    @jax.jit
    def prepare(batch, step):
        key = jax.random.fold_in(jax.random.key(0), step)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)
        steps = (augment.PadCrop(), augment.Flip())
        image = augment.apply_all(steps, batch.image.astype(jnp.float32), keys)
        return image_ops.normalize(image, MEAN, STD)

    stream = enumerate(data.Train(Arrays(), (), BATCH).batches(0, data_seed=0))
    began = time.perf_counter()
    step, batch = next(stream)
    jax.block_until_ready(prepare(batch, step))
    facts = {"compile_seconds": time.perf_counter() - began}

    def run() -> None:
        before = None
        for step, batch in itertools.islice(stream, batches):
            now = prepare(batch, step)
            # One batch ahead, as in training.
            if before is not None:
                before.block_until_ready()
            before = now
        before.block_until_ready()

    return Work(run, batches * BATCH, facts=facts)


def tf_data(shared: pathlib.Path, batches: int) -> Work:
    """The usual pipeline: every image by itself."""
    import tensorflow as tf

    def augment(image, label):
        image = tf.image.resize_with_crop_or_pad(image, 40, 40)
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (32, 32, 3)))
        return (tf.cast(image, tf.float32) / 255 - MEAN) / STD, label

    arrays = Arrays().arrays()
    dataset = tf.data.Dataset.from_tensor_slices((arrays["image"], arrays["label"]))
    dataset = dataset.shuffle(50_000).repeat().map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(BATCH).prefetch(tf.data.AUTOTUNE)

    def run() -> dict[str, float]:
        # A fresh iterator per round: none works ahead while it is the peer's turn.
        return time_batches(dataset.as_numpy_iterator(), batches, lambda batch: None)

    return Work(run, batches * BATCH)


@dataclasses.dataclass(frozen=True)
class Arrays:
    """A source of random pixels in CIFAR's shape, so many images."""

    count: int = 50_000
    classes: ClassVar[tuple[str, ...]] = tuple(map(str, range(10)))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict:
        raise NotImplementedError("this source is read as a whole")

    def describe(self, i: int) -> str:
        return f"image {i}"

    def arrays(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {
            "image": rng.integers(0, 256, (self.count, 32, 32, 3), np.uint8),
            "label": rng.integers(0, 10, self.count).astype(np.int32),
        }
