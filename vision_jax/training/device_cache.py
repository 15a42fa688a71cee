"""The training set on the devices: batches arrive as record numbers and are filled in there."""

import jax
import jax.numpy as jnp

from vision_jax.data import Train
from vision_jax.structs import Batch
from vision_jax.training.parallel import Parallel


class DeviceCache:
    """All training images and labels, once on every device.

    Attributes:
      line: what to tell about the memory that it takes.
    """

    def __init__(self, train: Train, parallel: Parallel):
        """
        Args:
          train: whose source is held in memory.
          parallel: whose devices get a copy, each process's from its own source.

        Raises:
          UserError: the source is not, or there are host transforms.
        """
        tables = train.in_memory()
        size = sum(table.nbytes for table in tables.values()) / 1e6
        self.line = f"device cache: {size:.1f} MB on each of {parallel.device_count} devices"
        self._tables = parallel.put_state(tables)
        self._one, self._several = (parallel.compile_rows(_rows, s) for s in (False, True))

    def fill(self, batch: Batch, several: bool = False) -> Batch:
        """The batch with its images and labels, bit for bit those that the host would have sent.

        Args:
          batch: of `train.batches(…, pixels=False)`, as `put_batch` or `put_batches` put it.
          several: whether it was `put_batches`.
        """
        rows = (self._several if several else self._one)(self._tables, batch.id)
        targets = batch.targets.replace(label=rows["label"])
        return batch.replace(image=rows["image"], targets=targets)


def _rows(tables: dict[str, jax.Array], ids: jax.Array) -> dict[str, jax.Array]:
    # All ids exist; 'clip' spares the default's second look at each.
    return {name: jnp.take(table, ids, axis=0, mode="clip") for name, table in tables.items()}
