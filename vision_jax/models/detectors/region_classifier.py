"""The head of R-CNN and SPP-net: fc6 and fc7, a softmax, and per class a linear SVM and regressor.

Girshick et al. 2014, sections 2.2, 2.3 and appendix C. The softmax is trained by gradients; SVMs
and regressors are solved afterwards (`tasks.TrainSvms`, `tasks.RegressBoxes`). Parameters: `fc6`,
`fc7` …, `cls_score`, `svm`, `bbox_pred`.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.detectors.detector import Outputs, Sizes, Valid
from vision_jax.models.detectors.matching import class_targets, sample_regions
from vision_jax.models.detectors.rpn import Proposals
from vision_jax.models.detectors.selection import select_regions
from vision_jax.models.layers import (
    HEAD_LAYER,
    NO_NORM,
    Dense,
    Dropout,
    Keys,
    Layers,
    at_least_float32,
    small_normal,
)
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import initializers, losses
from vision_jax.ops.assign import IGNORED
from vision_jax.structs import Detections, Targets, Terms

_PLAIN = (1.0, 1.0, 1.0, 1.0)


class RegionClassifier(nn.Module):
    """The head that classifies regions by a softmax or SVMs, and refines their boxes.

    Fields:
      hidden: widths of the fully connected layers fc6, fc7 …
      dropout: probability, of each hidden layer's outputs.
      bias: initial bias of the hidden layers.
      std: standard deviation of their initial weights.
      classifier: which scores detections have: 'softmax', probabilities; 'svm', the logistic
        function of the SVMs' answers, which leaves their order as it is: 0.5 is their border.
      svm_features: what the SVMs read: 'pool5', the pooled features, or 'fc6', 'fc7' …
      box_features: what the regressors read, likewise.
      refine: whether detections have the regressors' boxes, or the proposals themselves.
      batch_size_per_image: regions per image that the loss counts, drawn at random.
      positive_fraction: largest share of positives among them.
      positive_iou: a region that overlaps an object so much is positive.
      negative_iou: below so much it is background.
      min_negative_iou: below so little it does not count (SPP-net: 0.1).
      score_threshold: detections have a greater score.
      nms_threshold: IoU above which the better box of a class suppresses the other.
      max_detections: number per image.
      min_size: smallest side of a box, in pixels.
      layers: settings; the head has no norm.
    """

    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    bias: float = 0.0
    std: float = 0.01
    classifier: Literal["softmax", "svm"] = "svm"
    svm_features: str = "fc7"
    box_features: str = "pool5"
    refine: bool = True
    batch_size_per_image: int = 16
    positive_fraction: float = 0.25
    positive_iou: float = 0.5
    negative_iou: float = 0.5
    min_negative_iou: float = 0.0
    score_threshold: float = 0.05
    nms_threshold: float = 0.3
    max_detections: int = 100
    min_size: float = 1.0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self,
        pooled: Float[Array, "b r d"],
        num_classes: int,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> dict[str, Array]:
        """Classifies regions and refines their boxes.

        Args:
          pooled: their features, in a row.
          num_classes: without background.
          train, keys: for dropout.

        Returns:
          features, box_features: (b, r, …), what SVMs and regressors read.
          class_logits: (b, r, num_classes + 1), the softmax's, background first.
          svm_logits: (b, r, num_classes).
          box_deltas: (b, r, num_classes, 4), unweighted.

        Raises:
          ValueError: features of a name that the head does not have.
        """
        images, regions = pooled.shape[:2]
        x, known = self.hidden_layers(pooled, train, keys)
        for name in (self.svm_features, self.box_features):
            if name not in known:
                raise ValueError(f"the head has no features {name!r}, only {', '.join(known)}")
        svm_features, box_features = (
            jax.lax.stop_gradient(known[name]) for name in (self.svm_features, self.box_features)
        )

        def linear(x: Array, width: int, name: str, start: initializers.Initializer) -> Array:
            layer = Dense(width, True, start, layers=self.layers, name=name)
            return at_least_float32(layer(x.reshape(images * regions, -1)))

        zeros = initializers.zeros
        return {
            "features": svm_features,
            "box_features": box_features,
            "class_logits": linear(x, num_classes + 1, "cls_score", small_normal).reshape(
                images, regions, -1
            ),
            "svm_logits": linear(svm_features, num_classes, "svm", zeros).reshape(
                images, regions, -1
            ),
            "box_deltas": linear(box_features, 4 * num_classes, "bbox_pred", zeros).reshape(
                images, regions, num_classes, 4
            ),
        }

    def hidden_layers(
        self, pooled: Float[Array, "b r d"], train: bool, keys: Keys
    ) -> tuple[Float[Array, "b r e"], dict[str, Array]]:
        """Returns what the last layer reads, and features by name, before dropout."""
        images, regions = pooled.shape[:2]
        x, known = pooled, {"pool5": pooled}
        for i, width in enumerate(self.hidden):
            normal, bias = initializers.normal(self.std), initializers.constant(self.bias)
            name = f"fc{i + 6}"
            fc = Dense(width, True, normal, bias, self.layers, name=name)
            x = nn.relu(fc(x.reshape(images * regions, -1))).reshape(images, regions, width)
            known[name] = x
            x = Dropout(self.dropout, layer=HEAD_LAYER + i)(x, train=train, keys=keys)
        return x, known

    def sample(self, proposals: Proposals, targets: Targets, keys: Keys) -> dict[str, Array]:
        """Draws the regions that the loss counts, objects among them; see `sample_regions`."""
        return sample_regions(
            proposals.boxes,
            proposals.valid,
            targets,
            keys,
            count=self.batch_size_per_image,
            positive_fraction=self.positive_fraction,
            positive_iou=self.positive_iou,
            negative_iou=self.negative_iou,
            min_negative_iou=self.min_negative_iou,
            append_gt_boxes=True,
        )

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns sum and weight of `roi_class`, the softmax's.

        Args:
          outputs: `roi_class_logits`, and what `sample` returned.
          targets: with boxes and labels.
          valid: images that count.
        """
        matched_idxs, logits = outputs["roi_matched_idxs"], outputs["roi_class_logits"]
        counted = (matched_idxs != IGNORED) & valid[:, None]
        labels = class_targets(targets, matched_idxs)
        class_loss = losses.cross_entropy(logits, labels, mask=counted)
        return {"roi_class": (class_loss.sum(), counted.sum(dtype=logits.dtype))}

    def detect(self, outputs: Outputs, proposals: Proposals, sizes: Sizes) -> Detections:
        """Scores and refines the regions, and keeps the best of each class after NMS.

        Boxes are refined once, and not scored again (appendix C).

        Args:
          outputs: what the head returned for the proposals.
          proposals: the regions.
          sizes: of the images' content, to which boxes are cut.
        """
        if self.classifier == "svm":
            scores = nn.sigmoid(outputs["svm_logits"])
        else:
            scores = nn.softmax(outputs["class_logits"])[:, :, 1:]
        boxes = proposals.boxes[:, :, None].astype(scores.dtype)
        if self.refine:
            deltas = outputs["box_deltas"]
            boxes = box_ops.decode(deltas, jnp.broadcast_to(boxes, deltas.shape), _PLAIN)
        limits = self.score_threshold, self.nms_threshold, self.max_detections, self.min_size
        scores, boxes = jax.lax.stop_gradient((scores, boxes))
        return select_regions(boxes, scores, proposals.valid, sizes, *limits)
