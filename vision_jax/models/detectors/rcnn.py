"""R-CNN (Girshick et al. 2014, arXiv:1311.2524): a network for every region, warped to one size."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vision_jax.models.classifiers.alexnet import AlexNet2014, AlexNetBackbone
from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.detectors.detector import DetectorModule, Outputs, Sizes, Valid
from vision_jax.models.detectors.fast_rcnn import given_proposals
from vision_jax.models.detectors.region_classifier import RegionClassifier
from vision_jax.models.layers import NO_NORM, Images, Keys, Layers, last_map
from vision_jax.ops.roi_crop import rcnn_crops
from vision_jax.structs import Detections, Targets, Terms


class RegionDetector(DetectorModule):
    """A detector that classifies given regions by one head; subclasses say what features are.

    See `RCNN` and `SPPNet`. Their first fields are `backbone`, `num_classes` and `head`.
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
        """Classifies proposals; with boxes in `targets` also finds what the softmax's loss needs.

        See `structs.Detector` for the arguments. Where `targets` hold no `proposals`, the whole
        image is the only one.

        Returns:
          proposals, proposal_scores, proposal_valid; what `RegionClassifier` returns of them, and
          `detections`; rois, roi_matched_idxs, roi_class_logits of the regions drawn for the loss.
        """
        proposals = given_proposals(targets, sizes)
        if not (train or self.is_initializing()):
            pooled = self.pooled(images, sizes, proposals.boxes)
        else:  # a step looks at the drawn regions alone
            pooled = self.pooled(images, sizes, proposals.boxes[:, :1])
            proposals = jax.tree.map(lambda x: x[:, :1], proposals)
        outputs = {**proposals.outputs(), **self.head(pooled, self.num_classes)}
        outputs["detections"] = self.head.detect(outputs, proposals, sizes)
        if targets is None or targets.boxes is None:
            return outputs
        proposals = given_proposals(targets, sizes)
        outputs |= self.head.sample(proposals, targets, keys)
        pooled = self.pooled(images, sizes, outputs["rois"], train=train, keys=keys)
        of_rois = self.head(pooled, self.num_classes, train=train, keys=keys)
        return outputs | {"roi_class_logits": of_rois["class_logits"]}

    def pooled(
        self,
        images: Images,
        sizes: Sizes,
        boxes: Float[Array, "b r 4"],
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Float[Array, "b r d"]:
        """Finds the features of regions, each in a row; subclasses do."""
        raise NotImplementedError

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns sum and weight of `roi_class`."""
        return self.head.loss(outputs, targets, valid)

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Returns the detections, in pixels of the network's input."""
        return outputs["detections"]


class RCNN(RegionDetector):
    """A detector that warps each region and sends it through a classifier's layers.

    Fields:
      backbone: of a classifier; its last endpoint is pool5.
      num_classes: without background.
      head: classifies pool5, see there also how regions are drawn for fine-tuning.
      crop_size: side of the warped regions, the classifier's input.
      context: pixels of a warped region that show its surroundings on each side.
      square: the tightest square around a region instead of the region (appendix A).
      chunk: regions of an image that go through the backbone at a time, in evaluation.
    """

    backbone: nn.Module
    num_classes: int = 20
    head: RegionClassifier = RegionClassifier()
    crop_size: int = 227
    context: int = 16
    square: bool = False
    chunk: int = 32

    def pooled(
        self,
        images: Images,
        sizes: Sizes,
        boxes: Float[Array, "b r 4"],
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Float[Array, "b r d"]:
        """Warps regions (`rcnn_crops`) and finds pool5 of each, in a row."""
        count = boxes.shape[1]
        if train or count <= self.chunk or self.is_initializing():
            crops = self._crops(images, sizes, boxes)
            return _in_rows(self.backbone(crops, train=train), boxes.shape[0])
        parts = -(-count // self.chunk)
        boxes = jnp.pad(boxes, ((0, 0), (0, parts * self.chunk - count), (0, 0)))
        chunks = jnp.moveaxis(boxes.reshape(boxes.shape[0], parts, self.chunk, 4), 1, 0)
        variables, backbone = self.backbone.variables, self.backbone.clone(parent=None)

        def per_chunk(boxes: Array) -> Array:
            crops = self._crops(images, sizes, boxes)
            return _in_rows(backbone.apply(variables, crops), boxes.shape[0])

        pooled = jnp.moveaxis(lax.map(per_chunk, chunks), 0, 1)
        return pooled.reshape(pooled.shape[0], parts * self.chunk, -1)[:, :count]

    def _crops(
        self, images: Images, sizes: Sizes, boxes: Float[Array, "b r 4"]
    ) -> Float[Array, "n s s c"]:
        settings = self.crop_size, self.context, self.square
        crops = jax.vmap(lambda image, boxes, size: rcnn_crops(image, boxes, *settings, size))
        crops = crops(images, boxes.astype(images.dtype), sizes.astype(images.dtype))
        return crops.reshape(-1, *crops.shape[2:])


def RCNNAlexNet(num_classes: int = 20, layers: Layers = NO_NORM) -> RCNN:
    """Makes the paper's network, CaffeNet's layers on regions of 227×227 pixels."""
    backbone = AlexNetBackbone(lrn_mean=True, lrn_k=1.0, lrn_last=True, layers=layers)
    return RCNN(backbone, num_classes, RegionClassifier(bias=1.0, layers=layers))


def RCNNAlexNet2014(num_classes: int = 20, layers: Layers = NO_NORM) -> RCNN:
    """Makes the network on torchvision's AlexNet, whose layers read regions of 224×224 pixels."""
    backbone = AlexNet2014(layers=layers).backbone
    head = RegionClassifier(bias=1.0, layers=layers)
    return RCNN(backbone, num_classes, head, crop_size=224)


def RCNNVGG16(num_classes: int = 20, layers: Layers = NO_NORM) -> RCNN:
    """Makes the paper's "O-Net" (section 3.3), VGG-16 on regions of 224×224 pixels."""
    head = RegionClassifier(layers=layers)
    return RCNN(VGG(layers=layers), num_classes, head, crop_size=224)


def _in_rows(endpoints: dict[str, Array], images: int) -> Float[Array, "b r d"]:
    x = last_map(endpoints)
    return x.reshape(images, x.shape[0] // images, -1)
