"""Training: state, optimizer, the generic step, devices and processes, checkpoints.

The loop itself is `vision_jax.run`.
"""

from vision_jax.training.optimizer import AdamW, Ema, Optimizer, RmsProp, Sgd, Update
from vision_jax.training.parallel import Parallel
from vision_jax.training.schedule import (
    Constant,
    Cosine,
    Exponential,
    Polynomial,
    ReduceOnPlateau,
    Step,
    WarmUp,
)
from vision_jax.training.state import PlateauState, TrainState, create
from vision_jax.training.step import Evaluated, make_eval_step, make_train_step

__all__ = [
    "AdamW",
    "Constant",
    "Cosine",
    "Ema",
    "Evaluated",
    "Exponential",
    "Optimizer",
    "Parallel",
    "PlateauState",
    "Polynomial",
    "ReduceOnPlateau",
    "RmsProp",
    "Sgd",
    "Step",
    "TrainState",
    "Update",
    "WarmUp",
    "create",
    "make_eval_step",
    "make_train_step",
]
