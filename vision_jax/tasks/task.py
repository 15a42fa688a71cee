"""The interface between tasks and training, and the part that all tasks on images share."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError
from vision_jax.ops import image as image_ops
from vision_jax.ops.initial import init
from vision_jax.structs import Batch, Terms
from vision_jax.tasks import augment as augmentation
from vision_jax.tasks.descriptions import Answers
from vision_jax.tasks.streams import example_keys, stream

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Variables = dict[str, Any]  # 'params', and the network's collections by name
Prepared = tuple[Float[Array, "b h w c"], Float[Array, "b ..."] | None]


@runtime_checkable
class Predictor(Protocol):
    """A network, or several, as evaluation and pictures use them."""

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the outputs that pictures are made from."""

    def predict(self, variables: Any, batch: Batch) -> dict[str, Any]:
        """Returns the outputs in evaluation, by name."""

    def describe(
        self, outputs: dict[str, Any], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's answer in JSON's types, with a `text` of one line for its picture.

        Args:
          outputs: those that `shown` names, of a batch.
          classes: their names; numbers stand in where names are missing.
          threshold: the least score of what is told, where answers have scores; None is no limit.
        """


@runtime_checkable
class Task(Predictor, Protocol):
    """A network and how it is trained, as training and the looking modes use them."""

    @property
    def model(self) -> Any:
        """The network, a linen module."""

    @property
    def mean(self) -> tuple:
        """Per channel, of pixels scaled to 0..1; see `normalize`."""

    @property
    def std(self) -> tuple:
        """Per channel, of pixels scaled to 0..1; see `normalize`."""

    def inputs(self, batch: Batch) -> tuple:
        """Returns arguments of the network for one image that is shaped like the batch's."""

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        """Initialises the network for images shaped like the batch's.

        Args:
          key: all of the initialisation derives from it.
          batch: arrays, or only their shapes.
        """

    def normalize(self, images: Any) -> jax.Array:
        """Turns pixels, uint8 or floats in 0..255, into (x / 255 - mean) / std."""

    def prepare(self, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Makes what the network is fed in training, and the mixing weights, if images are mixed.

        Args:
          batch: as it comes from the host.
          key: the step's key, the same on every device.
        """

    def loss(
        self, variables: Variables, batch: Batch, key: jax.Array, train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Computes the loss's terms, the network's new collections, and training metrics.

        Args:
          variables: as `init` makes them.
          batch: with the targets that the task needs.
          key: the step's key, the same on every device.
          train: batch statistics, augmentation and dropout are on.

        Returns:
          {name: (sum, weight)}, and {'collections': …, 'metrics': {name: (sum, count)}}.
        """


@dataclasses.dataclass(frozen=True)
class ImageTask:
    """A network that sees normalised images; tasks add their loss and their answers.

    Attributes:
      model: the network, a linen module `images → dict`.
      mean, std: per channel, of pixels scaled to 0..1; the network sees (x / 255 - mean) / std.
      augment: parts of `tasks.augment`, in order; training only.
    """

    model: Any
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    augment: tuple = ()

    def inputs(self, batch: Batch) -> tuple:
        """Returns arguments of the network for one image that is shaped like the batch's."""
        # One image is enough, and so little is computed that the device does not matter.
        return (jnp.zeros((1, *batch.pixels.shape[-3:])),)

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        """Initialises the network (`params` and collections) for images shaped like the batch's.

        Args:
          key: all of the initialisation derives from it.
          batch: arrays, or only their shapes.
        """
        variables: Variables = init(self.model, key, *self.inputs(batch))
        return variables

    def normalize(self, images: Array) -> Float[Array, "*b h w c"]:
        """Turns pixels, uint8 or floats in 0..255, into (x / 255 - mean) / std."""
        return image_ops.normalize(images, self.mean, self.std)

    def augment_keys(self, batch: Batch, key: Key[Array, ""]) -> Key[Array, "b"]:
        """Derives the keys that augmentation draws with."""
        return stream(example_keys(key, batch), 0)

    def model_keys(self, batch: Batch, key: Key[Array, ""]) -> Key[Array, "b"]:
        """Derives the keys that the network draws with."""
        return stream(example_keys(key, batch), 1)

    def augmented(self, batch: Batch, key: Key[Array, ""]) -> Float[Array, "b h w c"]:
        """Augments the images; pixels stay in 0..255."""
        images = batch.pixels.astype(jnp.float32)
        return augmentation.apply_all(self.augment, images, self.augment_keys(batch, key))

    def prepare(self, batch: Batch, key: Key[Array, ""]) -> Prepared:
        """Augments and normalises the images for training; None stands for no mixing weights."""
        return self.normalize(self.augmented(batch, key)), None

    def apply(self, variables: Variables, images: Array, *inputs: Any) -> dict[str, Any]:
        """Runs the network in evaluation, on normalised images."""
        return self.model.apply(variables, images, *inputs)

    def forward(
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool, *inputs: Any
    ) -> tuple[dict[str, Any], Float[Array, "b ..."] | None, Variables]:
        """Runs the network for a loss.

        Args:
          variables, batch, key, train: as of `Task.loss`.
          *inputs: further arguments of the network, after the images.

        Returns:
          The outputs, the mixing weights of `prepare`, and the collections as the network left
          them.
        """
        collections = [name for name in variables if name != "params"]
        keys = self.model_keys(batch, key)
        if not train:
            outputs = self.model.apply(variables, self.normalize(batch.pixels), *inputs, keys=keys)
            return outputs, None, {name: variables[name] for name in collections}
        images, lam = self.prepare(batch, key)
        outputs, updates = self.model.apply(
            variables, images, *inputs, train=True, keys=keys, mutable=collections
        )
        return outputs, lam, dict(updates)

    def refuse_moves(self, targets: str) -> None:
        """Refuses augmentations that would move the pixels and leave the targets behind.

        Args:
          targets: what they are, for the message.

        Raises:
          UserError: there is such an augmentation.
        """
        if any(isinstance(step, augmentation.MOVES) for step in self.augment):
            raise UserError(f"augment moves pixels but not {targets}; use the transforms of `data`")
