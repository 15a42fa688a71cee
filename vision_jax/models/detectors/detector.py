"""The base of detectors, with defaults for the optional methods of `structs.Detector`."""

from typing import Any, ClassVar

from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from vision_jax.models.layers import Images, Keys
from vision_jax.structs import Targets, Terms

Sizes = Float[Array, "b 2"]  # height and width of each image's content, in pixels of the input
Valid = Bool[Array, "b"]  # False on images that only fill a batch
Outputs = dict[str, Any]  # what a detector computes, by the names of `structs.Detector`


class DetectorModule(nn.Module):
    """A detector that logs no metrics and has no anchors to show, unless it says otherwise."""

    # Outputs beside the detections that a run's pictures are made from.
    shown: ClassVar[tuple[str, ...]] = ()

    def metrics(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns what is logged in training, {name: (sum, count)}: nothing."""
        return {}

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"] | None:
        """Returns the boxes that outputs refine, xyxy in pixels: none."""
        return None

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"] | None:
        """Returns each anchor's object: none."""
        return None


class DenseDetector(DetectorModule):
    """A detector of one stage, whose outputs follow from the images alone.

    It samples nothing: sizes, targets and keys for sampling are accepted for the common interface.
    """

    def __call__(
        self,
        images: Images,
        sizes: Sizes,
        targets: Targets | None = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        """Finds the outputs; see `dense_outputs`, and `structs.Detector` for the arguments."""
        return self.dense_outputs(images, train=train, keys=keys)

    def dense_outputs(self, images: Images, *, train: bool = False, keys: Keys = None) -> Outputs:
        """Finds the outputs of every place of the maps; each detector has its own."""
        raise NotImplementedError
