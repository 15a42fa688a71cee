"""Several seeds of one experiment: all in one program (`--config.seeds=N`), or one after the other.

A round is `steps` training steps of every seed, data included. Runs in sequence share one compiled
step here, so compiling, which sequence does once per process and one program once, is left out.
"""

import contextlib
import dataclasses
import pathlib
import time

from benchmarks.work import Work
from benchmarks.work.cifar_batches import MEAN, STD, Arrays


def together(shared: pathlib.Path, net: str, seeds: int, batch_size: int, steps: int) -> Work:
    return _work(_experiment(net, batch_size, seeds), 1, seeds, steps)


def in_sequence(shared: pathlib.Path, net: str, seeds: int, batch_size: int, steps: int) -> Work:
    return _work(_experiment(net, batch_size, 1), seeds, seeds, steps)


def _work(experiment, passes: int, seeds: int, steps: int) -> Work:
    import jax

    from vision_jax.training import Parallel, make_parts

    parallel = Parallel(experiment.parallel)
    parts = make_parts(experiment, parallel)
    state = parallel.put_state(parts.start[0])

    def train(count: int) -> None:
        nonlocal state
        with contextlib.closing(experiment.train.batches(0, 0)) as batches:
            for _ in range(count):
                state, metrics = parts.step(state, parallel.put_batch(next(batches)), parts.seed)
            jax.block_until_ready((state, metrics))

    began = time.perf_counter()
    train(1)
    facts = {"compile_seconds": time.perf_counter() - began}

    def run() -> None:
        for _ in range(passes):
            train(steps)

    return Work(run, seeds * steps, facts=facts)


def _experiment(net: str, batch_size: int, seeds: int):
    from vision_jax import data, models, tasks
    from vision_jax.models.classifiers.lenet import LeNetBackbone, LeNetHead
    from vision_jax.training import Experiment, Optimizer, Sgd, schedule

    networks = {
        "lenet": lambda: models.Classifier(
            LeNetBackbone(act="relu", pool="max"), LeNetHead(10, act="relu")
        ),
        "resnet8": lambda: models.CifarResNet(8),
    }
    experiment = Experiment(
        task=tasks.Classification(networks[net](), MEAN, STD),
        train=data.Train(Arrays(), (), batch_size),
        optimizer=Optimizer(Sgd(), schedule.Constant(0.01)),
        steps=1,
    )
    return dataclasses.replace(experiment, seeds=seeds)
