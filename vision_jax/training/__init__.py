"""Training: state, optimizer, the generic step, devices and processes, checkpoints.

The loop itself is `vision_jax.run`.
"""

from vision_jax.training.checkpoint import Checkpoints, Restored, restore_params
from vision_jax.training.classes import agree
from vision_jax.training.device_cache import DeviceCache
from vision_jax.training.evaluate import Evaluator, scalars
from vision_jax.training.experiment import Expect, Experiment, Init, make_experiment, spread
from vision_jax.training.multiprocess import Interrupt
from vision_jax.training.optimizer import AdamW, Ema, Optimizer, RmsProp, Sgd, Update
from vision_jax.training.parallel import Parallel
from vision_jax.training.parts import Parts, make_parts, metrics_at, prepare
from vision_jax.training.schedule import (
    Constant,
    Cosine,
    Exponential,
    Polynomial,
    ReduceOnPlateau,
    Step,
    WarmUp,
)
from vision_jax.training.stages import Stage
from vision_jax.training.state import PlateauState, TrainState, create
from vision_jax.training.step import Evaluated, make_eval_step, make_train_step

__all__ = [
    "AdamW",
    "Checkpoints",
    "Constant",
    "Cosine",
    "DeviceCache",
    "Ema",
    "Evaluated",
    "Evaluator",
    "Expect",
    "Experiment",
    "Exponential",
    "Init",
    "Interrupt",
    "Optimizer",
    "Parallel",
    "Parts",
    "PlateauState",
    "Polynomial",
    "ReduceOnPlateau",
    "Restored",
    "RmsProp",
    "Sgd",
    "Stage",
    "Step",
    "TrainState",
    "Update",
    "WarmUp",
    "agree",
    "create",
    "make_eval_step",
    "make_experiment",
    "make_parts",
    "make_train_step",
    "metrics_at",
    "prepare",
    "restore_params",
    "scalars",
    "spread",
]
