"""One per-device step on one or many devices: `shard_map`, `pmap` or `jit`.

The batch is split over all devices in order of process, the state is copied to each. All three
give the same numbers: `shard_map` and `pmap` bit for bit; `jit`, and another number of devices, up
to the order of sums. Several steps in one program spare small networks the dispatch of each:
`put_batches` and `compile(step, several=True)`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vision_jax.config import UserError, suggest

Tree = Any
AXIS = "data"
_HOW = ("shard_map", "pmap", "jit", "single")
_SPLIT, _SAME, _SEVERAL = PartitionSpec(AXIS), PartitionSpec(), PartitionSpec(None, AXIS)


class Parallel:
    """A mapping of steps over the devices, which hides where arrays lie.

    Attributes:
      how: 'shard_map'; 'pmap', the older interface, whose batches have a device axis; or 'jit',
        where XLA splits a step that sees the global batch. 'single' is 'shard_map' over one device
        alone, for what cannot be spread, such as one picture.
      axis: the axis name that steps must be made with; None for 'jit'.
      device_count: devices of all processes.
    """

    def __init__(
        self,
        how: str = "shard_map",
        devices: Sequence[jax.Device] | None = None,
        donate: bool = True,
    ):
        """Takes all devices of all processes, or those in `devices`.

        Args:
          how, devices: see above.
          donate: whether a step may overwrite its state; a step that is to be repeated in the
            search for a NaN may not.
        """
        if how not in _HOW:
            raise UserError(f"parallel={how!r} is unknown{suggest(how, _HOW)}")
        devices = sorted(devices or jax.devices(), key=lambda d: (d.process_index, d.id))
        if how == "single":
            if jax.process_count() > 1:
                raise UserError("parallel='single' uses one device: start one process")
            how, devices = "shard_map", devices[:1]
        self.how = how
        self.axis = None if how == "jit" else AXIS
        self.device_count = len(devices)
        self._devices = devices
        self._donated = (0,) if donate else ()
        mesh = Mesh(np.array(devices), (AXIS,))
        if how == "pmap":  # its arrays are those of one process
            mesh = mesh.local_mesh
        self._split, self._same = NamedSharding(mesh, _SPLIT), NamedSharding(mesh, _SAME)
        # Of several batches: the step axis comes first, but after pmap's device axis.
        self._several = self._split if how == "pmap" else NamedSharding(mesh, _SEVERAL)

    def check(self, batch_size: int, accumulate: int = 1, norms: Collection[str] = ()) -> None:
        """Refuses what cannot run, before anything is compiled.

        Args:
          batch_size: global number of rows.
          accumulate: micro-batches per device and step.
          norms: the kinds of normalisation in the model.

        Raises:
          UserError: with numbers that would do.
        """
        unit = self.device_count * accumulate
        if batch_size % unit or batch_size < unit:
            near = sorted({max(1, batch_size // unit) * unit, (batch_size // unit + 1) * unit})
            processes = jax.process_count()
            shape = f"{processes} x {self.device_count // processes}" if processes > 1 else ""
            raise UserError(
                f"batch_size={batch_size} is not divisible by {self.device_count} devices"
                + (f" ({shape})" if shape else "")
                + (f" x {accumulate} micro-batches" if accumulate > 1 else "")
                + f"; use {' or '.join(map(str, near))}"
            )
        if self.how == "jit" and "local" in norms and self.device_count > 1:
            raise UserError(
                "norm='local' needs per-device steps, which parallel='jit' has not; "
                "use parallel='shard_map' or norm='sync'"
            )

    def put_state(self, tree: Tree) -> Tree:
        """Copies a tree of host arrays, the same in all processes, to every device."""
        return jax.tree.map(lambda x: self._make(self._same, np.array(x)), tree)

    def get_state(self, tree: Tree) -> Tree:
        """Copies what `put_state` put to the host, as NumPy arrays with their logical shapes.

        The copy owns its memory: the next step, which donates the state, cannot reach it.
        """
        shards = jax.tree.map(lambda x: x.addressable_data(0), tree)
        return jax.tree.map(np.array, jax.device_get(shards))

    def put_batch(self, batch: Tree) -> Tree:
        """Puts the global batch on the devices, from this process's contiguous rows of it."""
        return jax.tree.map(lambda x: self._make(self._split, self._rows(x)), batch)

    def put_batches(self, batches: Sequence[Tree]) -> Tree:
        """Puts the batches of several steps, stacked, for `compile(step, several=True)`."""
        axis = 1 if self.how == "pmap" else 0

        def put(*leaves: np.ndarray) -> jax.Array:
            return self._make(self._several, np.stack([self._rows(x) for x in leaves], axis))

        return jax.tree.map(put, *batches)

    def trace(
        self, mapped: Any, tree: Tree, batch: Tree, *others: Any, count: int = 1
    ) -> jax.stages.Traced | None:
        """Traces a function for arrays such as `put_state` and `put_batch` make.

        Args:
          mapped: what `compile` or `compile_eval` returned.
          tree: its state or variables, or their shapes.
          batch: a global batch, or its shapes.
          *others: its further arguments.
          count: of batches; with more than one the function takes what `put_batches` makes.

        Returns:
          What can be compiled ahead, so that a call finds it; None for 'pmap', which cannot.
        """
        along = [] if count == 1 else [count]
        if self.how == "pmap":
            each = [self._split.mesh.size, *along, batch.count // self.device_count]
            rows = jax.tree.map(lambda x: _like(x, [*each, *np.shape(x)[1:]]), batch)
            jax.eval_shape(mapped, tree, rows, *others)
            return None
        split = self._several if along else self._split
        rows = jax.tree.map(lambda x: _like(x, [*along, *np.shape(x)], split), batch)
        state = jax.tree.map(lambda x: _like(x, np.shape(x), self._same), tree)
        traced: jax.stages.Traced = mapped.trace(state, rows, *others)
        return traced

    def compile(self, step: Callable, several: bool = False) -> Callable:
        """Compiles step(state, batch, seed) -> (state, metrics) over all devices.

        The state is donated: always rebind it. Metrics come back once, equal for all devices.

        Args:
          step: from `make_train_step`.
          several: the program takes `put_batches(batches)`, makes an update with each batch in
            turn, and gives metrics with a leading step axis. Another number of batches is
            another program.
        """
        split = self._split
        if several:
            step, split = _in_turn(step), self._several
        if self.how == "pmap":
            return jax.pmap(
                step,
                axis_name=AXIS,
                in_axes=(None, 0, None),
                out_axes=None,
                devices=self._pmap_devices(),
                donate_argnums=self._donated,
            )
        if self.how == "shard_map":
            return jax.jit(
                self._shard(step, (_SAME, split.spec, _SAME)), donate_argnums=self._donated
            )
        return jax.jit(
            step,
            in_shardings=(self._same, split, self._same),
            out_shardings=self._same,
            donate_argnums=self._donated,
        )

    def compile_eval(self, step: Callable) -> Callable:
        """Compiles step(variables, batch) -> results equal for all devices; donates nothing."""
        if self.how == "pmap":
            return jax.pmap(
                step,
                axis_name=AXIS,
                in_axes=(None, 0),
                out_axes=None,
                devices=self._pmap_devices(),
            )
        if self.how == "shard_map":
            return jax.jit(self._shard(step, (_SAME, _SPLIT)))
        return jax.jit(step, in_shardings=(self._same, self._split), out_shardings=self._same)

    def compile_rows(self, rows: Callable, several: bool = False) -> Callable:
        """Compiles rows(tree, batch) -> batch, where each device makes its own rows of the result.

        Args:
          rows: takes a tree as `put_state` put it, and a batch.
          several: the batch, and so the result, is one of `put_batches`, not of `put_batch`.
        """
        split = self._several if several else self._split
        each = self._shard(rows, (_SAME, split.spec), split.spec)
        return jax.jit(each, out_shardings=split)

    def _shard(self, step: Callable, in_specs: tuple, out_specs: Any = _SAME) -> Callable:
        # check_vma=False gives pmap's semantics: a gradient is the device's own until the step
        # adds it up. With the default, autodiff would add it up first, and the step once more.
        return jax.shard_map(
            step, mesh=self._same.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )

    def _rows(self, x: Any) -> np.ndarray:
        """Returns this process's rows of a batch, for pmap with a device axis."""
        if self.how != "pmap":
            return np.asarray(x)
        return np.reshape(x, (self._split.mesh.size, -1, *np.shape(x)[1:]))

    def _make(self, sharding: NamedSharding, x: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, x)

    def _pmap_devices(self) -> list[jax.Device] | None:
        return None if self._devices == jax.devices() else self._devices


def _like(
    x: Any, shape: Sequence[int], sharding: NamedSharding | None = None
) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, x.dtype, sharding=sharding)


def _in_turn(step: Callable) -> Callable:
    """Makes a step for batches with a step axis, the state passing from one to the next."""

    def steps(state: Tree, batches: Tree, seed: Any) -> tuple[Tree, Tree]:
        return lax.scan(lambda state, batch: step(state, batch, seed), state, batches)

    return steps
