"""Evaluation of one set of variables over the whole evaluation set, on all devices."""

import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np

from vision_jax.structs import Batch
from vision_jax.training import multiprocess
from vision_jax.training.parallel import Parallel
from vision_jax.training.step import make_eval_step

Tree = Any
Watcher = Callable[[dict[str, np.ndarray], Batch], None]


class Evaluator:
    """Compiled once per run; call it with variables that lie on the devices."""

    def __init__(self, task: Any, pipeline: Any, metrics: dict[str, Any], parallel: Parallel):
        """
        Args:
          task: its `predict` is measured; the outputs named in its `shown` reach the watcher.
          pipeline: `data.Eval`; its batch size must be divisible by the number of devices.
          metrics: by name; each metric's results bear names of their own.
          parallel: over which devices.
        """
        parallel.check(pipeline.batch_size)
        self._pipeline, self._parallel = pipeline, parallel
        self._metrics = tuple(metrics.values())
        step = make_eval_step(task, (*self._metrics, _Shown(task.shown)), parallel.axis)
        self._step = parallel.compile_eval(step)

    def __call__(
        self,
        variables: Tree,
        stop: Callable[[], bool] = lambda: False,
        watch: Watcher | None = None,
    ) -> dict[str, Any] | None:
        """All metrics' results by name (floats and arrays); None if `stop()` became true.

        `skipped` counts records that could not be read and so are in no metric; absent if none.

        Args:
          variables: as `Parallel.put_state` lays them out.
          stop: asked before each batch.
          watch: gets this process's share of the shown outputs, and its batch, in order.
        """
        states = [metric.empty() for metric in self._metrics]
        first, count = jax.process_index(), jax.process_count()
        with contextlib.closing(self._pipeline.batches(first, count)) as batches:
            for batch in batches:
                if stop():
                    return None
                found = self._step(variables, self._parallel.put_batch(batch))
                found = jax.device_get(found)
                for number, metric in enumerate(self._metrics):
                    if metric.gathers:
                        states[number] = metric.collect(states[number], found.outputs, found.batch)
                    else:
                        states[number] = jax.tree.map(
                            _add, states[number], found.increments[number]
                        )
                if watch is not None:
                    mine = slice(first * batch.count, (first + 1) * batch.count)
                    watch(jax.tree.map(lambda x, mine=mine: x[mine], found.outputs), batch)
            skipped = multiprocess.total(batches.skipped)
        results: dict[str, Any] = {"skipped": float(skipped)} if skipped else {}
        for metric, state in zip(self._metrics, states, strict=True):
            results |= metric.result(state)
        return results


class _Shown:
    """Not a metric: asks the step to hand over the outputs that pictures are made from."""

    gathers: ClassVar[bool] = True

    def __init__(self, outputs: tuple[str, ...]):
        self.outputs = outputs


def _add(total: np.ndarray, increment: np.ndarray) -> np.ndarray:
    # float64 and int64 on the host: a float32 count stops growing at 2^24.
    return total + np.asarray(increment).astype(np.asarray(total).dtype)
