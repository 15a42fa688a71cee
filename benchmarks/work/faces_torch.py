"""The work of `faces` by facenet-pytorch."""

import pathlib

import numpy as np
import torch

from benchmarks.work import Work, theirs
from benchmarks.work.faces import MIN_SIZE, SLOTS, crops, photograph


def detect(shared: pathlib.Path, steps: int, side: int = 0) -> Work:
    from facenet_pytorch import MTCNN

    theirs.prepare()
    model, image = MTCNN(keep_all=True, min_face_size=MIN_SIZE), photograph(side)

    def outputs(found: tuple) -> dict[str, np.ndarray]:
        boxes, scores, points = (np.asarray(part, np.float32) for part in found)
        rows = np.concatenate([boxes, scores[:, None]], 1)
        return {"boxes": _padded(rows), "points": _padded(points)}

    return theirs.inference(lambda: model.detect(image, landmarks=True), 1, steps, outputs)


def embed(shared: pathlib.Path, batch_size: int, steps: int) -> Work:
    from facenet_pytorch import InceptionResnetV1

    theirs.prepare()
    model = InceptionResnetV1()
    theirs.draw(model)
    image = torch.from_numpy(crops(batch_size)).permute(0, 3, 1, 2)
    image = image.contiguous(memory_format=torch.channels_last)
    model = model.to(memory_format=torch.channels_last)

    def run() -> torch.Tensor:
        return model((image - 127.5) / 128)

    theirs.measure_statistics(model, run)
    model.eval()
    state = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    theirs.hand_over(state, shared)
    return theirs.inference(run, batch_size, steps, lambda x: {"embedding": x.numpy()})


def _padded(rows: np.ndarray) -> np.ndarray:
    """Pads faces to as many as are compared, as a batch of one image."""
    return np.pad(rows, [(0, SLOTS - len(rows)), *[(0, 0)] * (rows.ndim - 1)])[None]
