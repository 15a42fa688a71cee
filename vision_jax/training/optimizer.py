"""Update rules, and the parameters that they apply to: decay, clipping, groups, freezing.

Order within one update: clip the gradient's norm, then the rule, which adds decay and applies the
learning rate times each group's multiplier. The learning rate reaches the rule as an argument
(`learning_rate=`), so that the schedule, the plateau's factor and what is logged are one number.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import jax
import optax

from vision_jax.config import SettingError, one_of, within
from vision_jax.training import paths
from vision_jax.training.schedule import Rate, ReduceOnPlateau, Schedule

Tree = Any
Objective: TypeAlias = Callable[[Tree], jax.Array]
Transform: TypeAlias = optax.GradientTransformationExtraArgs


class Rule(Protocol):
    """An update rule, which puts decay and the learning rate where it wants them."""

    def build(self, decay: Transform, rate: Transform) -> Transform:
        """Makes the rule a transform of gradients into updates."""


@dataclasses.dataclass(frozen=True)
class Sgd:
    """A gradient descent with momentum: v = momentum v + g + decay p, p -= rate v (as torch)."""

    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        within(self, "[0, 1)", "momentum")

    def build(self, decay: Transform, rate: Transform) -> Transform:
        """Chains decay, momentum and rate; see `Rule`."""
        momentum = optax.identity()
        if _is_on(self.momentum):
            momentum = optax.trace(self.momentum, self.nesterov)
        return optax.chain(decay, momentum, rate)


@dataclasses.dataclass(frozen=True)
class AdamW:
    """The rule Adam (Kingma & Ba 2015), with bias correction and eps outside the root, as torch."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    decoupled: bool = True  # decay apart from the moments (Loshchilov & Hutter 2019); False: L2

    def __post_init__(self) -> None:
        within(self, "[0, 1)", "b1", "b2")
        within(self, "[0, inf)", "eps")

    def build(self, decay: Transform, rate: Transform) -> Transform:
        """Chains Adam, decay and rate; see `Rule`."""
        adam = optax.scale_by_adam(self.b1, self.b2, self.eps)
        return optax.chain(*((adam, decay) if self.decoupled else (decay, adam)), rate)


@dataclasses.dataclass(frozen=True)
class RmsProp:
    """The rule RMSProp in TensorFlow's form, which trained the Inception models, or torch's.

    'tf': mean square starts at 1, g / sqrt(ms + eps), and the rate is inside the momentum.
    'torch': mean square starts at 0, g / (sqrt(ms) + eps), and the rate is outside.
    """

    smoothing: float = 0.9  # of the mean square
    momentum: float = 0.9
    eps: float = 1.0  # Inception-v3's; torch's default is 1e-8
    form: str = "tf"

    def __post_init__(self) -> None:
        one_of(self, form=("tf", "torch"))
        within(self, "[0, 1)", "smoothing", "momentum")
        within(self, "[0, inf)", "eps")

    def build(self, decay: Transform, rate: Transform) -> Transform:
        """Chains decay, the root mean square, rate and momentum; see `Rule`."""
        tf = self.form == "tf"
        scale = optax.scale_by_rms(
            self.smoothing, self.eps, initial_scale=1.0 if tf else 0.0, eps_in_sqrt=tf
        )
        momentum = optax.trace(self.momentum) if _is_on(self.momentum) else optax.identity()
        return optax.chain(decay, scale, *((rate, momentum) if tf else (momentum, rate)))


@dataclasses.dataclass(frozen=True)
class Ema:
    """An average of the variables: average = d average + (1 - d) variables, after each step."""

    decay: float = 0.9999
    warm_up: bool = True  # d = min(decay, (1 + step) / (10 + step)), as TensorFlow has it

    def __post_init__(self) -> None:
        within(self, "[0, 1)", "decay")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """The settings of an update. Patterns are regular expressions over whole paths ('head/.*').

    Attributes:
      rule: `Sgd`, `AdamW`, `RmsProp` or `lbfgs.Lbfgs`.
      schedule: the learning rate over time.
      plateau: a further factor that falls when a metric stops improving.
      decay: weight decay; the rule says where it enters (L2 in the gradient, or apart).
      decay_vectors: whether arrays of at most one axis (biases, scales of norms) decay too, as
        in the older papers.
      skip_decay: patterns of what does not decay.
      clip: largest global norm of the gradient; None: no limit.
      groups: (pattern, multiplier of the learning rate) pairs; the first that matches holds.
      trainable: patterns of what is trained; the rest gets no gradient and no optimizer state.
    """

    rule: Rule
    schedule: Schedule
    plateau: ReduceOnPlateau | None = None
    decay: float = 0.0
    decay_vectors: bool = True
    skip_decay: tuple[str, ...] = ()
    clip: float | None = None
    groups: tuple[tuple[str, float], ...] = ()
    trainable: tuple[str, ...] = (".*",)

    def __post_init__(self) -> None:
        within(self, "[0, inf)", "decay")
        within(self, "(0, inf)", "clip")
        for pair in self.groups:
            if len(pair) != 2 or not 0 <= pair[1] < math.inf:
                raise SettingError(
                    "groups", f"={self.groups!r} must be (pattern, multiplier from 0 on) pairs"
                )

    def build(self, params: Tree, total_steps: int, steps_per_epoch: float) -> "Update":
        """Makes the update for parameters of this structure (arrays or shapes).

        Raises:
          UserError: a pattern that matches no parameter.
        """
        flat = paths.flatten(params)
        paths.check_patterns("optimizer.trainable", self.trainable, flat)
        paths.check_patterns("optimizer.skip_decay", self.skip_decay, flat)
        paths.check_patterns("optimizer.groups", [pattern for pattern, _ in self.groups], flat)
        trainable = frozenset(path for path in flat if paths.matches(self.trainable, path))
        trained = {path: flat[path] for path in flat if path in trainable}
        multipliers = paths.nest({path: self._multiplier(path) for path in trained})
        decay = optax.add_decayed_weights(self.decay, self._decays(trained))
        rule = self.rule.build(
            decay if _is_on(self.decay) else optax.identity(), _by_rate(multipliers)
        )
        clip = optax.identity() if self.clip is None else optax.clip_by_global_norm(self.clip)
        rate = self.schedule.build(total_steps, steps_per_epoch)
        return Update(optax.chain(clip, rule), rate, trainable)

    def _multiplier(self, path: str) -> float:
        return next((m for pattern, m in self.groups if paths.matches([pattern], path)), 1.0)

    def _decays(self, trained: dict[str, Any]) -> Tree:
        return paths.nest(
            {
                path: not paths.matches(self.skip_decay, path)
                and (self.decay_vectors or leaf.ndim > 1)
                for path, leaf in trained.items()
            }
        )


@dataclasses.dataclass(frozen=True)
class Update:
    """An optimizer that knows its parameters and its run.

    Attributes:
      transform: optax's, over the trainable parameters alone; takes `learning_rate=`.
      rate: number of updates made -> learning rate, before the plateau's factor.
      trainable: paths of the parameters that are trained.
    """

    transform: Transform
    rate: Rate
    trainable: frozenset[str]

    def init(self, params: Tree) -> Tree:
        """Makes the optimizer's state for all parameters; it holds the trainable ones only."""
        return self.transform.init(self.split(params)[0])

    def split(self, params: Tree) -> tuple[Tree, Tree]:
        """Splits parameters into nested dicts of the trainable and of the frozen ones."""
        flat = paths.flatten(params)
        trainable = {path: leaf for path, leaf in flat.items() if path in self.trainable}
        frozen = {path: leaf for path, leaf in flat.items() if path not in self.trainable}
        return paths.nest(trainable), paths.nest(frozen)

    def merge(self, trainable: Tree, frozen: Tree) -> Tree:
        """Puts together what `split` has split."""
        return paths.nest({**paths.flatten(trainable), **paths.flatten(frozen)})

    def apply(
        self,
        gradients: Tree,
        opt_state: Tree,
        trainable: Tree,
        learning_rate: jax.Array,
        objective: Objective | None = None,
    ) -> tuple[Tree, Tree]:
        """Returns (new trainable parameters, new optimizer state).

        Args:
          gradients: of the trainable parameters.
          opt_state: from `init`, or from the step before.
          trainable: the parameters.
          learning_rate: of this step.
          objective: the loss as a function of the trainable parameters, for rules that search along
            a line; None where there is none to be had.
        """
        updates, opt_state = self.transform.update(
            gradients, opt_state, trainable, learning_rate=learning_rate, objective=objective
        )
        return optax.apply_updates(trainable, updates), opt_state


def _is_on(value: float | jax.Array) -> bool:
    """Returns False for 0; a number that varies between runs of one program always counts."""
    return not isinstance(value, (int, float)) or value != 0


def _by_rate(multipliers: Tree) -> Transform:
    """Makes the transform of updates by minus the learning rate and each group's multiplier."""

    def update(
        updates: Tree,
        state: optax.EmptyState,
        params: Tree | None = None,
        *,
        learning_rate: jax.Array,
        **unused: Any,
    ) -> tuple[Tree, optax.EmptyState]:
        del params, unused  # optax hands every transform of a chain the same arguments
        rate = jax.tree.map(
            lambda u, m: -learning_rate.astype(u.dtype) * m * u, updates, multipliers
        )
        return rate, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
