"""An epoch of a small set of 32×32 images that is held in memory: ResNet-20 in bfloat16.

Every step pads, crops, flips and normalises its images itself, on the device. Images are random,
in another order each epoch.
"""

import collections
import pathlib
import time

import numpy as np

from benchmarks.work import Work, on_gpu
from benchmarks.work.cifar_batches import MEAN, STD, Arrays
from benchmarks.work.inputs import RATE

_AHEAD = 2  # programs, as in a run


def ours(
    shared: pathlib.Path,
    images: int,
    batch_size: int,
    device: str,
    cached: bool = True,
    dispatch: int = 1,
) -> Work:
    """The full training step, `images // batch_size` times or, of programs, as often as fits in.

    Args:
      shared: not used.
      images: in the set.
      batch_size: of a step.
      device: 'cuda' or 'cpu'; see `entries.Entry`.
      cached: batches are gathered on the device, where all images lie, or else come from the host.
      dispatch: steps per program, no more than fit into an epoch.
    """
    on_gpu.start(device)
    import jax

    from vision_jax import data, models, tasks
    from vision_jax import training as hall
    from vision_jax.tasks import augment

    train = data.Train(Arrays(images), (), batch_size, device_cache=cached)
    model = models.CifarResNet(20, layers=models.Layers(dtype=on_gpu.DTYPE))
    task = tasks.Classification(model, MEAN, STD, (augment.PadCrop(), augment.Flip()))
    element = train.element()
    variables = task.init(jax.random.key(0), element)
    parallel, step, state, facts = on_gpu.prepare(task, element, variables, RATE)
    seed, dispatch = np.uint32(0), min(dispatch, images // batch_size)
    several = dispatch > 1
    run = parallel.compile(step, several)
    cache = hall.DeviceCache(train, parallel) if cached else None
    batches = train.batches(0, data_seed=0, pixels=cache is None)

    def advance():
        nonlocal state
        given = [next(batches) for _ in range(dispatch)]
        given = parallel.put_batches(given) if several else parallel.put_batch(given[0])
        if cache is not None:
            given = cache.fill(given, several)
        state, metrics = run(state, given, seed)
        return metrics

    programs = images // batch_size // dispatch

    def epoch() -> None:
        in_flight: collections.deque = collections.deque()
        for _ in range(programs):
            in_flight.append(advance())
            if len(in_flight) > _AHEAD:
                jax.block_until_ready(in_flight.popleft())
        jax.block_until_ready(state)

    began = time.perf_counter()
    jax.block_until_ready(advance())
    facts["compile_seconds"] = time.perf_counter() - began
    return Work(epoch, programs * dispatch * batch_size, facts=facts, ending=on_gpu.peak)
