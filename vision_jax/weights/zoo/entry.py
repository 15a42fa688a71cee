"""One row of the table of published weights."""

import dataclasses
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from vision_jax.weights.download import Digest
from vision_jax.weights.hub import PREFIX
from vision_jax.weights.zoo.preprocessing import Preprocessing

Network = Callable[[], nn.Module]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A published file of weights, and all that is needed to use it.

    Attributes:
      name: 'torchvision/resnet50-0676ba61'.
      source: the publisher's address, or `hf:OWNER/REPO/FILE`.
      file: the name under which it is kept; its ending chooses the reader.
      reader: whose names the file has, a source of `weights.tables`.
      network: makes the network as the publisher configured it.
      preprocessing: from pictures to its images; None for files of a part of a network, which only
        start a training.
      metric: the publisher's number, '' if none is known.
      licence: of the publisher's code.
      weights_licence: of the file itself.
      digest: the publisher's own hash; None if none is published.
      megabytes: of the file, about; None if unknown.
      experiment: the file in `experiments` with its data and recipe, whose own network may be
        another form of it (`weights.use_published`); '' if there is none.
      golden: the stored outputs of the reference with which the network and the names were
        compared, '' if there are none.
      reads_bgr: path of the kernel that reads images as blue, green, red; it is turned round, so
        that every network of the table reads red, green, blue.
    """

    name: str
    source: str
    file: str
    reader: str
    network: Network
    preprocessing: Preprocessing | None
    metric: str
    licence: str
    weights_licence: str
    digest: Digest | None = None
    megabytes: int | None = None
    experiment: str = ""
    golden: str = ""
    reads_bgr: str = ""

    @property
    def is_on_hub(self) -> bool:
        """Returns True if the Hugging Face Hub has the file."""
        return self.source.startswith(PREFIX)

    @property
    def place(self) -> str:
        """The file's place in the cache, and on a mirror, if it is not on the Hub."""
        return f"{self.name}/{self.file}"

    def replace(self, **changes: Any) -> "Entry":
        """Returns the row with some of its fields changed."""
        return dataclasses.replace(self, **changes)
