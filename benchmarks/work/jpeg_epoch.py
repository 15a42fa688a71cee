"""An epoch from JPEG files to updated weights: MobileNet v1 on random-resized, flipped crops.

Ours decodes in threads and normalises on the device; the peer is a DataLoader with a process per
core, PIL and torchvision's transforms.
"""

import os
import pathlib

import numpy as np

from benchmarks.work import Work
from benchmarks.work.input_pipeline import Files, write_jpegs
from benchmarks.work.inputs import DECAY, MEAN, MOMENTUM, RATE, STD


def ours(shared: pathlib.Path, files: int, batch_size: int, size: int) -> Work:
    import contextlib

    import jax

    from benchmarks.work import classify
    from vision_jax import data, tasks
    from vision_jax import training as hall

    source = Files(tuple(write_jpegs(shared, files)))
    transforms = (data.RandomResizedCrop(size), data.RandomFlip())
    train = data.Train(source, transforms, batch_size)
    task = tasks.Classification(classify.make("mobilenet_v1"), MEAN, STD)
    variables = task.init(jax.random.key(0), train.element())
    optimizer = hall.Optimizer(hall.Sgd(MOMENTUM), hall.Constant(RATE), decay=DECAY)
    update = optimizer.build(variables["params"], 1000, 1000)
    parallel = hall.Parallel("shard_map", jax.devices()[:1])
    state = parallel.put_state(hall.create(variables, update))
    step = parallel.compile(hall.make_train_step(task, update, parallel.axis))
    seed, steps = np.uint32(0), files // batch_size

    def run() -> None:
        nonlocal state
        with contextlib.closing(train.batches(0, data_seed=0)) as batches:
            for _ in range(steps):
                state, metrics = step(state, parallel.put_batch(next(batches)), seed)
            jax.block_until_ready((state, metrics))

    return Work(run, steps * batch_size)


def torch(shared: pathlib.Path, files: int, batch_size: int, size: int) -> Work:
    import torch
    from PIL import Image
    from torch.nn import functional
    from torchvision import transforms

    from benchmarks.work import classify_torch, theirs

    theirs.prepare()
    paths = write_jpegs(shared, files)
    prepare = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    class Photographs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> tuple:
            return prepare(Image.open(paths[i]).convert("RGB")), 0

    workers = len(os.sched_getaffinity(0))
    loader = torch.utils.data.DataLoader(
        Photographs(), batch_size, shuffle=True, num_workers=workers, drop_last=True
    )
    model = classify_torch.make("mobilenet_v1").train()
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY)

    def run() -> None:
        for image, label in loader:
            optimizer.zero_grad()
            logits = model(image.to(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, label)
            loss.backward()
            optimizer.step()
            loss.item()

    return Work(run, len(loader) * batch_size)
