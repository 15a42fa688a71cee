"""One experiment: everything that a run depends on, and nothing else."""

import copy
import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vision_jax.config import (
    SettingError,
    UserError,
    build,
    one_of,
    override_everywhere,
    suggest,
    within,
)
from vision_jax.models.layers import norms
from vision_jax.tasks import Solver, Task
from vision_jax.training.optimizer import Ema, Optimizer
from vision_jax.training.schedule import ReduceOnPlateau


@dataclasses.dataclass(frozen=True)
class Init:
    """The source of the first variables.

    Attributes:
      weights: None for a fresh initialisation; a foreign file (`.safetensors`, ...) in a
        reference's names; a name of the zoo, such as 'torchvision/resnet50-0676ba61', or
        `hf:OWNER/REPO[@REVISION][/FILE]`, which are fetched; a run folder, whose best checkpoint is
        taken; or `stage:NAME`.
      reinitialize: pattern of whole paths, such as 'pyramid/.*', of what stays freshly initialised.
        Heads for another number of classes do so by themselves, and what a file of a backbone
        cannot have; anything else that does not fit must be named here.
      adapt_input: adapt the first convolution to images of another number of channels: summed for
        one, else repeated and scaled (timm's `adapt_input_conv`).
    """

    weights: str | None = None
    reinitialize: str | None = None
    adapt_input: bool = False

    def __post_init__(self):
        try:
            re.compile(self.reinitialize or "")
        except re.error as error:
            problem = f"={self.reinitialize!r} is no regular expression: {error}"
            raise SettingError("reinitialize", problem) from error


@dataclasses.dataclass(frozen=True)
class Expect:
    """The number that an experiment should reach, and its published source."""

    metric: str = ""
    value: float = 0.0
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A run: its parts, and how long they work together.

    Attributes:
      task: what is trained (`tasks`), with its model.
      train, eval: the input pipelines (`data`); `eval` None trains without evaluation.
      metrics: what is measured on `eval`, by name (`evaluation`).
      optimizer: update rule and schedule; None only with a `solver`.
      steps, epochs: length; exactly one is set. An epoch is the training set once.
      seed: initialisation, dropout, device augmentation.
      data_seed: order and host augmentation.
      seeds: so many runs at once in one program, with seeds seed, seed + 1, … (`vmapped`).
      vary, values: runs at once with these values of one float of the config instead, named as in
        flags: vary='optimizer.schedule.value', values=(0.1, 0.3).
      accumulate: micro-batches per step and device.
      ema: averaged variables, which are then the ones evaluated; None is off.
      parallel: 'shard_map', 'pmap' or 'jit', how a step is spread over devices; or 'single', one
        device alone.
      steps_per_dispatch: so many updates in one program, for networks so small that an accelerator
        would wait for the host between them (a CPU is seldom faster, and can be slower); 1 is off.
        Checkpoints and signals wait until it ends. What does not fill a program before an
        evaluation or the last step is done step by step, so a divisor of `eval_every` is best. A
        `solver`, which makes no updates, ignores it.
      log_every: steps between rows of metrics.jsonl.
      eval_every: steps between evaluations; 0 means once per epoch. The last step is evaluated.
      checkpoint_every: steps between checkpoints; 0 means at every evaluation.
      keep: newest checkpoints kept, beside the best one.
      best, best_mode: the metric that decides which is best, 'max' or 'min'; '' for none.
      init: where the first variables come from.
      stages: runs in sequence instead of one (`Stage`).
      solver: a `tasks.Solver` in place of gradient steps, such as `tasks.RidgeHead`; it passes over
        the training set once, which counts as one step, and needs no optimizer, `steps` or
        `epochs`.
      baselines: cheap peers measured on the same data, by name, e.g. a linear model on pixels.
      dtype: in which all layers of the network compute, such as 'bfloat16', whatever their own
        `layers.dtype`; parameters stay float32. None leaves each part its own.
      deterministic: for GPUs, whose sums otherwise run in any order (the CPU and TPU repeat
        themselves): every part that has a scatter-free form of its own takes that (`deterministic`
        of `RegionPool`), and `launch.py` has XLA choose repeatable kernels.
      debug_nans: stop at the operation that makes the first NaN; slow.
      expect: the published number, or None for a demo.
    """

    task: Task
    train: Any
    eval: Any = None
    metrics: dict = dataclasses.field(default_factory=dict)
    optimizer: Optimizer | None = None
    steps: int = 0
    epochs: float = 0.0
    seed: int = 0
    data_seed: int = 0
    seeds: int = 1
    vary: str = ""
    values: tuple = ()
    accumulate: int = 1
    ema: Ema | None = None
    parallel: str = "shard_map"
    steps_per_dispatch: int = 1
    log_every: int = 50
    eval_every: int = 0
    checkpoint_every: int = 0
    keep: int = 2
    best: str = "eval/top1"
    best_mode: str = "max"
    init: Init = dataclasses.field(default_factory=Init)
    stages: tuple = ()
    solver: Solver | None = None
    baselines: dict = dataclasses.field(default_factory=dict)
    dtype: str | None = None
    deterministic: bool = False
    debug_nans: bool = False
    expect: Expect | None = None

    def __post_init__(self):
        within(self, "[0, inf)", "steps", "epochs", "eval_every", "checkpoint_every", "data_seed")
        within(self, "[1, inf)", "seeds", "accumulate", "steps_per_dispatch", "log_every", "keep")
        within(self, "[0, 4294967296)", "seed")
        within(self, "(-inf, inf)", "values")
        one_of(self, best_mode=("max", "min"))
        if bool(self.steps) == bool(self.epochs) and self.solver is None:
            raise UserError(
                f"steps={self.steps} and epochs={self.epochs}: set exactly one of them above 0"
            )
        if self.optimizer is None and self.solver is None:
            raise UserError("optimizer is None: only an experiment with a `solver` needs none")

    @property
    def norms(self) -> set[str]:
        """The kinds of normalisation in the network; see `Layers`."""
        return norms(self.task.model)

    @property
    def plateau(self) -> ReduceOnPlateau | None:
        """The rule that lowers the learning rate by a metric; None if there is none."""
        return self.optimizer.plateau if self.optimizer is not None else None

    @property
    def followed(self) -> dict[str, str]:
        """The metrics that a run goes by, by the setting that names each."""
        named = {"best": self.best}
        if self.plateau is not None:
            named["optimizer.plateau.metric"] = self.plateau.metric
        return {setting: metric for setting, metric in named.items() if metric}

    def unmeasured(self, metrics: Mapping[str, float]) -> list[str]:
        """Tells which metrics, among those that the run goes by, an evaluation did not measure."""
        return [
            f"{setting}={metric!r} was not measured{suggest(metric, metrics)}"
            for setting, metric in self.followed.items()
            if metric not in metrics
        ]

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps that see about the whole training set once, at least 1."""
        return max(1, round(self.train.num_examples / self.train.batch_size))

    @property
    def total_steps(self) -> int:
        """The number of updates from beginning to end; a `solver` makes one."""
        if self.solver is not None:
            return 1
        return self.steps or math.ceil(
            self.epochs * self.train.num_examples / self.train.batch_size
        )

    @property
    def eval_interval(self) -> int:
        """The number of steps between evaluations, or from one to the next if there were some."""
        return self.eval_every or self.steps_per_epoch

    def dispatched(self, step: int) -> int:
        """Counts the updates of the program that begins at a step: `steps_per_dispatch`, or 1.

        They depend on nothing that may change on resume, so a continued run makes the same
        programs.
        """
        count, done = self.steps_per_dispatch, step % self.eval_interval
        left = min(self.eval_interval - done, self.total_steps - step)
        return count if done % count == 0 and count <= left else 1

    def is_eval_step(self, step: int) -> bool:
        """Returns whether the state after so many updates is evaluated."""
        if self.eval is None or not step:
            return False
        return step >= self.total_steps or step % self.eval_interval == 0

    def is_checkpoint_step(self, step: int) -> bool:
        """Returns whether the state is saved at a step at which a program ended.

        Checkpoints that fell due within the program are made there.
        """
        if step >= self.total_steps:
            return True
        count = self.steps_per_dispatch
        made = count if step >= count and self.dispatched(step - count) == count else 1
        return step % (self.checkpoint_every or self.eval_interval) < made


def make_experiment(config: ConfigDict) -> Experiment:
    """Builds the experiment that a config describes, with `spread` applied."""
    return build(spread(config))


def spread(config: ConfigDict) -> ConfigDict:
    """Copies a config, and writes its settings for all parts, such as `dtype`, into each part."""
    config = copy.deepcopy(config)
    if config.dtype is not None:
        override_everywhere(config, "dtype", config.dtype)
    if config.deterministic:
        override_everywhere(config, "deterministic", True)
    return config


# Settings that may differ between a run and its continuation: none of them changes a weight. The
# length does, but a run may go on to a larger one (`resume`).
_FREE = re.compile(
    r"parallel|checkpoint_every|keep|log_every|best|best_mode|debug_nans|steps|epochs"
    r"|(expect|baselines)(\..*)?|(train|eval)\.(threads|workers|device_cache|source\.cache_mb)"
)
# Neither does the evaluation, as long as no learning rate follows it.
_OF_EVALUATION = re.compile(r"(eval|metrics)(\..*)?")


def may_change(key: str, config: Mapping[str, Any]) -> bool:
    """Returns whether a setting may differ between a run and its continuation.

    Args:
      key: its path.
      config: the continuation's, in JSON.
    """
    if _FREE.fullmatch(key):
        return True
    if (config.get("optimizer") or {}).get("plateau") is not None:
        return False
    # Programs of several updates end where an evaluation is due.
    is_interval = key == "eval_every" and config.get("steps_per_dispatch", 1) == 1
    return is_interval or _OF_EVALUATION.fullmatch(key) is not None
