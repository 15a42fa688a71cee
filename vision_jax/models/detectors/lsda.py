"""LSDA: detectors of classes that no box was ever drawn for (Hoffman et al. 2014, arXiv:1407.5035).

A classifier of all classes becomes an R-CNN by three changes, which are learned where there are
boxes: of all its layers but the last, of the last layer's weights of every class with boxes, and a
new output for background. Classes without boxes share the first and the last; of the second they
get the mean of what their nearest classes with boxes got (`ops.lsda`).

Parameters: those of a classifier with `FcHead`, `backbone/…` and `head/fc6`, `head/fc7` …, the last
of which stays what it was; `head/change_kernel` and `head/change_bias`, zeros at first; and
`head/background`, N(0, 0.01).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.models.classifiers.alexnet import AlexNetBackbone
from vision_jax.models.detectors.detector import Outputs, Sizes, Valid
from vision_jax.models.detectors.rcnn import RCNN
from vision_jax.models.detectors.region_classifier import RegionClassifier
from vision_jax.models.detectors.rpn import Proposals
from vision_jax.models.detectors.selection import select_regions
from vision_jax.models.layers import NO_NORM, Dense, Keys, Layers, at_least_float32, small_normal
from vision_jax.ops import initializers
from vision_jax.ops.lsda import lend_changes
from vision_jax.structs import Detections, Targets, Terms

_NEVER = -1e9  # of logits that no loss counts; infinity times zero would be no number


class LentClassifier(RegionClassifier):
    """R-CNN's head whose last layer is a classifier's, changed by what classes with boxes taught.

    Objects of classes without boxes are background in training, as where nobody annotated them. A
    detection's score is the logistic function of how far a class's output is above background's.

    Fields: those of `RegionClassifier`, but that there are no SVMs and no regressors, whose fields
    go unread; and
      boxed: numbers of the classes with boxes; boxes of the others are not looked at.
      neighbours: k, classes with boxes whose mean change a class without gets; 0 lends nothing.
    """

    boxed: tuple[int, ...] = ()
    neighbours: int = 10

    @nn.compact
    def __call__(
        self,
        pooled: Float[Array, "b r d"],
        num_classes: int,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> dict[str, Array]:
        """Classifies regions.

        Args:
          pooled: their features, in a row.
          num_classes: of the classifier, without background.
          train, keys: for dropout.

        Returns:
          features: (b, r, d), what the last layer reads.
          class_logits: (b, r, num_classes + 1), background first.

        Raises:
          UserError: `boxed` names what is no class, or `neighbours` are more than it names.
        """
        self._check(num_classes)
        images, regions = pooled.shape[:2]
        x, _ = self.hidden_layers(pooled, train, keys)
        flat = x.reshape(images * regions, -1)
        name = f"fc{len(self.hidden) + 6}"
        normal = initializers.normal(self.std)
        last = Dense(num_classes, True, normal, layers=self.layers, name=name)
        last(flat)  # its parameters stay as they are, so that its answer is not what is trained
        adapted = self._adapted(jax.lax.stop_gradient(last.variables["params"]))
        features = at_least_float32(flat)
        classes = features @ adapted[:, :-1].T + adapted[:, -1][None]
        background = Dense(1, True, small_normal, layers=self.layers, name="background")
        logits = jnp.concatenate([at_least_float32(background(flat)), classes], -1)
        return {"features": x, "class_logits": logits.reshape(images, regions, -1)}

    def sample(self, proposals: Proposals, targets: Targets, keys: Keys) -> dict[str, Array]:
        """Draws the regions that the loss counts; see `sample_regions`."""
        if targets.labels.shape[1]:
            has_boxes = jnp.isin(jnp.asarray(targets.labels), jnp.array(self.boxed))
            targets = targets.replace(valid=jnp.asarray(targets.valid) & has_boxes)
        return super().sample(proposals, targets, keys)

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns sum and weight of `roi_class`: of the classes with boxes, and background.

        Args:
          outputs: `roi_class_logits`, and what `sample` returned.
          targets: with boxes and labels.
          valid: images that count.
        """
        logits = outputs["roi_class_logits"]
        columns = jnp.array([0, *(1 + number for number in self.boxed)])
        known = jnp.zeros(logits.shape[-1], bool).at[columns].set(True)
        logits = jnp.where(known[None, None], logits, _NEVER)
        return super().loss({**outputs, "roi_class_logits": logits}, targets, valid)

    def detect(self, outputs: Outputs, proposals: Proposals, sizes: Sizes) -> Detections:
        """Scores the regions, and keeps the best of each class after NMS.

        Args:
          outputs: what the head returned for the proposals.
          proposals: the regions.
          sizes: of the images' content, to which boxes are cut.
        """
        logits = jax.lax.stop_gradient(outputs["class_logits"])
        scores = nn.sigmoid(logits[..., 1:] - logits[..., :1])
        boxes = proposals.boxes[:, :, None].astype(scores.dtype)
        limits = self.score_threshold, self.nms_threshold, self.max_detections, self.min_size
        return select_regions(boxes, scores, proposals.valid, sizes, *limits)

    def _adapted(self, classifier: dict[str, Array]) -> Float[Array, "c e"]:
        """Returns the detector's weights of every class, and its biases in the last column."""
        zeros = initializers.zeros
        before = jnp.concatenate([classifier["kernel"], classifier["bias"][None]]).T
        kernel = self.param("change_kernel", zeros, classifier["kernel"].shape)
        bias = self.param("change_bias", zeros, classifier["bias"].shape)
        changes = jnp.concatenate([kernel, bias[None]]).T
        lent = lend_changes(changes, before[:, :-1], self.boxed, self.neighbours)
        return at_least_float32(before + lent)

    def _check(self, num_classes: int) -> None:
        if not self.boxed or not {*self.boxed} <= {*range(num_classes)}:
            raise UserError(f"boxed={self.boxed}: give some of the classes 0 to {num_classes - 1}")
        if not 0 <= self.neighbours <= len(self.boxed):
            raise UserError(
                f"neighbours={self.neighbours}: 0 to {len(self.boxed)}, the number of boxed"
            )


class LSDA(RCNN):
    """R-CNN with a classifier's last layer, whose changes are lent to classes without boxes.

    Fields: those of `RCNN`; `num_classes` are the classifier's, with and without boxes.
    """

    num_classes: int = 200
    head: LentClassifier = LentClassifier()


def LSDAAlexNet(
    num_classes: int = 200,
    boxed: tuple[int, ...] = tuple(range(100)),
    neighbours: int = 10,
    layers: Layers = NO_NORM,
) -> LSDA:
    """Makes the paper's network: CaffeNet's layers on regions of 227×227 pixels.

    Args:
      num_classes: of the classifier, without background.
      boxed: numbers of the classes with boxes (ILSVRC 2013: the first half of the alphabet).
      neighbours: see `LentClassifier`.
      layers: of all parts.
    """
    backbone = AlexNetBackbone(lrn_mean=True, lrn_k=1.0, lrn_last=True, layers=layers)
    return LSDA(
        backbone,
        num_classes,
        LentClassifier(bias=1.0, layers=layers, boxed=boxed, neighbours=neighbours),
    )
