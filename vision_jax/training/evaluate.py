"""Evaluation of one set of variables over the whole evaluation set, on all devices."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from vision_jax.config import UserError
from vision_jax.structs import Batch
from vision_jax.tasks import Predictor
from vision_jax.training import multiprocess
from vision_jax.training.parallel import Parallel
from vision_jax.training.programs import Program
from vision_jax.training.step import Evaluated, make_eval_step

Tree = Any
Watcher = Callable[[dict[str, np.ndarray], Batch], None]


def never() -> bool:
    """Answers that an evaluation need not stop."""
    return False


class Evaluate(Protocol):
    """An evaluation of variables that lie on the devices; `Evaluator` is one."""

    def __call__(
        self, variables: Tree, stop: Callable[[], bool] = never, watch: Watcher | None = None
    ) -> dict[str, Any] | None:
        """Returns all metrics' results by name (floats and arrays); None if `stop()` became true.

        Args:
          variables: as `Parallel.put_state` lays them out.
          stop: asked before each batch.
          watch: gets this process's share of the shown outputs, and its batch, in order.
        """


class Evaluator:
    """An evaluation over a whole set, compiled once; call it as an `Evaluate`.

    `skipped` in its results counts records that could not be read and so are in no metric, `cut`
    objects beyond `max_boxes`, which are missing in the truth; they are absent if there are none.
    """

    def __init__(
        self,
        task: Predictor,
        pipeline: Any,
        metrics: dict[str, Any],
        parallel: Parallel,
    ):
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
        step = make_eval_step(task, self._metrics, parallel.axis, task.shown)
        self._step = parallel.compile_eval(step)
        self._program: Program | None = None

    def trace(self, variables: Tree) -> Program:
        """Traces the program for variables of these shapes, so that it can be compiled ahead."""
        element = self._pipeline.element()
        traced = self._parallel.trace(self._step, variables, element)
        self._program = Program("the evaluation", traced)
        return self._program

    def __call__(
        self, variables: Tree, stop: Callable[[], bool] = never, watch: Watcher | None = None
    ) -> dict[str, Any] | None:
        """Measures variables; see `Evaluate`."""
        if self._program is not None and not self._program.wait(stop):
            return None
        states = [metric.empty() for metric in self._metrics]
        first, count = jax.process_index(), jax.process_count()
        with contextlib.closing(self._pipeline.batches(first, count)) as batches:
            for batch in batches:
                if stop():
                    return None
                evaluated = self._step(variables, self._parallel.put_batch(batch))
                step: Evaluated = jax.device_get(evaluated)
                for i, metric in enumerate(self._metrics):
                    if metric.gathers:
                        states[i] = metric.collect(states[i], step.outputs, step.batch)
                    else:
                        states[i] = jax.tree.map(_add, states[i], step.increments[i])
                if watch is not None:
                    rows = slice(first * batch.count, (first + 1) * batch.count)
                    watch(jax.tree.map(lambda x, rows=rows: x[rows], step.outputs), batch)
            left_out = {"skipped": batches.skipped, "cut": batches.cut}
            totals = {name: multiprocess.total(count) for name, count in left_out.items()}
        results: dict[str, Any] = {name: float(count) for name, count in totals.items() if count}
        for metric, state in zip(self._metrics, states, strict=True):
            new = metric.result(state)
            twice = [name for name in new if name in results and np.ndim(new[name]) == 0]
            if twice:
                raise UserError(
                    f"two metrics report {twice[0]!r}: wrap one of them as "
                    "node(evaluation.Prefixed, metric=…, prefix=…)"
                )
            results |= new
        return results


def scalars(results: Mapping[str, Any]) -> dict[str, float]:
    """Returns the results that are numbers, under the names that rows give them: `eval/top1`."""
    return {f"eval/{name}": float(v) for name, v in results.items() if np.ndim(v) == 0}


def _add(total: np.ndarray, increment: np.ndarray) -> np.ndarray:
    # float64 and int64 on the host: a float32 count stops growing at 2^24.
    return total + np.asarray(increment).astype(np.asarray(total).dtype)
