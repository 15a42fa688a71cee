"""A captioner on given features (Vinyals 2015): training by teacher forcing, and beam search.

Weights are drawn from a seed on both sides. That of the end's token is such that no caption ends,
so that both sides search all steps.
"""

import pathlib
from typing import Any

import numpy as np

from benchmarks.work import Work, ours

START, END = 1, 2
RATE = 0.1


def arrays(words: int, width: int) -> dict[str, np.ndarray]:
    """Returns weights in torch's layout: `embedding`, `x`, `h`, `bias`, `linear`, `last`."""
    rng = np.random.default_rng(0)
    scale = width**-0.5
    last = rng.normal(0, 0.1, words)
    last[END] = -30.0
    drawn = {
        "embedding": rng.normal(0, 1, (words, width)),
        "x": rng.normal(0, scale, (4 * width, width)),
        "h": rng.normal(0, scale, (4 * width, width)),
        "bias": rng.normal(0, 0.1, 4 * width),
        "linear": rng.normal(0, 4 * scale, (words, width)),
        "last": last,
    }
    return {name: value.astype(np.float32) for name, value in drawn.items()}


def inputs(images: int, length: int, words: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns features (b, width), and captions (b, length) of all lengths from 8 on, padded."""
    rng = np.random.default_rng(1)
    features = rng.normal(0, 1, (images, width)).astype(np.float32)
    tokens = rng.integers(4, words, (images, length)).astype(np.int32)
    tokens[:, 0] = START
    for row, end in enumerate(rng.integers(8, length, images)):
        tokens[row, end:] = [END, *[0] * (length - end - 1)]
    return features, tokens


def _made(images: int, length: int, words: int, width: int, beams: int) -> tuple[Any, Any, Any]:
    """Makes the task, variables and the batch."""
    from flax import linen as nn

    from vision_jax import models, tasks
    from vision_jax.structs import Batch, Targets

    class Given(nn.Module):
        """A backbone whose features are the pictures themselves."""

        def __call__(self, images: Any, *, train: bool = False, keys: Any = None) -> dict:
            return {"map": images}

    model = models.ShowAndTell(Given(), words, embed=width, hidden=width, dropout=0.0)
    plain = {"mean": (0.0,) * width, "std": (1 / 255,) * width}
    task = tasks.Captioning(model, beams=beams, length=length, **plain)
    drawn = arrays(words, width)
    params = {
        "project": {"kernel": np.eye(width, dtype=np.float32), "bias": np.zeros(width, np.float32)},
        "words": {"embedding": drawn["embedding"]},
        "decoder": {"kernel_x": drawn["x"].T, "kernel_h": drawn["h"].T, "bias": drawn["bias"]},
        "linear": {"kernel": drawn["linear"].T, "bias": drawn["last"]},
    }
    features, tokens = inputs(images, length, words, width)
    batch = Batch(
        image=features[:, None, None],
        valid=np.ones(images, bool),
        index=np.arange(images, dtype=np.int32),
        targets=Targets(tokens=tokens),
    )
    return task, {"params": params}, batch


def train(
    shared: pathlib.Path, images: int, length: int, words: int, width: int, beams: int, steps: int
) -> Work:
    task, variables, batch = _made(images, length, words, width, beams)
    trainable = ("(?!project/).*",)  # the features come as they are
    return ours.training(task, variables, batch, steps, RATE, trainable)


def infer(
    shared: pathlib.Path, images: int, length: int, words: int, width: int, beams: int, steps: int
) -> Work:
    task, variables, batch = _made(images, length, words, width, beams)

    def run(variables: Any, batch: Any) -> dict[str, Any]:
        found = task.search(variables, batch)
        return {"scores": found.scores}

    return ours.inference(run, variables, batch, steps)
