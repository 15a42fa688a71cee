"""A training set on the devices: batches arrive as record numbers and are filled in there."""

import jax
import jax.numpy as jnp

from vision_jax.data import Train
from vision_jax.structs import Batch
from vision_jax.training.parallel import Parallel


class DeviceCache:
    """A copy of all training images and labels on every device.

    Attributes:
      line: what to tell about the memory that it takes.
    """

    def __init__(self, train: Train, parallel: Parallel):
        """
        Args:
          train: its source is held in memory.
          parallel: its devices get a copy, each process's from its own source.

        Raises:
          UserError: the source cannot be held, or there are host transforms.
        """
        tables = train.in_memory()
        size = sum(table.nbytes for table in tables.values()) / 1e6
        self.line = f"device cache: {size:.1f} MB on each of {parallel.device_count} devices"
        self._tables = parallel.put_state(tables)
        self._one, self._several = (parallel.compile_rows(_rows, s) for s in (False, True))

    def fill(self, batch: Batch, several: bool = False) -> Batch:
        """Fills in a batch's images and labels, bit for bit those that the host would have sent.

        Args:
          batch: from `train.batches(…, pixels=False)`, as `put_batch` or `put_batches` put it.
          several: True for a batch that `put_batches` put.
        """
        rows = (self._several if several else self._one)(self._tables, batch.id)
        targets = batch.targets.replace(label=rows["label"])
        return batch.replace(image=rows["image"], targets=targets)


def _rows(tables: dict[str, jax.Array], ids: jax.Array) -> dict[str, jax.Array]:
    # All ids exist; 'clip' spares the default's second look at each.
    return {name: jnp.take(table, ids, axis=0, mode="clip") for name, table in tables.items()}
